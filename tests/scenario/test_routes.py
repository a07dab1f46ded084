"""Routing by a real resolver (unbound): every outcome of MX look-ups, preference, the next host and the next address on failure,
and what the DNS may not make us do."""
import os
import sys
import tempfile

from scenario import campaign, peers

HOME, BACKUP, DEAD = "127.0.4.1", "127.0.4.2", "127.0.4.9"
REFUSED, REFUSED_RANGE = "127.0.9.1", "127.0.9.0/24"

# name, its records, expected: type, category or None, address or None
CASES = [
    ("plain", {"": [("MX", "10 mx.plain.route.test")], "mx": [("A", HOME)]}, "delivered", None, HOME),
    ("implicit", {"": [("A", HOME)]}, "delivered", None, HOME),
    ("prefers", {"": [("MX", "20 b.prefers.route.test"), ("MX", "10 a.prefers.route.test")],
                 "a": [("A", HOME)], "b": [("A", BACKUP)]}, "delivered", None, HOME),
    ("next-host", {"": [("MX", "10 a.next-host.route.test"), ("MX", "20 b.next-host.route.test")],
                   "a": [("A", DEAD)], "b": [("A", BACKUP)]}, "delivered", None, BACKUP),
    ("next-address", {"": [("MX", "10 mx.next-address.route.test")], "mx": [("A", DEAD), ("A", HOME)]},
     "delivered", None, HOME),
    ("host-missing", {"": [("MX", "10 no.host-missing.route.test"), ("MX", "20 b.host-missing.route.test")],
                      "b": [("A", BACKUP)]}, "delivered", None, BACKUP),
    ("null-mx", {"": [("MX", "0 .")]}, "bounced", "bad-domain", None),
    ("no-address", {"": [("TXT", "nothing")]}, "bounced", "bad-domain", None),
    ("literal", {"": [("MX", "10 127.0.4.1.")]}, "bounced", "bad-domain", None),
    ("localhost", {"": [("MX", "10 localhost.")]}, "bounced", "bad-domain", None),
    ("refused", {"": [("MX", "10 mx.refused.route.test")], "mx": [("A", REFUSED)]}, "bounced", "5.4.4", None),
    ("refused-implicit", {"": [("A", REFUSED)]}, "bounced", "5.4.4", None),
    ("refused-first", {"": [("MX", "10 a.refused-first.route.test"), ("MX", "20 b.refused-first.route.test")],
                       "a": [("A", REFUSED)], "b": [("A", BACKUP)]}, "delivered", None, BACKUP),
    ("refused-partly", {"": [("MX", "10 a.refused-partly.route.test")], "a": [("A", REFUSED), ("A", HOME)]},
     "delivered", None, HOME),
    ("own", {"": [("MX", "10 mx.own.route.test"), ("MX", "20 mx.plain.route.test")], "mx": [("A", HOME)]},
     "bounced", "5.4.6", None),
    ("own-behind", {"": [("MX", "10 mx.plain.route.test"), ("MX", "20 mx.own.route.test")]}, "delivered", None, HOME),
    ("all-dead", {"": [("MX", "10 mx.all-dead.route.test")], "mx": [("A", DEAD)]}, "deferred", None, None),
    ("xn--bcher-kva", {"": [("MX", "10 mx.plain.route.test")]}, "delivered", None, HOME),
]
ADDRESSES = {"xn--bcher-kva": "user@bücher.route.test"}


def run(io, checks):
    print(f"== {io}", flush=True)
    zone = {"mx.plain": [("A", HOME)]}
    for name, records, *_ in CASES:
        for label, entries in records.items():
            zone[f"{label}.{name}" if label else name] = entries
    port = peers.free_port(HOME)
    sinks = [peers.SmtpSink([], address=address, port=port) for address in (HOME, BACKUP)]
    try:
        with tempfile.TemporaryDirectory() as folder, peers.Redis() as redis, \
                peers.Unbound({"route.test": zone}) as resolver, \
                peers.Engine({"io": io, "workers": 1, "redis": {"url": redis.url},
                              "dns": {"servers": resolver.address, "refused": [REFUSED_RANGE], "own_names": ["mx.own.route.test"]},
                              "smtp": {"port": port, "ehlo_name": "engine.test"}, "retry": {"schedule_s": [3600]}}) as engine:
            addresses = {name: ADDRESSES.get(name, f"user@{name}.route.test") for name, *_ in CASES}
            addresses["missing"] = "user@missing.route.test"
            listed = campaign.write_list(os.path.join(folder, "list.csv"),
                                         [{"email": address, "name": name} for name, address in addresses.items()])
            template = campaign.write_text(os.path.join(folder, "t.txt"), "From: shop@sender.test\nSubject: x\n\nHello {{name}}\n")
            campaign.submit(engine.config, "bounce@sender.test", "--list", listed, "--template", template)
            with campaign.Follower(engine.config) as follower:
                events = follower.until_first(len(addresses))
        for name, _, kind, category, address in CASES + [("missing", None, "bounced", "bad-domain", None)]:
            event = events[addresses[name]][0]
            checks.equal(event["type"], kind, f"{io} {name}: type, of {event}")
            if category and category[0].isdigit():
                checks.equal(event["status"], category, f"{io} {name}: status, of {event}")
            elif category:
                checks.equal(event.get("category"), category, f"{io} {name}: category, of {event}")
            if address:
                checks.equal(event.get("address"), address, f"{io} {name}: address, of {event}")
    finally:
        for sink in sinks:
            sink.stop()


def run_with_defaults(checks):
    """Nobody's MX record leads into our own network unless the configuration says so."""
    zone = {"": [("MX", "10 mx.route.test")], "mx": [("A", HOME)]}
    with tempfile.TemporaryDirectory() as folder, peers.Redis() as redis, peers.Unbound({"route.test": zone}) as resolver, \
            peers.Engine({"workers": 1, "redis": {"url": redis.url},
                          "dns": {"servers": resolver.address, "refused": ["default", "own"]}}) as engine:
        listed = campaign.write_list(os.path.join(folder, "list.csv"), [{"email": "user@route.test", "name": "x"}])
        template = campaign.write_text(os.path.join(folder, "t.txt"), "From: shop@sender.test\nSubject: x\n\nHello {{name}}\n")
        campaign.submit(engine.config, "bounce@sender.test", "--list", listed, "--template", template)
        with campaign.Follower(engine.config) as follower:
            event = follower.until_first(1)["user@route.test"][0]
    checks.equal(event["type"], "bounced", f"an MX on the loopback interface: type, of {event}")
    checks.equal(event["status"], "5.4.4", f"an MX on the loopback interface: status, of {event}")
    checks.equal(HOME in event["text"], True, f"the reply names the address: {event}")


def main():
    checks = campaign.Checks()
    run_with_defaults(checks)
    for io in ("io_uring", "epoll"):
        run(io, checks)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
