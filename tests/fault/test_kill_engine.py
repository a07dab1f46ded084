"""kill -9 of the engine in mid-campaign, several times: after the restart every recipient has the message, and those that have it twice are
among those whose outcome the journal said was unknown."""
import os
import random
import sys
import tempfile
import time

from scenario import campaign, peers

RECIPIENTS, DOMAINS, KILLS = 6000, 60, 5


def read_ledger(path):
    """{recipient: times accepted}"""
    counts = {}
    with open(path) as ledger:
        for line in ledger:
            if line.endswith("\n"):
                recipient = line.split("\t")[1]
                counts[recipient] = counts.get(recipient, 0) + 1
    return counts


def run(io, chunking, seed, checks):
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder, \
            peers.Redis() as redis, \
            peers.BenchSink("--delay-ms", "15", *([] if chunking else ["--no-chunking"]),
                            addresses="127.0.2.1-127.0.2.20", ledger=os.path.join(folder, "ledger")) as sink:
        engine = peers.Engine({
            "io": io, "workers": 2, "redis": {"url": redis.url},
            "smtp": {"port": sink.port, "ehlo_name": "engine.test"}, "dns": {"servers": sink.dns},
            "retry": {"schedule_s": [1], "unknown_delay_s": 1}})
        with engine, campaign.Follower(engine.config) as follower:
            rows = [{"email": f"user{i}@d{i % DOMAINS}.test", "name": f"Name {i}"} for i in range(RECIPIENTS)]
            listed = campaign.write_list(os.path.join(folder, "list.csv"), rows)
            template = campaign.write_text(os.path.join(folder, "template.txt"),
                                           "From: shop@engine.test\nSubject: Hello {{name}}\n\nDear {{name}}\n")
            submission = campaign.submit(engine.config, "bounce@engine.test", "--list", listed, "--template", template)
            for _ in range(KILLS):
                goal = len(follower.events) + chance.randrange(50, RECIPIENTS // (KILLS + 1))
                follower.until(lambda events: len(events) >= goal)
                time.sleep(chance.random() * 0.02)  # not for order: to hit other moments of the loop
                engine.kill9()
                engine.start()
            events = follower.until_ended(RECIPIENTS)
            ledger = read_ledger(sink.ledger)
            missing = [row["email"] for row in rows if row["email"] not in ledger]
            twice = {recipient for recipient, times in ledger.items() if times > 1}
            unknown = {to for to, its in events.items() if any(e["type"] == "unknown" for e in its)}
            ended = {to: [e["type"] for e in its if e["type"] in campaign.TERMINAL] for to, its in events.items()}
            print(f"io {io} chunking {chunking} seed {seed}: {KILLS} kills, {len(unknown)} unknown, {len(twice)} twice, "
                  f"{len(missing)} missing")
            checks.equal(missing, [], "recipients without the message")
            checks.equal(sorted(twice - unknown), [], "doubled though their outcome was known")
            checks.that(all(types == ["delivered"] for types in ended.values()), "each job ends once, delivered")
            totals = campaign.totals(engine.config, submission)["submissions"][submission]
            checks.equal((totals["accepted"], totals["delivered"]), (RECIPIENTS, RECIPIENTS), "totals")
    return len(unknown)


def main():
    checks = campaign.Checks()
    seed = int(os.environ.get("SEED", random.randrange(1 << 32)))
    unknown = run("io_uring", True, seed, checks) + run("epoll", False, seed + 1, checks)
    checks.that(unknown > 0, "the kills hit at least one open end-of-data (else this test shows nothing)")
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
