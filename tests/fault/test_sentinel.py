"""kill -9 of the primary under Sentinel in mid-campaign, several rounds; the killed one comes back as a replica. With wait_replicas 1
what was accepted, leased and recorded is on a replica before it counts, so a failover loses nothing and doubles nobody whose outcome
was known."""
import sys
import time

from fault import faults, groups
from scenario import campaign

ROUNDS = 3
PER_ROUND = 1200


def one_round(world, group, chance):
    goal = world.ledger.refresh().lines + chance.randrange(1, PER_ROUND // 2)
    world.submit(PER_ROUND)
    world.ledger.until(goal, *world.nodes)
    time.sleep(chance.random() * 0.05)  # not for order: to hit other moments of the loop
    primary = group.primary()
    primary.kill9()
    faults.wait_until(lambda: group.primary() not in (None, primary), "a failover", *group.sentinels)
    faults.wait_until(world.nodes[0].healthy, "the engine to find the new primary", *world.nodes)
    primary.start()
    group.until_whole()


def main():
    checks = campaign.Checks()
    _, chance = faults.seeded()
    count = faults.rounds(ROUNDS)
    with groups.Sentinels() as group, faults.World("", group.store(), settings={
            "redis": {"url": group.url, "wait_replicas": 1}}) as world:
        world.node("a")
        for _ in range(count):
            one_round(world, group, chance)
        world.until_ended(*group.sentinels)
        faults.Judge(world, checks, f"{count} failovers by Sentinel").check()
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
