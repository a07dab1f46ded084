"""Connections to Redis, and then those to the mail exchangers, are reset after random numbers of bytes: in the middle of commands, replies,
messages, anywhere. All is sent and recorded nevertheless, and doubled are only messages whose end-of-data had no reply."""
import sys

from fault import breaker, faults
from scenario import campaign, peers

JOBS = 3000
RESETS = 40
ADDRESSES = [f"127.0.2.{n}" for n in range(1, 21)]


def life_of_connection(chance):
    """Few end before the scripts are loaded: the engine waits longer after each of those."""
    return int(2 ** (chance.uniform(8, 15) if chance.random() < 0.1 else chance.uniform(16, 21)))


def run_redis(io, seed, checks):
    """Between engine and Redis. The producer has a way of its own: whether a submission was accepted isn't in question here."""
    with peers.Redis() as redis:
        port = peers.free_port()
        routes = {"127.0.0.1": redis.socket}
        with breaker.Breaker(routes, port, life_of_connection, seed) as proxy, \
                faults.World(f"redis://127.0.0.1:{port}", faults.store_of(redis), io=io) as world:
            world.node("a")
            proxy.breaking = True
            direct = world.write_configuration(redis={"url": redis.url})
            while proxy.resets < RESETS:
                goal = world.ledger.refresh().lines + JOBS // 8
                world.submit(JOBS // 4, direct)
                world.ledger.until(goal, *world.nodes)
            proxy.breaking = False
            world.until_ended(redis)
            print(f"{io}: {proxy.resets} connections to Redis reset")
            faults.Judge(world, checks, f"resets of connections to Redis, {io}").check(direct)


def run_sink(io, flags, seed, checks):
    """Between engine and mail exchangers."""
    with peers.Redis() as redis, \
            faults.World(redis.url, faults.store_of(redis), io=io, sink_flags=("--delay-ms", "15", *flags)) as world:
        port = peers.free_port(ADDRESSES[0])
        routes = {address: (address, world.sink.port) for address in ADDRESSES}
        with breaker.Breaker(routes, port, lambda chance: int(2 ** chance.uniform(6, 15)), seed) as proxy:
            world.node("a", smtp={"port": port})
            proxy.breaking = True
            world.submit(JOBS)
            faults.wait_until(lambda: proxy.resets >= RESETS * 5, "resets", *world.nodes)
            world.submit(JOBS // 4)
            proxy.breaking = False
            world.until_ended(redis)
            print(f"{io}: {proxy.resets} sessions reset")
            judge = faults.Judge(world, checks, f"resets of sessions, {io}").check()
            checks.that(judge.marked, f"{io}: some resets hit an open end-of-data (else this shows nothing)")


def main():
    checks = campaign.Checks()
    seed, _ = faults.seeded()
    run_redis("io_uring", seed, checks)
    run_redis("epoll", seed + 1, checks)
    run_sink("io_uring", [], seed + 2, checks)
    run_sink("epoll", ["--no-chunking"], seed + 3, checks)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
