/* eilpost node list: who works on this queue. */
#include <stdio.h>

#include "engine/cli/operate.h"
#include "queue/nodes.h"

static void print_nodes(const json_t *nodes)
{
    static const char *const titles[] = { "NODE",    "WORKER",     "STATE",  "HOST", "PID",
                                          "VERSION", "PARTITIONS", "LEASED", "SEEN" };
    struct table table;
    size_t i;
    json_t *node;
    if (json_array_size(nodes) == 0) {
        printf("no engine has worked on this queue yet\n");
        return;
    }
    table_begin(&table, titles, ARRAY_LEN(titles), "lrllrlrrl");
    json_array_foreach(nodes, i, node)
    {
        int64_t seen_ms = json_integer_value(json_object_get(node, "seen_ms"));
        int64_t silent_ms = json_integer_value(json_object_get(node, "silent_ms"));
        char pid[24];
        snprintf(pid, sizeof pid, "%llu", (unsigned long long)json_count(node, "pid"));
        table_cell(&table, json_text(node, "node"));
        table_number(&table, json_count(node, "worker"));
        table_cell(&table, json_text(node, "state"));
        table_cell(&table, json_text(node, "host"));
        table_cell(&table, pid);
        table_cell(&table, json_text(node, "version"));
        table_number(&table, json_count(node, "partitions"));
        table_number(&table, json_count(node, "leased"));
        table_time(&table, seen_ms, seen_ms + silent_ms);
    }
    table_end(&table);
}

static int node_list(int argc, char **argv)
{
    struct operation operation = { 0 };
    const struct cli_option options[] = { OPERATION_OPTIONS(&operation) };
    const struct cli_usage usage = {
        .command = "node list",
        .summary = "Shows the engines that work on this queue, a line for each worker.",
        .notes = "A worker that wasn't heard of for 10 s is shown as gone: its partitions are with "
                 "others then.\n\nexample:\n  eilpost node list --config eilpost.yaml\n",
        .options = options,
        .option_count = ARRAY_LEN(options),
    };
    unsigned operands;
    int code;
    struct err err = { 0 };
    json_t *nodes = NULL;
    if (!operation_begin(&operation, &usage, argc, argv, &operands, &code))
        return code;
    bool good = nodes_list(operation.producer, &nodes, &err);
    if (good && operation.as_json)
        operation_print(json_incref(nodes));
    else if (good)
        print_nodes(nodes);
    json_decref(nodes);
    return operation_end(&operation, good, &err);
}

int command_node(int argc, char **argv)
{
    static const struct subcommand commands[] = {
        { "list", "Show the engines that work on this queue.", node_list },
    };
    return subcommand_run("node", "Shows who works on this queue.", commands, ARRAY_LEN(commands),
                          argc, argv);
}
