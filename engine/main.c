/* Everything is in engine/cli, which tests can link. */
#include "engine/cli/cli.h"

int main(int argc, char **argv)
{
    return cli_main(argc, argv);
}
