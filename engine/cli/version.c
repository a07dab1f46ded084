/* eilpost version */
#include <stdio.h>

#include "engine/cli/cli.h"

int command_version(int argc, char **argv)
{
    const struct cli_usage usage = { .command = "version", .summary = "Shows the version." };
    unsigned operands;
    enum cli_parsed parsed = cli_parse(&usage, argc, argv, &operands);
    if (parsed != CLI_PARSED)
        return parsed == CLI_HELP_SHOWN ? CLI_OK : CLI_USAGE;
    printf("eilpost %s\n", EILPOST_VERSION);
    return CLI_OK;
}
