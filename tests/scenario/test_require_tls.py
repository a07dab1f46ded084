"""REQUIRETLS (RFC 8689) where it can be had: the receiver offers it inside TLS, and DNSSEC vouches for its hosts. It goes with each MAIL of
messages that need it and with no other; a host that doesn't offer it is passed over, and the message bounces when none does. What can't
be had from servers that don't know it is in test_tls_policies.py."""
import json
import os
import sys
import tempfile

from fault import faults
from scenario import campaign, certificates, peers, signed_dns
from scenario.certificates import tlsa_of

CONTENT = {"headers": {"From": "shop@engine.test", "Subject": "Hello"}, "text": "Dear customer\n"}
OFFERING, NOT = "127.0.5.61", "127.0.5.62"
MESSAGES = 5

# domain, whether its messages need TLS, how they end
CASES = [("both", True, "delivered"), ("with", True, "delivered"), ("with", False, "delivered"), ("without", True, "bounced"),
         ("without", False, "delivered")]


def zone_of(port, tlsa):
    hosts = [line for name, address in (("offers", OFFERING), ("ignores", NOT))
             for line in (f"{name} A {address}", f"_{port}._tcp.{name} TLSA {tlsa}")]
    return "\n".join(["zone signed.test signed", *hosts, "both MX 10 ignores", "both MX 20 offers", "with MX 10 offers",
                      "without MX 10 ignores"])


def run(io, checks):
    with tempfile.TemporaryDirectory(prefix="eilpost-") as folder, peers.Redis() as redis:
        authority = certificates.Authority(folder)
        pem = authority.issue("receiver", ["*.signed.test"])
        flags = ["--starttls", "--certificate", pem, "--key", authority.path("receiver.key")]
        offering = peers.BenchSink(*flags, "--requiretls", addresses=OFFERING)
        ignoring = peers.BenchSink(*flags, addresses=NOT)
        ignoring.port = offering.port
        store = faults.store_of(redis)
        with offering, ignoring:
            with signed_dns.SignedDns(zone_of(offering.port, tlsa_of(pem))) as resolver, \
                    peers.Engine({"io": io, "workers": 1, "redis": {"url": redis.url},
                                  "dns": {"servers": resolver.address, "trusted": True},
                                  "smtp": {"port": offering.port, "ehlo_name": "engine.test"}}) as engine, \
                    campaign.Follower(engine.config) as follower:
                for domain, needed, _ in CASES:
                    name = f"{domain}-{'needed' if needed else 'usual'}"
                    store.once("XADD", "e:submit", "*", "json", json.dumps({
                        "id": name, "from": "bounce@engine.test", "content": CONTENT, "require_tls": needed,
                        "recipients": [{"to": f"{name}-{i}@{domain}.signed.test"} for i in range(MESSAGES)]}))
                events = follower.until_ended(len(CASES) * MESSAGES)
            told, untold = offering.report(), ignoring.report()
        for domain, needed, end in CASES:
            name = f"{domain}-{'needed' if needed else 'usual'}"
            its = [found[-1] for to, found in events.items() if to.startswith(name + "-")]
            checks.equal([event["type"] for event in its], [end] * MESSAGES, f"{io}: {name}")
            if end == "bounced":
                checks.equal({(event.get("code"), event.get("status")) for event in its}, {(550, "5.7.30")}, f"{io}: {name}: code")
        checks.equal((told["requiretls"], told["messages"]), (2 * MESSAGES, 3 * MESSAGES), f"{io}: MAIL with REQUIRETLS, messages")
        checks.equal((untold["requiretls"], untold["messages"]), (0, MESSAGES), f"{io}: the same where it isn't offered")
        checks.equal((told["protocol_errors"], untold["protocol_errors"]), (0, 0), f"{io}: protocol errors")
        store.close()


def main():
    peers.become_root()
    checks = campaign.Checks()
    for io in ("io_uring", "epoll"):
        run(io, checks)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
