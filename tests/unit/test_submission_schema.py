#!/usr/bin/env python3
"""The published JSON Schema accepts and refuses what the parser does (tests/unit/queue/test_submission.c), by one table:
tests/unit/queue/submissions.json. Where a schema can't express a rule the table says so."""
import json
import os
import sys

import jsonschema

SOURCE = os.environ.get('EILPOST_SOURCE', '.')


def main():
    with open(os.path.join(SOURCE, 'queue/submission.schema.json'), encoding='utf-8') as file:
        schema = json.load(file)
    with open(os.path.join(SOURCE, 'tests/unit/queue/submissions.json'), encoding='utf-8') as file:
        table = json.load(file)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    failed = 0
    for row in table:
        errors = list(validator.iter_errors(row['submission']))
        expected = 'refused' not in row or 'schema' in row
        if expected == bool(errors):
            failed += 1
            print(f'{row["name"]}: the schema {"refuses" if errors else "accepts"} it: '
                  + '; '.join(error.message[:120] for error in errors))
    print(f'{len(table)} submissions, {failed} judged otherwise')
    return 1 if failed or len(table) < 100 else 0


if __name__ == '__main__':
    sys.exit(main())
