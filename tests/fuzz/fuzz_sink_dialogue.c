// module: sink
/* Any bytes, cut anywhere, must give the same replies as the same bytes in one piece. The first two
 * bytes choose where the cuts are. */
#include <stdlib.h>

#include "bench/sink/dialogue.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct rig {
    struct sink_counters counters;
    struct ledger ledger;
    struct ledger_batch batch;
    struct dialogue_env env;
    struct outbox outbox;
    struct dialogue dialogue;
};

static const struct dialogue_features features = {
    .hostname = "sink.test",
    .chunking = true,
    .pipelining = true,
    .starttls = true,
    .size_bytes_max = 4096,
    .content = { .id = true, .digest = true, .inspect = true },
};

static void rig_open(struct rig *rig, struct script *script)
{
    struct err err;
    *rig = (struct rig){ 0 };
    bool opened =
        ledger_open(&rig->ledger, (struct ledger_options){ .duplicates_listed_max = 4 }, &err);
    assert(opened);
    rig->batch.ledger = &rig->ledger;
    rig->env = (struct dialogue_env){ .features = &features,
                                      .script = script,
                                      .ledger = &rig->batch,
                                      .counters = &rig->counters,
                                      .now_us = 1 };
    dialogue_init(&rig->dialogue, &rig->env, &rig->outbox, SLICE("127.0.0.1"));
}

static void rig_close(struct rig *rig)
{
    dialogue_deinit(&rig->dialogue);
    outbox_free(&rig->outbox);
    ledger_close(&rig->ledger);
    buf_free(&rig->batch.lines);
}

static struct script *script_make(void)
{
    static const char text[] =
        "recipient=bad* rcpt=550 5.1.1 no\nrecipient=cut* phase=dot close\n"
        "recipient=mute* phase=data silence\nsender=no* mail=421 4.3.2 later\n";
    struct script *script = NULL;
    struct err err;
    bool parsed = script_parse(slice_str(text), &script, &err);
    assert(parsed);
    return script;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    size_t first = data[0] % 32 + 1, step = data[1] % 64 + 1;
    struct slice bytes = slice_of(data + 2, size - 2);
    struct script *script = script_make();
    struct rig whole, pieces;
    rig_open(&whole, script);
    rig_open(&pieces, script);
    dialogue_feed(&whole.dialogue, bytes);
    for (size_t len = MIN_OF(first, bytes.len); bytes.len > 0; len = MIN_OF(step, bytes.len)) {
        dialogue_feed(&pieces.dialogue, slice_head(bytes, len));
        bytes = slice_skip(bytes, len);
    }
    assert(slice_eq(buf_slice(&whole.outbox.bytes), buf_slice(&pieces.outbox.bytes)));
    assert(whole.counters.messages == pieces.counters.messages);
    assert(whole.counters.bare_cr == pieces.counters.bare_cr);
    assert(whole.counters.long_lines == pieces.counters.long_lines);
    assert(whole.ledger.duplicates == pieces.ledger.duplicates);
    rig_close(&whole);
    rig_close(&pieces);
    script_destroy(&script);
    return 0;
}
