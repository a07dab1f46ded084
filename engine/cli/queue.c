/* eilpost queue: what is queued, and operators' orders. */
#include "engine/cli/queue.h"

#include "engine/base/compiler.h"
#include "engine/cli/operate.h"

static const struct subcommand commands[] = {
    { "list", "Show what is queued, by destination, tenant, campaign, class, site.",
      command_queue_list },
    { "show", "Show one destination: when it's offered next, what waits, who holds it.",
      command_queue_show },
    { "explain", "Tell why a job hasn't ended yet.", command_queue_explain },
    { "suspend", "Hold jobs until they're resumed.", command_queue_suspend },
    { "resume", "End a suspension.", command_queue_resume },
    { "cancel", "End jobs, with an event for each.", command_queue_cancel },
    { "purge", "End jobs without events.", command_queue_purge },
    { "restore", "Bring back what was cancelled or purged; take back a move.",
      command_queue_restore },
    { "retry", "Try again now what waits for its next attempt.", command_queue_retry },
    { "move", "Send from another pool of sources.", command_queue_move },
    { "orders", "Show the orders in force.", command_queue_orders },
    { "log", "Show who did what, to how many jobs, when.", command_queue_log },
    { "finish", "Go on with an order that was interrupted.", command_queue_finish },
};

int command_queue(int argc, char **argv)
{
    return subcommand_run("queue", "Shows what is queued, and decides what becomes of it.",
                          commands, ARRAY_LEN(commands), argc, argv);
}
