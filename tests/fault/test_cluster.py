"""kill -9 of a primary of a Redis Cluster (three primaries, three replicas) in mid-campaign, each round another one; it comes back as a
replica. Judged as under Sentinel (test_sentinel.py)."""
import sys
import time

from fault import faults, groups
from scenario import campaign

ROUNDS = 3
PER_ROUND = 1200


def one_round(world, group, chance, killed_before):
    goal = world.ledger.refresh().lines + chance.randrange(1, PER_ROUND // 2)
    world.submit(PER_ROUND)
    world.ledger.until(goal, *world.nodes)
    time.sleep(chance.random() * 0.05)  # not for order: to hit other moments of the loop
    choices = [it for it in group.primaries() if it not in killed_before] or group.primaries()
    server = chance.choice(choices)
    server.kill9()
    killed_before.append(server)
    faults.wait_until(lambda: len(group.primaries()) == 3, "a failover", *(it for it in group.servers if it.alive()))
    faults.wait_until(world.nodes[0].healthy, "the engine to find the new primary", *world.nodes)
    server.start()
    group.until_whole()


def main():
    checks = campaign.Checks()
    _, chance = faults.seeded()
    count = faults.rounds(ROUNDS)
    with groups.Cluster() as group, faults.World("", group.store(), settings={
            "redis": {"url": group.url, "wait_replicas": 1}}) as world:
        world.node("a")
        killed = []
        for _ in range(count):
            one_round(world, group, chance, killed)
        world.until_ended()
        faults.Judge(world, checks, f"{count} failovers in a cluster").check()
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
