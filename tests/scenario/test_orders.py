"""Operators' orders: what a filter matches is held, ended, brought back, moved or retried, exactly and on all nodes."""
import signal
import subprocess
import os
import sys
import time

from fault import faults
from scenario import campaign, operators, peers

DOMAINS = [f"d{i}.test" for i in range(10)]
SLOW = {"pool": {"connections_per_site": 2}, "queue": {"per_destination": 60}}
SLOW_SCRIPT = "domain=* delay=40ms\n"
OBEY_S = 1.0


def pause_is_exact_and_resume_completes(checks, nodes):
    with operators.Stage(SLOW_SCRIPT, SLOW, nodes=nodes) as stage:
        what = f"{nodes} nodes"
        sent = operators.addresses("user", 3000, DOMAINS)
        stage.submit("june", sent, tenant="acme", campaign="june")
        stage.until_taken_in(len(sent))
        if nodes > 1:
            stage.wait(lambda: all(node.partitions() > 0 for node in stage.nodes), "partitions on each node")
            alive = {row["node"] for row in stage.run("node", "list") if row["state"] != "gone"}
            checks.equal(len(alive), nodes, f"{what}: nodes that `node list` shows")
        stage.ledger.until(300)
        paused = stage.run("campaign", "pause", "acme/june", "--reason", "a wrong price")
        answered = time.time()
        checks.equal(paused["state"], "paused", f"{what}: state")
        checks.that(0 < paused["totals"]["open"] < len(sent), f"{what}: paused in the middle")
        checks.that(operators.adds_up(paused["totals"]), f"{what}: counts at the pause add up: {paused['totals']}")
        checks.equal(operators.jobs(paused["open"]), paused["totals"]["open"], f"{what}: open by a walk, and by the counters")
        checks.equal(paused["open"]["in_flight"], 0, f"{what}: jobs in flight after the pause")
        at_pause = stage.ledger.refresh().lines
        time.sleep(2 * OBEY_S)  # what must not happen can't be awaited
        late = stage.ledger.between(answered + OBEY_S, time.time())
        checks.equal(late, [], f"{what}: recipients served more than {OBEY_S} s after the pause")
        later = stage.run("campaign", "show", "acme/june", "--deep")
        checks.equal(later["totals"], paused["totals"], f"{what}: counts at the pause and later")
        checks.equal(stage.ledger.lines, at_pause, f"{what}: messages at the pause and later")
        checks.equal(later["reason"], "a wrong price", f"{what}: reason")
        held = stage.run("queue", "list", "--by", "campaign")["rows"][0]
        checks.equal((held["held"], held["held_by"]), (held["queued"], ["c:acme/june"]), f"{what}: shown as held")
        stage.run("campaign", "resume", "acme/june")
        stage.until_ended(len(sent))
        checks.equal(sorted(stage.ledger.refresh().times), sorted(sent), f"{what}: recipients served in the end")
        checks.that(all(len(times) == 1 for times in stage.ledger.times.values()), f"{what}: nobody twice")
        done = stage.run("campaign", "show", "acme/june")
        checks.equal((done["totals"]["delivered"], done["totals"]["open"], done["eta_s"]), (len(sent), 0, 0), f"{what}: when done")


