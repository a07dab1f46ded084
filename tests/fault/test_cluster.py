"""kill -9 of a primary of a Redis Cluster (three primaries, three replicas) in mid-campaign, each round another one; its replica takes
over, and it's started again, as a service manager would do: with one replica a primary and wait_replicas 1, its partitions wait for
that. Those of the other primaries go on sending meanwhile. Producers, promises and judgement are those of test_sentinel.py."""
import sys
import time

from fault import faults, groups
from scenario import campaign

ROUNDS = 3
PER_ROUND = 2500
NOTICED_S = 0.3   # what had been sent when the primary died has its event by then
DELAY_MS = 60     # of the sink: with few sessions there's bulk left for as long as the failover takes


def went_on(world, spared, began, over):
    """How many messages for the others' partitions ended meanwhile."""
    return sum(faults.partition_of(to) in spared for to in world.ledger.between(began + NOTICED_S, over))


def one_round(world, group, chance, lost_before, checks):
    goal = world.ledger.refresh().lines + chance.randrange(1, PER_ROUND // 4)
    world.submit(PER_ROUND)
    world.ledger.until(goal, *world.nodes)
    time.sleep(chance.random() * 0.05)  # not for order: to hit other moments of the loop
    places = {it: group.partitions_of(it) for it in group.primaries()}
    server = chance.choice([it for it in places if places[it] not in lost_before] or list(places))
    lost = places[server]
    lost_before.append(lost)
    began = time.time()
    server.kill9()
    faults.wait_until(lambda: len(group.primaries()) == 3, "a failover", *(it for it in group.servers if it.alive()))
    over = time.time()
    server.start()
    faults.wait_until(lambda: all(node.healthy() for node in world.nodes), "the engines to find the new primary", *world.nodes)
    others = went_on(world, set(range(faults.PARTITIONS)) - set(lost), began, over)
    print(f"partitions {lost} lost: a replica took over after {over - began:.1f} s, all served after {time.time() - began:.1f} s; "
          f"meanwhile {others} messages of the other partitions", flush=True)
    checks.that(others > 0, "the other primaries' partitions went on")
    group.until_whole()


def main():
    checks = campaign.Checks()
    _, chance = faults.seeded()
    count = faults.rounds(ROUNDS)
    with groups.Cluster() as group, \
            faults.World("", group.store(), sink_flags=("--delay-ms", str(DELAY_MS)), settings={
                "redis": {"url": group.url, "wait_replicas": 1}, "pool": {"connections_per_site": 2}}) as world, \
            groups.Producer(group, world.domains) as producer:
        world.node("a", io="io_uring")
        world.node("b", io="epoll")
        lost_before = []
        for _ in range(count):
            one_round(world, group, chance, lost_before, checks)
        producer.finish()
        world.accepted += producer.accepted
        print(f"the producer was confirmed {len(producer.accepted)} recipients and repeated {producer.repeated} entries", flush=True)
        world.until_ended()
        faults.Judge(world, checks, f"{count} failovers in a cluster").check()
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
