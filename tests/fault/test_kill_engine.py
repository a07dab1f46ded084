"""kill -9 of engines at random moments, 50 rounds: two nodes on one Redis; each round submits, waits for some deliveries, kills one
node (or both) and starts it again, at once or later or only after the other node has taken over. In the end every recipient has the
message, each job ended once, and doubled are only those whose outcome was unknown."""
import sys
import time

from fault import faults
from scenario import campaign, peers

ROUNDS = 50
PER_ROUND = 300
LEASE_MS = 3000  # short, so that nodes take over from each other often


def victims_of(world, chance):
    """Mostly one node that has partitions; sometimes all."""
    if chance.random() < 0.1:
        return world.nodes
    owners = [node for node in world.nodes if node.partitions() > 0]
    return [chance.choice(owners or world.nodes)]


def await_takeover(world, dead):
    """Until the others own all partitions."""
    others = [node for node in world.nodes if node not in dead]
    if others:
        faults.wait_until(lambda: sum(node.partitions() for node in others) == faults.PARTITIONS, "another node to take over",
                          *others)


def one_round(world, chance):
    goal = world.ledger.refresh().lines + chance.randrange(1, PER_ROUND // 2)
    world.submit(PER_ROUND)
    world.ledger.until(goal, *world.nodes)
    time.sleep(chance.random() * 0.03)  # not for order: to hit other moments of the loop
    dead = victims_of(world, chance)
    for node in dead:
        node.kill9()
    pause = chance.random()
    if pause < 0.1:
        await_takeover(world, dead)
    elif pause < 0.3:
        time.sleep(chance.random())
    for node in dead:
        node.start()


def run(io, flags, count, chance, checks):
    with peers.Redis() as redis, \
            faults.World(redis.url, faults.store_of(redis), io=io, sink_flags=("--delay-ms", "15", *flags),
                         settings={"queue": {"owner_lease_ms": LEASE_MS}}) as world:
        world.node("a")
        world.node("b")
        for _ in range(count):
            one_round(world, chance)
        world.until_ended(redis)
        return faults.Judge(world, checks, f"{count} kills, {io}").check()


def main():
    checks = campaign.Checks()
    _, chance = faults.seeded()
    count = faults.rounds(ROUNDS)
    judges = [run("io_uring", [], (count + 1) // 2, chance, checks), run("epoll", ["--no-chunking"], count // 2, chance, checks)]
    checks.that(any(judge.marked for judge in judges), "the kills hit at least one open end-of-data (else this test shows nothing)")
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