def ends_and_restorations_add_up(checks):
    with operators.Stage() as stage:
        sent = operators.addresses("user", 2000, DOMAINS)
        hold = stage.run("queue", "suspend", "--all", "--reason", "a test", "--by", "ann")
        stage.submit("july", sent, tenant="acme", campaign="july")
        stage.until_taken_in(len(sent))
        for verb, kind in (("cancel", "cancelled"), ("purge", None)):
            would = stage.run("queue", verb, "--campaign", "acme/july", "--destination", "d3.test", "--dry-run")
            did = stage.run("queue", verb, "--campaign", "acme/july", "--destination", "d3.test", "--reason", "gone", "--by", "bob")
            checks.equal(would["found"], {"queued": 200, "retrying": 0, "in_flight": 0}, f"{verb}: counts of the dry run")
            checks.equal((did["found"], did["acted"]), (would["found"], would["found"]), f"{verb}: real numbers")
            shown = stage.run("campaign", "show", "acme/july", "--deep")
            checks.equal((shown["totals"]["cancelled"], shown["totals"]["open"]), (200, 1800), f"{verb}: counts after it")
            checks.that(operators.adds_up(shown["totals"]), f"{verb}: counts add up")
            checks.equal(operators.jobs(shown["open"]), 1800, f"{verb}: left by a walk")
            ends = stage.ends()
            checks.equal(sum(types == ["cancelled"] for types in ends.values()), 200 if kind else 0, f"{verb}: terminal events")
            kept = stage.run("queue", "restore", did["order"], "--dry-run")["jobs"]
            back = stage.run("queue", "restore", did["order"])
            checks.equal((kept, back["jobs"], back["forgotten"]), (200, 200, 0), f"{verb}: brought back")
            shown = stage.run("campaign", "show", "acme/july")
            checks.equal((shown["totals"]["cancelled"], shown["totals"]["open"]), (0, 2000), f"{verb}: counts when restored")
            if kind:  # restored jobs end for good with another event, so the first ends are forgotten here
                for partition in range(faults.PARTITIONS):
                    stage.store.once("XTRIM", f"e:{{{partition}}}:ev", "MAXLEN", 0)
        checks.equal(stage.ledger.refresh().lines, 0, "messages while all was held")
        gone = stage.run("queue", "cancel", "--destination", "*.test", "--submission", "july.0")
        checks.equal(gone["acted"]["queued"], 500, "cancelled by submission and wildcard")
        stage.run("queue", "resume", hold["order"])
        stage.until_ended(len(sent))
        served = set(stage.ledger.refresh().times)
        checks.equal(served, set(sent[500:]), "served: all but the cancelled submission")
        ends = stage.ends()
        checks.that(all(len(types) == 1 for types in ends.values()) and len(ends) == len(sent), "each job ended once")
        log = stage.run("queue", "log")
        checks.equal([(entry["by"], entry["action"], operators.jobs(entry["jobs"])) for entry in log[:3]],
                     [("ann", "suspend", 0), ("bob", "cancel", 200), (log[2]["by"], "restore", 200)], "log")
        checks.equal(stage.refused("queue", "resume", hold["order"])[0], 2, "exit code of resuming twice")
        checks.equal(stage.refused("queue", "restore", "o-nothing")[0], 1, "exit code for an order that there isn't")


# a name, options of the order, fields of a submission that it holds
FILTERS = [
    ("tenant", ["--tenant", "umbra"], {"tenant": "umbra"}),
    ("campaign", ["--campaign", "acme/spring"], {"tenant": "acme", "campaign": "spring"}),
    ("class", ["--class", "deadline"], {"class": "deadline", "expires_in_s": 600}),
    ("submission", ["--submission", "held-submission.0"], {}),
    ("destination", ["--destination", "held.test"], {}),
    ("below", ["--destination", "*.below.test"], {}),
    ("site", ["--site", "mx1.site.test"], {}),
]
FILTER_DOMAINS = {"destination": "held.test", "below": "a.below.test", "site": "site.test"}


def each_filter_holds_what_it_names(checks):
    with operators.Stage() as stage:
        # A site is known once its hosts were asked for.
        stage.submit("first", ["first@site.test"])
        stage.until_ended(1)
        stage.wait(lambda: stage.store.read("HGET", f"e:{{{faults.partition_of('x@site.test')}}}:l", "site.test"), "the site's hosts")
        for _, options, _ in FILTERS:
            stage.run("queue", "suspend", *options)
        expected, held = 1, []
        for name, _, fields in FILTERS:
            mine = operators.addresses(f"held-{name}", 20, [FILTER_DOMAINS.get(name, "plain.test")])
            stage.submit(f"held-{name}", mine, **fields)
            held += mine
            expected += len(mine)
        free = operators.addresses("free", 50, ["plain.test", "unheld.test", "below.test", "xbelow.test"])
        stage.submit("free", free, tenant="acme", campaign="autumn")
        expected += len(free)
        stage.until_taken_in(expected)
        stage.wait(lambda: stage.open_jobs() == len(held), "the end of what isn't held")
        time.sleep(OBEY_S)
        checks.equal(sorted(set(stage.ledger.refresh().times) & set(held)), [], "held recipients that were served")
        checks.equal(stage.open_jobs(), len(held), "open jobs: those that are held")
        total = stage.run("queue", "list")["total"]
        checks.equal((total["queued"], total["held"]), (len(held), len(held)), "queued and held, as listed")
        told = stage.run("queue", "show", "held.test")
        checks.equal((told["queued"], told["queues"][0]["held_by"][:2]), (20, "o-"), "queue show")
        for name, options, _ in FILTERS:
            found = stage.run("queue", "resume", *options, "--dry-run")["orders"]
            checks.equal([row["found"]["queued"] for row in found], [20], f"{name}: what resuming would let go")
            stage.run("queue", "resume", *options)
        stage.until_ended(expected)
        checks.that(set(held) <= set(stage.ledger.refresh().times), "all served when resumed")
        checks.equal(stage.run("queue", "orders"), [], "orders left")


