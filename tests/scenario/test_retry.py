"""When a refused job is tried again: by the schedule of its class and category, never before the server asked for it, and never
after its expiry, which then comes on time. Pauses are compared on the events; one is waited for, and the sink's ledger tells when it
was over."""
import json
import os
import sys
import tempfile

from fault import faults
from scenario import campaign, peers

CONTENT = {"headers": {"From": "shop@engine.test", "Subject": "Hello"}, "text": "Dear customer\n"}
SCRIPT = """recipient=asks-* first rcpt=451 4.7.1 Greylisted, please try again in 3 seconds
recipient=dot-* first phase=dot reply=421 4.7.0 Too many messages, retry in 3 seconds
recipient=grey-* rcpt=451 4.7.1 Greylisted
recipient=rate-* rcpt=450 4.2.1 receiving mail at a rate that is too high
recipient=plain-* rcpt=451 4.3.0 not now, 100 messages in 3 seconds are too many
recipient=long-* rcpt=451 4.7.1 Greylisted, try again in 2 hours
"""
SCHEDULES = [{"class": "transactional", "schedule_s": [20]}, {"class": "deadline", "category": "greylisted", "schedule_s": [30]},
             {"category": "greylisted", "schedule_s": [2]}, {"category": "rate-limited", "schedule_s": [50]}]
OTHERS_S = 70

# recipient, class, expected category, pause in s (None: until its expiry), whether the server asked for it (then it's a minimum)
CASES = [
    ("asks-1@a.test", "bulk", "greylisted", 3, True),
    ("dot-1@b.test", "bulk", "rate-limited", 50, False),  # its own schedule is longer than what it asks for
    ("grey-1@c.test", "bulk", "greylisted", 2, False),
    ("grey-2@c.test", "deadline", "greylisted", 30, False),
    ("grey-3@c.test", "transactional", "greylisted", 20, False),
    ("rate-1@d.test", "bulk", "rate-limited", 50, False),
    ("rate-2@d.test", "deadline", "rate-limited", 50, False),
    ("plain-1@e.test", "bulk", "other", OTHERS_S, False),
    ("plain-2@e.test", "transactional", "other", 20, False),
    ("long-1@f.test", "bulk", "greylisted", 7200, True),
    ("long-2@f.test", "deadline", "greylisted", None, True),
]
EXPIRES_IN_S = 4


def submit(store, recipient, mail_class, expires_in_s):
    store.once("XADD", "e:submit", "*", "json", json.dumps({
        "id": recipient.partition("@")[0], "from": "bounce@engine.test", "class": mail_class, "expires_in_s": expires_in_s,
        "content": CONTENT, "recipients": [{"to": recipient}]}))


def check_pause(checks, event, category, pause_s, asked):
    name = f"{event['to']}: {event}"
    checks.equal(event["type"], "deferred", f"type of {name}")
    checks.equal(event.get("category"), category, f"category of {name}")
    if pause_s is None:
        return
    paused = event["retry_at"] - event["at"]
    # Up to a tenth is jitter; the event is made a moment after the pause was reckoned.
    least, most = pause_s * (1000 if asked else 900) - 200, pause_s * 1100 + 1
    checks.that(least <= paused <= most, f"a pause of {paused} ms isn't between {least} and {most}: {name}")


def run(io, checks):
    with tempfile.TemporaryDirectory(prefix="eilpost-") as folder, peers.Redis() as redis:
        script = campaign.write_text(os.path.join(folder, "script"), SCRIPT)
        store = faults.store_of(redis)
        with peers.BenchSink("--script", script, addresses="127.0.3.21-127.0.3.30", ledger=os.path.join(folder, "ledger")) as sink, \
                peers.Engine({"io": io, "workers": 2, "redis": {"url": redis.url}, "dns": {"servers": sink.dns},
                              "smtp": {"port": sink.port, "ehlo_name": "engine.test"},
                              "retry": {"schedule_s": [OTHERS_S], "schedules": SCHEDULES}}) as engine, \
                campaign.Follower(engine.config) as follower:
            for recipient, mail_class, _, pause_s, _ in CASES:
                submit(store, recipient, mail_class, EXPIRES_IN_S if pause_s is None else 86400)
            events = follower.until_first(len(CASES))
            for recipient, _, category, pause_s, asked in CASES:
                check_pause(checks, events[recipient][0], category, pause_s, asked)

            events = campaign.by_recipient(follower.until(
                lambda events: {"asks-1@a.test", "long-2@f.test"} <= {e["to"] for e in events if e["type"] in campaign.TERMINAL}))
            first, last = events["asks-1@a.test"][0], events["asks-1@a.test"][-1]
            checks.equal(last["type"], "delivered", f"{io}: end of {last}")
            accepted = faults.Ledger(sink.ledger).refresh().times["asks-1@a.test"][0]
            checks.that(accepted * 1000 >= first["retry_at"], f"{io}: tried again before its time: {accepted}, {first}")
            checks.that(accepted - first["at"] / 1000 >= 2.8, f"{io}: tried again earlier than asked: {accepted}, {first}")

            first, last = events["long-2@f.test"][0], events["long-2@f.test"][-1]
            checks.equal(last["type"], "expired", f"{io}: end of {last}")
            checks.that(first["retry_at"] - first["at"] <= EXPIRES_IN_S * 1000, f"{io}: to be tried after its expiry: {first}")
            checks.that(last["at"] >= first["retry_at"], f"{io}: expired too early: {last}, {first}")
        store.close()


def main():
    checks = campaign.Checks()
    for io in ("io_uring", "epoll"):
        run(io, checks)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
