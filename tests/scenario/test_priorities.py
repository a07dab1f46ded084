"""Transactional mail goes first: however much bulk is queued, for the same destination or for others, a transactional message is on
the wire in under a second. The sink's ledger tells when its end-of-data was answered, which is later still.

EILPOST_TEST_BULK: messages of bulk (20000; the bound was stated for 1000000)."""
import json
import os
import sys
import tempfile
import time
from contextlib import ExitStack

from fault import faults
from scenario import campaign, peers

BULK = int(os.environ.get("EILPOST_TEST_BULK", 20000))
MESSAGES = 10
BOUND_S = 1.0
CONTENT = {"headers": {"From": "shop@engine.test", "Subject": "Hello"}, "text": "Dear customer\n"}


def submit(store, submission, mail_class, recipients):
    """One entry; returns when it was accepted."""
    store.once("XADD", "e:submit", "*", "json", json.dumps({
        "id": submission, "from": "bounce@engine.test", "class": mail_class, "content": CONTENT,
        "recipients": [{"to": to} for to in recipients]}))
    return time.time()


def submit_bulk(store, count, domains):
    for first in range(0, count, 500):
        submit(store, f"bulk-{first}", "bulk",
               [f"bulk-{i}@{domains[i % len(domains)]}" for i in range(first, min(first + 500, count))])


class Stage:
    """A Redis, a sink and an engine with few sessions."""

    def __init__(self, script, pool, queue=None, io="io_uring"):
        self.script, self.pool, self.queue, self.io = script, pool, queue or {"per_destination": 200}, io

    def __enter__(self):
        self.stack = ExitStack()
        folder = self.stack.enter_context(tempfile.TemporaryDirectory(prefix="eilpost-"))
        redis = self.stack.enter_context(peers.Redis())
        script = campaign.write_text(os.path.join(folder, "script"), self.script)
        self.sink = self.stack.enter_context(peers.BenchSink("--script", script, addresses="127.0.3.1-127.0.3.20",
                                                             ledger=os.path.join(folder, "ledger")))
        self.store = faults.store_of(redis)
        self.stack.callback(self.store.close)
        self.engine = self.stack.enter_context(peers.Engine({
            "io": self.io, "workers": 2, "redis": {"url": redis.url}, "smtp": {"port": self.sink.port, "ehlo_name": "engine.test"},
            "dns": {"servers": self.sink.dns}, "pool": self.pool, "queue": self.queue}))
        self.ledger = faults.Ledger(self.sink.ledger)
        return self

    def __exit__(self, *why):
        return self.stack.__exit__(*why)

    def until_taken_in(self, count):
        faults.wait_until(lambda: self.store.counters().get("accepted", 0) >= count and self.store.waiting_submissions() == 0,
                          "the bulk in its queues", self.engine, self.sink)

    def transactional(self, number, domain):
        """Sends one; returns the seconds from the reply to XADD until its end-of-data was answered."""
        to = f"reset-{number}@{domain}"
        accepted = submit(self.store, f"tx-{number}", "transactional", [to])
        faults.wait_until(lambda: to in self.ledger.refresh().times, f"{to} in the ledger", self.engine, self.sink)
        return self.ledger.times[to][0] - accepted


def same_destination(checks, connections, script, what):
    """The bulk is for the very destination, whose sessions take about 50 messages a second."""
    with Stage(script, {"connections_per_site": connections}) as stage:
        submit_bulk(stage.store, BULK, ["big.test"])
        stage.until_taken_in(BULK)
        stage.ledger.until(100, stage.engine, stage.sink)  # the sessions have earned what they can earn
        begin, lines = time.time(), stage.ledger.lines
        took = [stage.transactional(i, "big.test") for i in range(MESSAGES)]
        rate = (stage.ledger.refresh().lines - lines) / (time.time() - begin)
        print(f"{what}: {rate:.0f} messages a second, transactional after {', '.join(f'{s * 1000:.0f}' for s in sorted(took))} ms")
        checks.that(max(took) < BOUND_S, f"{what}: a transactional message took {max(took):.3f} s")
        checks.that(stage.ledger.lines < BULK, f"{what}: the bulk was over before the last transactional message")


def all_room_taken(checks):
    """Bulk for slow destinations fills what the engine may hold; a transactional message for another one still goes."""
    script = "domain=slow*.test phase=dot delay=5s\n"
    with Stage(script, {"connections_per_site": 2}, {"jobs_in_flight": 40, "per_destination": 40}) as stage:
        submit_bulk(stage.store, 2000, [f"slow{i}.test" for i in range(20)])
        stage.until_taken_in(2000)
        faults.wait_until(lambda: json.loads(stage.engine.get("/v1/stats")[1])["gauges"]["jobs_held"] >= 18 * 2,
                          "as many jobs held as may be", stage.engine, stage.sink)
        took = [stage.transactional(i, f"fast{i}.test") for i in range(MESSAGES)]
        print(f"all room taken: transactional after {', '.join(f'{s * 1000:.0f}' for s in sorted(took))} ms")
        checks.that(max(took) < BOUND_S, f"all room taken: a transactional message took {max(took):.3f} s")


def main():
    checks = campaign.Checks()
    same_destination(checks, 3, "domain=big.test phase=dot delay=100ms\n", "3 sessions")
    same_destination(checks, 1, "domain=big.test phase=dot delay=80ms\n", "1 session")
    same_destination(checks, 1, "domain=big.test phase=dot delay=300ms\n", "1 slow session")
    all_room_taken(checks)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