def age_and_expiry(checks):
    with operators.Stage() as stage:
        stage.run("queue", "suspend", "--all")
        old = operators.addresses("old", 30, ["age.test"])
        short = operators.addresses("short", 30, ["age.test"])
        stage.submit("old", old)
        stage.until_taken_in(30)
        time.sleep(2.2)
        stage.submit("short", short, expires_in_s=3)
        stage.until_taken_in(60)
        counts = stage.run("queue", "cancel", "--older-than", "2s", "--dry-run")["found"]
        checks.equal(counts["queued"], 30, "older than two seconds")
        checks.equal(stage.run("queue", "cancel", "--older-than", "1h", "--dry-run")["found"]["queued"], 0, "older than an hour")
        stage.wait(lambda: stage.open_jobs() == 30, "expiry while suspended")
        events = [event for _, event in stage.store.events() if event["type"] == "expired"]
        checks.equal(sorted(event["to"] for event in events), sorted(short), "expired while suspended")
        told = stage.run("queue", "explain", "old.0")
        checks.that(any("holds some of it" in line for line in told["why"]), f"a submission's explanation: {told['why']}")
        job = stage.run("queue", "explain", "old.0-3")
        checks.equal((job["state"], job["recipient"], job["position"]), ("queued", old[3], 3), "a job's explanation")
        gone = stage.run("queue", "explain", "short.0-0")
        checks.equal((gone["state"], gone["last_event"]["type"]), ("ended", "expired"), "an ended job's explanation")
        checks.equal(stage.refused("queue", "explain", "nobody-1")[0], 1, "exit code for an unknown job")
        stage.run("queue", "resume", "--all")
        stage.until_ended(60)


def retry_now(checks):
    script = "recipient=later-* first rcpt=451 4.3.0 not now\n"
    with operators.Stage(script, {"retry": {"schedule_s": [3600]}}) as stage:
        here = operators.addresses("later", 40, ["here.test"])
        there = operators.addresses("later", 40, ["there.test"])
        stage.submit("later", here + there)
        stage.wait(lambda: stage.store.counters().get("deferred", 0) >= 80, "deferrals")
        row = stage.run("queue", "list", "--destination", "here.test")["rows"][0]
        checks.equal((row["queued"], row["retrying"], row["in_flight"]), (0, 40, 0), "listed as retrying")
        told = stage.run("queue", "explain", "later.0-0")
        checks.equal((told["state"], told["attempts"]), ("retrying", 1), "a retry's explanation")
        checks.that("not now" in told["last_reply"], f"its last reply: {told['last_reply']}")
        would = stage.run("queue", "retry", "--destination", "here.test", "--dry-run")
        did = stage.run("queue", "retry", "--destination", "here.test")
        checks.equal((would["found"]["retrying"], did["acted"]["retrying"]), (40, 40), "retries brought forward")
        stage.wait(lambda: stage.open_jobs() == 40, "the second attempts")
        checks.equal(set(stage.ledger.refresh().times), set(here), "served: those retried")
        stage.run("queue", "cancel", "--destination", "there.test")
        checks.equal(stage.open_jobs(), 0, "retries can be cancelled, too")


def move_to_a_pool(checks):
    settings = {"sources": [{"name": "cold", "address": "127.0.9.101"}, {"name": "warm", "address": "127.0.9.102"}],
                "pools": [{"name": "usual", "sources": ["cold"]}, {"name": "other", "sources": ["warm"]}]}
    with operators.Stage(settings=settings) as stage:
        stage.run("queue", "suspend", "--all")
        sent = operators.addresses("user", 100, ["stay.test", "go.test"])
        stage.submit("pool", sent, pool="usual")
        stage.until_taken_in(100)
        moved = stage.run("queue", "move", "other", "--destination", "go.test")
        checks.equal(moved["found"]["queued"], 50, "moved")
        stage.run("queue", "resume", "--all")
        stage.until_ended(100)
        sources = {(event["to"].partition("@")[2], event["source"]) for _, event in stage.store.events()
                   if event["type"] == "delivered"}
        checks.equal(sources, {("stay.test", "cold"), ("go.test", "warm")}, "sources by destination")


