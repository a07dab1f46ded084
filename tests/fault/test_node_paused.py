"""A node of two stands still (SIGSTOP) for longer than its lease: the other one has its jobs back in under 10 s, and when the first
goes on it never sends the end-of-data of what it lost. Then a node dies (kill -9) for good: its jobs are back in under 10 s, too.
Which node sent is what events say (each node has a source of its own). Both I/O bodies at once."""
import os
import signal
import sys
import time
from contextlib import ExitStack

from fault import faults
from scenario import campaign, peers

NOTICED_S = 10     # the promise
LEASE_S = 6        # queue.owner_lease_ms unless configured
BEYOND_S = 5
JOBS = 3000
LATE_S = 0.5       # an event is recorded within this of its message, and a turn of the loop is shorter


class Case:
    def __init__(self, stack, io, addresses):
        self.io = io
        self.redis = stack.enter_context(peers.Redis())
        self.world = stack.enter_context(
            faults.World(self.redis.url, faults.store_of(self.redis), io=io, addresses=addresses, domains=40,
                         sink_flags=("--delay-ms", "100", "--no-chunking"), settings={"pool": {"connections_per_site": 2}}))
        self.first = self.world.node("a")
        faults.wait_until(lambda: self.first.partitions() > 0, "the first node's partitions", self.first)
        self.second = self.world.node("b")

    def load(self):
        goal = self.world.ledger.refresh().lines + JOBS // 10
        self.world.submit(JOBS)
        self.world.ledger.until(goal, *self.world.running())

    def await_takeover(self, lost, survivor, since, what, checks):
        """Until the survivor has sent from each partition of the other; how long the slowest took is the claim."""
        places, last, took = {}, {}, {}
        for partition, event in self.world.store.events(places):
            if event["at"] / 1000 <= since:
                last[partition] = event.get("source")
        partitions = {partition for partition, source in last.items() if source == lost.name}
        checks.that(len(partitions) > 0, f"{self.io}: {what}: the node had partitions (else this shows nothing)")

        def all_back():
            for partition, event in self.world.store.events(places):
                if partition in partitions and event.get("source") == survivor.name:
                    took.setdefault(partition, event["at"] / 1000 - since)
            return took.keys() == partitions
        faults.wait_until(all_back, "a takeover", survivor)
        print(f"{self.io}: {what}: {len(partitions)} partitions, first message from the first after {min(took.values()):.1f} s, "
              f"from the last after {max(took.values()):.1f} s", flush=True)
        checks.that(max(took.values()) < NOTICED_S, f"{self.io}: {what}: jobs back after {max(took.values()):.1f} s")

    def sent_after_loss(self, paused, resumed):
        """Recipients that the survivor ended, and that came twice after the pause began, or again when it was over."""
        ended = {}
        for _, event in self.world.store.events():
            if event.get("source") == self.second.name and event["type"] == "delivered":
                ended[event["to"]] = event["at"] / 1000
        found = []
        for to, at in ended.items():
            later = [line for line in self.world.ledger.times.get(to, []) if line > paused + LATE_S]
            if len(later) > 1 or (at < resumed and any(line > resumed for line in later)):
                found.append(f"{to} at {[f'{line - paused:.2f}' for line in self.world.ledger.times[to]]} s after the pause began, "
                             f"recorded at {at - paused:.2f}, the pause over at {resumed - paused:.2f}")
        return found


def pause(cases, checks):
    for case in cases:
        case.load()
    for case in cases:
        os.kill(case.first.pid, signal.SIGSTOP)
        case.paused = time.time()
    for case in cases:
        case.await_takeover(case.first, case.second, case.paused, "paused", checks)
    time.sleep(max(0.0, cases[-1].paused + LEASE_S + BEYOND_S - time.time()))  # the fault's length
    for case in cases:
        case.resumed = time.time()
        os.kill(case.first.pid, signal.SIGCONT)
    for case in cases:
        case.world.until_ended(case.redis)
        case.world.ledger.refresh()
        checks.equal(case.sent_after_loss(case.paused, case.resumed), [], f"{case.io}: ended by the paused node after it had lost them")


def die(cases, checks):
    for case in cases:
        case.load()
    for case in cases:
        owners = [node for node in case.world.nodes if node.partitions() > 0]
        case.dead = owners[-1]
        case.dead.kill9()
        case.killed = time.time()
    for case in cases:
        survivor = case.first if case.dead is case.second else case.second
        case.await_takeover(case.dead, survivor, case.killed, "killed", checks)
    for case in cases:
        case.world.until_ended(case.redis)


def main():
    checks = campaign.Checks()
    with ExitStack() as stack:
        cases = [Case(stack, "io_uring", "127.0.2.1-127.0.2.20"), Case(stack, "epoll", "127.0.3.1-127.0.3.20")]
        pause(cases, checks)
        die(cases, checks)
        for case in cases:
            faults.Judge(case.world, checks, f"paused and killed, {case.io}").check()
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
