"""kill -9 of Redis (appendfsync always) in mid-campaign, 20 rounds, each time back on the same files after a while; and of the private
Redis that an engine runs. The engine sends no end-of-data that it can't record, reconnects by itself and finishes; nobody is
missed, and doubled are only those whose outcome was unknown."""
import os
import signal
import sys
import time

from fault import faults
from scenario import campaign, peers

ROUNDS = 20
PER_ROUND = 400
SILENT_S = 2.0  # how long Redis stays away in the round that looks whether anything is sent meanwhile
NOTICE_S = 1.0  # what was on its way when the engine noticed may still arrive within this


def no_end_of_data_without_redis(world, redis, checks):
    """The engine says that it can't record; from then on, what it had sent arrives, and nothing else."""
    redis.kill9()
    node = world.nodes[0]
    faults.wait_until(lambda: not node.healthy(), "the engine to notice that Redis is gone", node)
    gone = time.time()
    time.sleep(NOTICE_S + SILENT_S)  # the fault's length
    back = time.time()
    redis.start()
    checks.equal(world.ledger.between(gone + NOTICE_S, back), [], f"{world.io}: messages ended while Redis was away")


def one_round(world, redis, chance):
    goal = world.ledger.refresh().lines + chance.randrange(1, PER_ROUND // 2)
    world.submit(PER_ROUND)
    world.ledger.until(goal, *world.nodes)
    time.sleep(chance.random() * 0.03)  # not for order: to hit other moments of the loop
    redis.kill9()
    time.sleep(chance.random())  # the fault's length
    redis.start()


def own(io, count, chance, checks):
    with peers.Redis() as redis, faults.World(redis.url, faults.store_of(redis), io=io) as world:
        world.node("a")
        for _ in range(count):
            one_round(world, redis, chance)
        goal = world.ledger.refresh().lines + PER_ROUND
        world.submit(10 * PER_ROUND)
        world.ledger.until(goal, *world.nodes)
        no_end_of_data_without_redis(world, redis, checks)
        world.until_ended(redis)
        faults.Judge(world, checks, f"{count + 1} kills of Redis, {io}").check()


def private(chance, checks):
    store = faults.Store(lambda: os.path.join(world.nodes[0].state, "redis", "redis.sock"))
    with faults.World("", store) as world:
        engine = world.node("a")
        world.submit(10 * PER_ROUND)
        for goal in sorted(chance.sample(range(300, 8 * PER_ROUND), 3)):
            world.ledger.until(goal, engine)
            children = peers.children_of(engine.pid, "redis-server")
            checks.equal(len(children), 1, "private Redis runs")
            os.kill(children[0], signal.SIGKILL)
            faults.wait_until(lambda: peers.children_of(engine.pid, "redis-server") not in ([], children), "a new private Redis", engine)
        world.until_ended()
        faults.Judge(world, checks, "3 kills of the private Redis").check()


def main():
    checks = campaign.Checks()
    _, chance = faults.seeded()
    count = faults.rounds(ROUNDS)
    own("io_uring", (count + 1) // 2 - 1, chance, checks)
    own("epoll", count // 2 - 1, chance, checks)
    private(chance, checks)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
