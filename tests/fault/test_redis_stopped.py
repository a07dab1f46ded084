"""Redis stands still (SIGSTOP) for 15 s under load, then goes on: while it does the engine sends nothing beyond its lease, what it
had been told before is neither lost nor done twice, and late commands of given-up connections do no harm. Both I/O bodies at once."""
import os
import signal
import sys
import time
from contextlib import ExitStack

from fault import faults
from scenario import campaign, peers

STOPPED_S = 15
LEASE_S = 6       # queue.owner_lease_ms unless configured
JOBS = 5000          # more than the engine can send before it must stop


class Case:
    """One engine with its own Redis and sink."""

    def __init__(self, stack, io, addresses):
        self.redis = stack.enter_context(peers.Redis())
        self.world = stack.enter_context(
            faults.World(self.redis.url, faults.store_of(self.redis), io=io, addresses=addresses, domains=20,
                         sink_flags=("--delay-ms", "200"), settings={"pool": {"connections_per_site": 2}}))
        self.world.node("a")

    def stop(self, goal):
        self.world.ledger.until(goal, *self.world.nodes)
        os.kill(self.redis.pid, signal.SIGSTOP)
        self.stopped = time.time()

    def resume(self):
        self.resumed = time.time()
        os.kill(self.redis.pid, signal.SIGCONT)

    def judge(self, checks):
        self.world.until_ended(self.redis)
        checks.equal(self.world.ledger.between(self.stopped + LEASE_S, self.resumed), [],
                     f"{self.world.io}: messages ended when the lease couldn't be renewed")
        sent = len(self.world.ledger.between(self.stopped, self.resumed))
        print(f"{self.world.io}: {sent} messages ended within the lease while Redis stood still")
        faults.Judge(self.world, checks, f"Redis stopped, {self.world.io}").check()


def main():
    checks = campaign.Checks()
    _, chance = faults.seeded()
    with ExitStack() as stack:
        cases = [Case(stack, "io_uring", "127.0.2.1-127.0.2.20"), Case(stack, "epoll", "127.0.3.1-127.0.3.20")]
        for case in cases:
            case.world.submit(JOBS)
        for case in cases:
            case.stop(chance.randrange(JOBS // 10, JOBS // 2))
        time.sleep(STOPPED_S)  # the fault's length
        for case in cases:
            case.resume()
        for case in cases:
            case.world.submit(500)
            case.judge(checks)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
