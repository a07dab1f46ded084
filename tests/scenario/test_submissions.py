"""What a producer may ask for, through the engine to the receiver: times, keys, suppressions, large content; and what becomes of what
can't be taken in."""
import json
import os
import sys
import time

from scenario import campaign, operators

MARGIN_S = 0.05  # the clocks that are compared are of one machine, but read at different moments


def times_are_kept(checks):
    with operators.Stage() as stage:
        stage.until_owned()
        now = int(time.time() * 1000)
        at = now + 4000
        zone = "Pacific/Auckland"
        stage.run("queue", "suspend", "--destination", "held.test")
        stage.submit("later", ["later@a.test"], send_at=at)
        closed = [{"from": "00:00", "to": "00:01", "zone": "UTC"}] if time.gmtime().tm_hour else [{"from": "12:00", "to": "12:01", "zone": "UTC"}]
        stage.submit("closed", ["closed@a.test"], windows=closed)
        stage.submit("never", ["never@a.test"], windows=closed, expires_in_s=60)
        stage.submit("open", ["open@a.test"], windows=[{"from": "00:00", "to": "24:00", "zone": zone}])
        stage.submit("held", ["held@held.test"], expires_in_s=3)
        stage.submit("short", ["short@a.test"], send_at=now + 1500, expires_in_s=60)
        stage.until_taken_in(5)
        for name in ("later", "closed"):
            why = stage.run("queue", "explain", f"{name}.0-0")["why"]
            checks.that(len(why) == 1 and why[0].startswith("it may not leave before "), f"why {name} waits: {why}")
        stage.wait(lambda: stage.open_jobs() == 1, "the end of all but one")
        stage.run("queue", "cancel", "--submission", "closed.0")
        stage.until_ended(5)
        served = stage.ledger.refresh().times
        checks.equal(sorted(served), ["later@a.test", "open@a.test", "short@a.test"], "served")
        checks.that(served["later@a.test"][0] >= at / 1000 - MARGIN_S, "nothing leaves before its time")
        checks.that(served["open@a.test"][0] < served["short@a.test"][0] < served["later@a.test"][0], "each at its time")
        ends = {event["to"]: event for _, event in stage.store.events() if event["type"] in campaign.TERMINAL}
        checks.equal((ends["held@held.test"]["type"], ends["closed@a.test"]["type"]), ("expired", "cancelled"), "ends of the others")
        late = ends["held@held.test"]["at"] - (now + 3000)
        checks.that(-1000 <= late <= 2000, f"expired on time while suspended: {late} ms late")
        dead = [dict(zip(fields[::2], fields[1::2])) for _, fields in stage.store.read("XRANGE", "e:dead", "-", "+")]
        checks.equal([(letter["submission"], letter["path"]) for letter in dead], [("never.0", "windows")],
                     "what could never be sent is refused")


def keys_send_nothing_twice(checks):
    with operators.Stage() as stage:
        for attempt in range(2):
            stage.submit("keyed", ["a@a.test", "b@a.test"], key="order-17", tenant="acme")
            stage.until_taken_in(2)
        stage.submit("keyed", ["a@a.test"], key="order-17", tenant="bob")  # another tenant's keys are others; the id is taken
        for name in ("first", "second"):
            stage.store.once("XADD", "e:submit", "*", "json", json.dumps({
                "id": name, "from": "bounce@engine.test", "content": operators.CONTENT, "tenant": "acme",
                "recipients": [{"to": "c@a.test", "key": "reset-c"}, {"to": f"{name}@a.test"}]}))
        stage.wait(lambda: stage.store.counters().get("repeated", 0) == 1 and stage.store.waiting_submissions() == 0, "the repeats")
        stage.until_ended(5)
        served = {to: len(times) for to, times in stage.ledger.refresh().times.items()}
        checks.equal(served, {to: 1 for to in ("a@a.test", "b@a.test", "c@a.test", "first@a.test", "second@a.test")}, "served")
        dead = [dict(zip(fields[::2], fields[1::2])) for _, fields in stage.store.read("XRANGE", "e:dead", "-", "+")]
        checks.equal([letter["submission"] for letter in dead], ["keyed.0"], "an id that is taken is refused")