def an_interrupted_order_is_finished(checks):
    with operators.Stage() as stage:
        stage.run("queue", "suspend", "--all")
        domains = [f"n{i}.test" for i in range(500)]
        sent = operators.addresses("user", 10000, domains)
        stage.submit("big", sent)
        stage.until_taken_in(len(sent))
        process = subprocess.Popen([os.environ["EILPOST"], "queue", "cancel", "--all", "--config", stage.config],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        stage.wait(lambda: stage.store.counters().get("cancelled", 0) > 100 or process.poll() is not None, "its beginning")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
        cancelled = stage.store.counters().get("cancelled", 0)
        checks.equal(process.returncode, 1, f"exit code of what was interrupted ({said})")
        checks.that(0 < cancelled < len(sent), f"interrupted in the middle: {cancelled}")
        orders = [order for order in stage.run("queue", "orders") if order["action"] == "cancel"]
        checks.equal([order["state"] for order in orders], ["under_way"], "its state")
        checks.that(f"eilpost queue finish {orders[0]['id']}" in said, f"what it says: {said}")
        stage.run("queue", "finish", orders[0]["id"])
        checks.equal(stage.store.counters().get("cancelled", 0), len(sent), "cancelled in the end")
        record = [order for order in stage.run("queue", "orders", "--all") if order["id"] == orders[0]["id"]][0]
        checks.equal(record["acted"]["queued"], len(sent), "what the record says it did")
        checks.equal(stage.run("queue", "restore", orders[0]["id"])["jobs"], len(sent), "brought back")
        stage.run("queue", "resume", "--all")
        stage.until_ended(len(sent))
        checks.equal(len(stage.ledger.refresh().times), len(sent), "served in the end")


def wrong_usage_is_told(checks):
    with operators.Stage(nodes=1) as stage:
        for words, code, part in (
                (["queue", "suspend"], 2, "--all"),
                (["queue", "suspend", "--all", "--tenant", "a"], 2, "exclude"),
                (["queue", "suspend", "--tenant", "a b"], 2, "--tenant"),
                (["queue", "suspend", "--destination", "not a domain"], 2, "isn't a domain"),
                (["queue", "cancel", "--class", "express"], 2, "--class"),
                (["queue", "cancel", "--older-than", "yesterday"], 2, "--older-than"),
                (["queue", "move", "--all"], 2, "POOL"),
                (["queue", "purge", "--all", "--reason", "x" * 300], 2, "--reason"),
                (["queue", "resume", "--all"], 1, "no suspension"),
                (["queue", "nonsense"], 2, "no command"),
                (["queue", "list", "--by", "colour"], 2, "--by")):
            found, said = stage.refused(*words)
            checks.equal(found, code, f"exit code of {' '.join(words)[:60]}")
            checks.that(part in said and said.count("\n") <= 1, f"{' '.join(words)[:60]} says: {said}")
        for _ in range(64):
            stage.run("queue", "suspend", "--tenant", f"t{_}")
        code, said = stage.refused("queue", "suspend", "--tenant", "one-more")
        checks.that(code == 1 and "64 orders" in said, f"one order too many: {code}, {said}")


def main():
    checks = campaign.Checks()
    chosen = sys.argv[1:]
    for test, *arguments in ((pause_is_exact_and_resume_completes, 1), (pause_is_exact_and_resume_completes, 2),
                             (ends_and_restorations_add_up,), (each_filter_holds_what_it_names,), (age_and_expiry,), (retry_now,),
                             (move_to_a_pool,), (an_interrupted_order_is_finished,), (wrong_usage_is_told,)):
        if not chosen or test.__name__ in chosen:
            started, failed = time.monotonic(), checks.failed
            test(checks, *arguments)
            print(f"{test.__name__}{arguments or ''}: {'FAILED' if checks.failed > failed else 'ok'}, "
                  f"{time.monotonic() - started:.1f} s", flush=True)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
