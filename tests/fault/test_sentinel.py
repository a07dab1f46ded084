"""The primary under Sentinel is lost in mid-campaign, again and again, in each of four ways: killed with -9 when its replicas had got
nothing for a while of what it took; so, and together with an engine; stopped (SIGSTOP) until it has been replaced and has no replica any
more, so that it wakes as a primary that doesn't know; just killed. It comes back as a replica. Two engines (one for each I/O body) have
wait_replicas 1, and so have the producers: one that repeats each XADD until a WAIT behind it says that a replica has it, and
`eilpost send`.

What is promised then, and judged by the sink's ledger: what was accepted, leased or recorded is on a replica before it counts, so a
failover loses no accepted job and brings none back that was recorded. An outcome that the lost primary alone had heard of isn't
recorded: its engine repeats it to the new primary, where the job is still in flight. When that engine has died as well, its journal
knows the outcome; what it hadn't got a reply for is the only thing sent again, and is marked as perhaps doubled."""
import sys
import time

from fault import faults, groups
from scenario import campaign

ROUNDS = 4
PER_ROUND = 2000
DELAY_MS = 60            # of the sink: with few sessions there are messages under way at any time
FILLER_BYTES = 16 << 20  # more than the kernel keeps for a connection


def failed_over(world, group, old):
    faults.wait_until(lambda: group.replaced(old), "another primary that the other replica follows", *group.sentinels)
    faults.wait_until(lambda: any(node.healthy() for node in world.running()), "an engine to find the new primary", *world.running())


def killed(world, group, _):
    primary = group.primary()
    primary.kill9()
    failed_over(world, group, primary)
    primary.start()


def kill_when_ahead(world, group, chance, others):
    """Kills the primary and the `others`. What it takes for a while before that never gets to its replicas: they stand still, and the
    connections to them are full."""
    primary = group.primary()
    replicas = [it for it in group.servers if it is not primary]
    for it in replicas:
        it.freeze()
    began = time.time()
    primary.ask("SET", "filler", b"x" * FILLER_BYTES)
    time.sleep(chance.uniform(0.1, 0.4))  # the fault's length
    for it in chance.sample([primary, *others], 1 + len(others)):
        it.kill9()
    for it in replicas:
        it.thaw()
    world.alone.append(len(world.ledger.between(began, time.time())))
    print(f"{world.alone[-1]} messages ended while the primary was alone with the outcomes", flush=True)
    return primary


def killed_when_ahead(world, group, chance):
    primary = kill_when_ahead(world, group, chance, [])
    failed_over(world, group, primary)
    primary.start()


def killed_with_an_engine(world, group, chance):
    node = chance.choice([node for node in world.nodes if node.partitions() > 0] or world.nodes)
    primary = kill_when_ahead(world, group, chance, [node])
    node.start()
    failed_over(world, group, primary)
    primary.start()


def stopped(world, group, _):
    primary = group.primary()
    primary.freeze()
    failed_over(world, group, primary)
    primary.thaw()


FAULTS = (killed_when_ahead, killed_with_an_engine, stopped, killed)


def one_round(world, group, chance, fault):
    goal = world.ledger.refresh().lines + chance.randrange(1, PER_ROUND // 2)
    world.submit(PER_ROUND)
    world.ledger.until(goal, *world.nodes)
    time.sleep(chance.random() * 0.05)  # not for order: to hit other moments of the loop
    began = time.monotonic()
    fault(world, group, chance)
    print(f"{fault.__name__}: sending again after {time.monotonic() - began:.1f} s", flush=True)
    group.until_whole()


def main():
    checks = campaign.Checks()
    _, chance = faults.seeded()
    count = faults.rounds(ROUNDS)
    with groups.Sentinels() as group, \
            faults.World("", group.store(), sink_flags=("--delay-ms", str(DELAY_MS)), settings={
                "redis": {"url": group.url, "wait_replicas": 1}, "pool": {"connections_per_site": 2}}) as world, \
            groups.Producer(group, world.domains) as producer:
        world.alone = []
        world.node("a", io="io_uring")
        world.node("b", io="epoll")
        for at in range(count):
            one_round(world, group, chance, FAULTS[at % len(FAULTS)])
        producer.finish()
        world.accepted += producer.accepted
        print(f"the producer was confirmed {len(producer.accepted)} recipients and repeated {producer.repeated} entries", flush=True)
        checks.that(producer.repeated > 0, "the producer met a failover (else this shows nothing of it)")
        checks.that(sum(world.alone) > 0, "outcomes were lost with a primary (else this shows nothing of it)")
        world.until_ended(*group.sentinels)
        faults.Judge(world, checks, f"{count} failovers by Sentinel").check()
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