def suppressions_hold_at_each_step(checks):
    with operators.Stage() as stage:
        stage.run("suppression", "add", "gone@a.test", "--reason", "asked")
        stage.run("suppression", "add", "acme-only@a.test", "--scope", "tenant:acme")
        stage.run("suppression", "add", "no-news@a.test", "--scope", "stream:acme/news")
        stage.run("queue", "suspend", "--all")
        everyone = ["gone@a.test", "GONE@A.test", "acme-only@a.test", "no-news@a.test", "later@a.test", "ok@a.test"]
        stage.submit("news", everyone, tenant="acme", stream="news")
        stage.submit("bob", ["acme-only@a.test", "no-news@a.test"], tenant="bob", stream="news")
        stage.until_taken_in(8)
        checks.equal(stage.store.counters().get("suppressed", 0), 4, "suppressed when taken in")
        stage.run("suppression", "add", "later@a.test", "--reason", "asked by phone")  # what is queued already
        stage.run("queue", "resume", "--all")
        stage.until_ended(8)
        served = sorted(stage.ledger.refresh().times)
        checks.equal(served, ["acme-only@a.test", "no-news@a.test", "ok@a.test"], "served")
        ends = [(event["to"], event.get("text")) for _, event in stage.store.events() if event["type"] == "suppressed"]
        checks.that(("later@a.test", "asked by phone") in ends or any(to == "later@a.test" for to, _ in ends), f"events: {ends}")


def bad_ones_take_no_good_ones_down(checks):
    with operators.Stage() as stage:
        good = {"from": "bounce@engine.test", "content": operators.CONTENT}
        stage.store.once("XADD", "e:submit", "*", "json", "{not json")
        stage.store.once("XADD", "e:submit", "*", "json", json.dumps({**good, "id": "colour", "colour": "red",
                                                                       "recipients": [{"to": "x@a.test"}]}))
        stage.store.once("XADD", "e:submit", "*", "json", json.dumps({**good, "id": "mixed", "recipients": [
            {"to": "fine@a.test"}, {"to": "not an address"}, {"to": "good@a.test", "data": {"n": []}}, {"to": "last@a.test"}]}))
        stage.store.once("XADD", "e:submit", "*", "colour", "red")
        stage.wait(lambda: stage.store.waiting_submissions() == 0 and stage.store.read("XLEN", "e:dead") >= 5, "the dead letters")
        stage.until_ended(2)
        checks.equal(sorted(stage.ledger.refresh().times), ["fine@a.test", "last@a.test"], "served")
        dead = [dict(zip(fields[::2], fields[1::2])) for _, fields in stage.store.read("XRANGE", "e:dead", "-", "+")]
        checks.equal(sorted((letter.get("submission") or "", letter.get("path") or "") for letter in dead), sorted([
            ("", ""), ("", "line 1, column 4"), ("", "colour"), ("mixed", "recipients[1].to"), ("mixed", "recipients[2].data.n")]),
            "dead letters by submission and path")
        checks.that(all(letter["reason"] for letter in dead), "each with its reason")
        checks.equal(sum(bool(letter["original"]) for letter in dead), 4, "each with the original, but for the one without any")
        checks.equal(stage.store.counters().get("rejected", 0), 2, "rejected recipients are counted")


LARGE_MIB = int(os.environ.get("EILPOST_TEST_LARGE_MIB", 12))  # 50 is the most; with sanitizers that takes a minute


def large_content_goes_through_and_is_gone(checks):
    with operators.Stage(settings={"smtp": {"timeouts": {"dot_s": 600}}}) as stage:
        line = "".join(chr(33 + i * 7 % 90) for i in range(70)) + "\n"
        text = "".join(f"{i:08d} {line}" for i in range(LARGE_MIB * 1024 * 1024 // (len(line) + 9)))
        stage.store.once("XADD", "e:submit", "*", "json", json.dumps({
            "id": "large", "from": "bounce@engine.test", "recipients": [{"to": "a@a.test"}, {"to": "b@b.test"}],
            "content": {"headers": {"From": "shop@engine.test", "Subject": "Large"}, "text": text}}))
        stage.until_ended(2)
        checks.equal(sorted(stage.ledger.refresh().times), ["a@a.test", "b@b.test"], "served")
        stage.wait(lambda: stage.store.read("EXISTS", "e:s:{large}") == 0, "the content to be gone")


def main():
    checks = campaign.Checks()
    chosen = sys.argv[1:]
    for test in (times_are_kept, keys_send_nothing_twice, suppressions_hold_at_each_step, bad_ones_take_no_good_ones_down,
                 large_content_goes_through_and_is_gone):
        if not chosen or test.__name__ in chosen:
            started, failed = time.monotonic(), checks.failed
            test(checks)
            print(f"{test.__name__}: {'FAILED' if checks.failed > failed else 'ok'}, {time.monotonic() - started:.1f} s", flush=True)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
