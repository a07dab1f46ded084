"""Debian's smtp-sink with its faults: hard and soft rejections, disconnects and 421 at each command, delays, missing extensions. Each case is a
domain of its own with a sink of its own; one campaign reaches all of them, and each job's first event is compared with the table."""
import os
import sys
import tempfile

from scenario import campaign, peers

# name, smtp-sink's flags, then the first event expected: type, phase, code (None: any)
CASES = [
    ("plain", [], "delivered", "dot", 250),
    ("no-pipelining", ["-p"], "delivered", "dot", 250),
    ("no-esmtp", ["-e"], "delivered", "dot", 250),
    ("no-8bitmime", ["-8"], "delivered", "dot", 250),
    ("no-enhanced", ["-E"], "delivered", "dot", 250),
    ("pix", ["-P"], "delivered", "dot", 250),
    ("hard-connect", ["-f", "CONNECT"], "deferred", "greeting", 500),
    ("hard-ehlo", ["-f", "EHLO"], "delivered", "dot", 250),
    ("hard-helo", ["-f", "EHLO,HELO"], "deferred", "ehlo", 500),
    ("hard-mail", ["-f", "MAIL"], "bounced", "mail", 500),
    ("hard-rcpt", ["-f", "RCPT"], "bounced", "rcpt", 500),
    ("hard-data", ["-f", "DATA"], "bounced", "data", 500),
    ("hard-dot", ["-f", "."], "bounced", "dot", 500),
    ("soft-connect", ["-r", "CONNECT"], "deferred", "greeting", 450),
    ("soft-ehlo", ["-r", "EHLO"], "deferred", "ehlo", 450),
    ("soft-mail", ["-r", "MAIL"], "deferred", "mail", 450),
    ("soft-rcpt", ["-r", "RCPT"], "deferred", "rcpt", 450),
    ("soft-data", ["-r", "DATA"], "deferred", "data", 450),
    ("soft-dot", ["-r", "."], "deferred", "dot", 450),
    ("gone-connect", ["-q", "CONNECT"], "deferred", "greeting", None),
    ("gone-ehlo", ["-q", "EHLO"], "deferred", "ehlo", None),
    ("gone-mail", ["-q", "MAIL"], "deferred", "mail", None),
    ("gone-rcpt", ["-q", "RCPT"], "deferred", None, None),
    ("gone-data", ["-q", "DATA"], "deferred", None, None),
    ("gone-dot", ["-q", "."], "unknown", "dot", None),
    ("421-connect", ["-Q", "CONNECT"], "deferred", "greeting", 421),
    ("421-ehlo", ["-Q", "EHLO"], "deferred", "ehlo", 421),
    ("421-mail", ["-Q", "MAIL"], "deferred", "mail", 421),
    ("421-rcpt", ["-Q", "RCPT"], "deferred", "rcpt", 421),
    ("421-data", ["-Q", "DATA"], "deferred", "data", 421),
    ("421-dot", ["-Q", "."], "deferred", "dot", 421),
    ("slow-greeting", ["-W", "CONNECT:1"], "delivered", "dot", 250),
    ("slow-dot", ["-W", ".:1"], "delivered", "dot", 250),
    ("late-greeting", ["-W", "CONNECT:30"], "deferred", "greeting", None),
    ("late-ehlo", ["-W", "EHLO:30"], "deferred", "ehlo", None),
    # smtp-sink answers what is pipelined behind a delayed command before it, so these go without PIPELINING.
    ("late-mail", ["-p", "-W", "MAIL:30"], "deferred", "mail", None),
    ("late-rcpt", ["-p", "-W", "RCPT:30"], "deferred", "rcpt", None),
    ("late-data", ["-p", "-W", "DATA:30"], "deferred", "data", None),
    ("late-dot", ["-W", ".:30"], "unknown", "dot", None),
    ("early-refusal", ["-A", "0"], "bounced", None, None),
]


def zone_of(sinks):
    zone = {}
    for (name, *_), sink in zip(CASES, sinks):
        zone[name] = [("MX", f"10 mx.{name}.sink.test")]
        zone[f"mx.{name}"] = [("A", sink.address)]
    zone["nobody"] = [("MX", "10 mx.nobody.sink.test")]
    zone["mx.nobody"] = [("A", "127.0.3.250")]
    return zone


def run(io, checks):
    print(f"== {io}", flush=True)
    sinks = []
    try:
        port = peers.free_port("127.0.3.1")
        for i, (_, flags, *_) in enumerate(CASES):
            sinks.append(peers.SmtpSink(flags, address=f"127.0.3.{i + 1}", port=port))
        with tempfile.TemporaryDirectory() as folder, peers.Redis() as redis, \
                peers.Unbound({"sink.test": zone_of(sinks)}) as resolver, \
                peers.Engine({"io": io, "workers": 1, "redis": {"url": redis.url}, "dns": {"servers": resolver.address},
                              "smtp": {"port": port, "ehlo_name": "engine.test",
                                       "timeouts": {"greeting_s": 3, "ehlo_s": 3, "mail_s": 3, "rcpt_s": 3, "data_s": 3,
                                                    "dot_s": 3}},
                              "retry": {"schedule_s": [3600]}}) as engine:
            names = [case[0] for case in CASES] + ["nobody"]
            listed = campaign.write_list(os.path.join(folder, "list.csv"),
                                         [{"email": f"user@{name}.sink.test", "name": name} for name in names])
            template = campaign.write_text(os.path.join(folder, "t.txt"),
                                           "From: shop@sender.test\nSubject: {{name}}\n\nHello {{name}}\n")
            campaign.submit(engine.config, "bounce@sender.test", "--list", listed, "--template", template)
            with campaign.Follower(engine.config) as follower:
                events = follower.until_first(len(names))
        for name, flags, kind, phase, code in CASES + [("nobody", "connection refused", "deferred", "connect", None)]:
            event = events[f"user@{name}.sink.test"][0]
            checks.equal(event["type"], kind, f"{io} {name} {flags}: type, of {event}")
            if phase:
                checks.equal(event["phase"], phase, f"{io} {name} {flags}: phase, of {event}")
            if code:
                checks.that(event["code"] // 10 == code // 10, f"{io} {name} {flags}: code like {code}, of {event}")
            checks.that(event.get("text"), f"{io} {name}: says why, {event}")
    finally:
        for sink in sinks:
            sink.stop()


def main():
    checks = campaign.Checks()
    for io in ("io_uring", "epoll"):
        run(io, checks)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
