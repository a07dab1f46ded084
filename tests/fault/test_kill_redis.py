"""kill -9 of Redis (appendfsync always) in mid-campaign: while it's gone the engine sends no end-of-data that it can't record; after the
restart it reconnects by itself and finishes; nobody is missed, and doubled are only those whose outcome was unknown."""
import os
import random
import signal
import sys
import tempfile
import time

from scenario import campaign, peers

RECIPIENTS, DOMAINS = 6000, 60
DOWN_S = 2.0     # how long Redis stays away
NOTICE_S = 0.5   # what was on its way when it went may still be answered within this


def ledger_lines(path):
    with open(path) as ledger:
        return [line.split("\t") for line in ledger if line.endswith("\n")]


def await_ledger(path, count):
    """The sink's ledger is a file: the only event is its growth."""
    while not os.path.exists(path) or len(ledger_lines(path)) < count:
        time.sleep(0.01)


def submit(engine, folder):
    rows = [{"email": f"user{i}@d{i % DOMAINS}.test", "name": f"Name {i}"} for i in range(RECIPIENTS)]
    listed = campaign.write_list(os.path.join(folder, "list.csv"), rows)
    template = campaign.write_text(os.path.join(folder, "template.txt"),
                                   "From: shop@engine.test\nSubject: Hello {{name}}\n\nDear {{name}}\n")
    campaign.submit(engine.config, "bounce@engine.test", "--list", listed, "--template", template)
    return [row["email"] for row in rows]


def judge(engine, sink, recipients, checks, what):
    with campaign.Follower(engine.config) as follower:
        events = follower.until_ended(len(recipients))
    counts = {}
    for line in ledger_lines(sink.ledger):
        counts[line[1]] = counts.get(line[1], 0) + 1
    unknown = {to for to, its in events.items() if any(e["type"] == "unknown" for e in its)}
    twice = {to for to, times in counts.items() if times > 1}
    print(f"{what}: {len(unknown)} unknown, {len(twice)} twice")
    checks.equal([to for to in recipients if to not in counts], [], f"{what}: recipients without the message")
    checks.equal(sorted(twice - unknown), [], f"{what}: doubled though their outcome was known")


def configuration(sink, **more):
    return {"workers": 2, "smtp": {"port": sink.port, "ehlo_name": "engine.test"}, "dns": {"servers": sink.dns},
            "retry": {"schedule_s": [1], "unknown_delay_s": 1}, **more}


def sink_for(folder):
    return peers.BenchSink("--delay-ms", "15", addresses="127.0.2.1-127.0.2.20", ledger=os.path.join(folder, "ledger"))


def external(io, checks, chance):
    with tempfile.TemporaryDirectory() as folder, peers.Redis() as redis, sink_for(folder) as sink, \
            peers.Engine(configuration(sink, io=io, redis={"url": redis.url})) as engine:
        recipients = submit(engine, folder)
        await_ledger(sink.ledger, chance.randrange(500, 3000))
        redis.kill9()
        gone = time.time()
        time.sleep(DOWN_S)  # the fault's length, not a wait for anything
        back = time.time()
        redis.start()
        judge(engine, sink, recipients, checks, f"own Redis, {io}")
        meanwhile = [line[1] for line in ledger_lines(sink.ledger)
                     if gone + NOTICE_S < int(line[0]) / 1e6 < back]
        checks.equal(meanwhile, [], f"{io}: messages ended while Redis was away")


def embedded(checks, chance):
    with tempfile.TemporaryDirectory() as folder, sink_for(folder) as sink, \
            peers.Engine(configuration(sink)) as engine:
        recipients = submit(engine, folder)
        for goal in sorted(chance.sample(range(300, 4000), 3)):
            await_ledger(sink.ledger, goal)
            children = peers.children_of(engine.pid, "redis-server")
            checks.equal(len(children), 1, "private Redis runs")
            os.kill(children[0], signal.SIGKILL)
            while peers.children_of(engine.pid, "redis-server") in ([], children):
                time.sleep(0.01)
            while not peers.answers_redis(os.path.join(engine.state, "redis", "redis.sock")):
                time.sleep(0.01)
        judge(engine, sink, recipients, checks, "private Redis")


def main():
    checks = campaign.Checks()
    seed = int(os.environ.get("SEED", random.randrange(1 << 32)))
    print(f"seed {seed}")
    chance = random.Random(seed)
    external("io_uring", checks, chance)
    external("epoll", checks, chance)
    embedded(checks, chance)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
