"""Redis reaches maxmemory under load: producers are refused with a clear answer, what was accepted is sent and recorded, and when the
queue has drained, new submissions are taken again without anybody's help."""
import json
import os
import signal
import sys

from fault import faults
from scenario import campaign, peers

ROOM = 6 << 20         # what Redis may take beyond what it has when all is idle
PER_ENTRY = 20
FILLER = "x" * 2000    # of merge data per recipient: far more than the event that is left of a job


class Producer:
    """Submits by XADD, as any program may. A reply is the acceptance."""

    def __init__(self, world):
        self.world = world

    def add(self):
        """The error that XADD was refused with, or None."""
        chosen = self.world.fresh(PER_ENTRY)
        submission = {"from": "bounce@engine.test",
                      "content": {"headers": {"From": "shop@engine.test", "Subject": "Hello {{name}}"}, "text": "{{filler}}\n"},
                      "recipients": [{"to": to, "data": {"name": to, "filler": FILLER}} for to in chosen]}
        try:
            self.world.store.once("XADD", f"{faults.SPACE}:submit", "*", "json", json.dumps(submission))
        except faults.RedisError as error:
            return str(error)
        self.world.accepted += chosen
        return None

    def add_until_refused(self):
        while True:
            error = self.add()
            if error:
                return error


def send_until_refused(world, producer):
    """`eilpost send` of single messages, until there is no room even for that."""
    while True:
        producer.add_until_refused()
        to = world.fresh(1)
        done = campaign.eilpost("send", "--config", world.nodes[0].config, "--from", "bounce@engine.test", "--to", to[0],
                                "--template", world.template, "--set", "name=Late", check=False)
        if done.returncode != 0:
            return done
        world.accepted += to


def used_memory(world):
    return int(dict(line.split(":", 1) for line in world.store.read("INFO", "memory").splitlines() if ":" in line)["used_memory"])


def run(io, checks):
    with peers.Redis() as redis, \
            faults.World(redis.url, faults.store_of(redis), io=io, sink_flags=("--delay-ms", "50")) as world:
        world.node("a")
        world.submit(40)
        world.until_ended(redis)
        world.store.read("CONFIG", "SET", "maxmemory", used_memory(world) + ROOM)

        producer = Producer(world)
        error = producer.add_until_refused()
        checks.that(error.startswith("OOM"), f"{io}: XADD at maxmemory was refused with {error}")
        # Nothing leaves while nobody answers: the memory stays full for what comes next.
        os.kill(world.sink.pid, signal.SIGSTOP)
        refused = send_until_refused(world, producer)
        checks.that(refused.returncode not in (0, 2, 3, 4), f"{io}: `eilpost send` at maxmemory exits with {refused.returncode}")
        checks.that("OOM" in refused.stderr or "try later" in refused.stderr, f"{io}: `eilpost send` at maxmemory says {refused.stderr}")
        os.kill(world.sink.pid, signal.SIGCONT)

        for _ in range(3):  # the load goes on while the queue drains
            world.ledger.until(world.ledger.refresh().lines + 50, *world.nodes)
            producer.add_until_refused()
        world.until_ended(redis)
        checks.equal(producer.add(), None, f"{io}: XADD after the queue has drained")
        world.submit(40)
        world.until_ended(redis)
        faults.Judge(world, checks, f"maxmemory, {io}").check()


def main():
    checks = campaign.Checks()
    for io in faults.IO_BODIES:
        run(io, checks)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
