"""Verifies the DKIM signatures of messages with python3-dkim, which is Debian's Python's alone: run by /usr/bin/python3. Standard input:
{"dns": {name: record}, "messages": [path]}; standard output: for each message a list of its signatures, [d=, s=, whether it's valid]."""
import json
import re
import sys

import dkim


def signatures(path, dns):
    with open(path, "rb") as file:
        message = file.read()
    found = []
    verifier = dkim.DKIM(message)
    for index, (_, value) in enumerate(header for header in verifier.headers if header[0].lower() == b"dkim-signature"):
        tags = {name.strip(): text.strip() for name, _, text in (tag.partition(b"=") for tag in re.sub(rb"\s", b"", value).split(b";"))}
        try:
            good = verifier.verify(idx=index, dnsfunc=lambda name, timeout=5: dns.get(name.decode().rstrip("."), "").encode())
        except dkim.DKIMException as problem:
            good = str(problem)
        found.append([tags[b"d"].decode(), tags[b"s"].decode(), good])
    return found


def main():
    work = json.load(sys.stdin)
    json.dump([signatures(path, work["dns"]) for path in work["messages"]], sys.stdout)


if __name__ == "__main__":
    main()
