"""Attacks on the start of TLS, by somebody between the engine and a Postfix, and on what says that TLS must be: under a policy that
asks for it nothing of a message is ever seen in clear."""
import contextlib
import json
import os
import sys
import tempfile

from fault import faults
from scenario import campaign, certificates, peers, signed_dns
from scenario.certificates import tlsa_of
from scenario.middle import Middle
from scenario.policy_server import PolicyServer, policy

HTTPS, RECEIVER = "127.0.6.43", "127.0.5.2"
CONTENT = {"headers": {"From": "shop@engine.test", "Subject": "Hello"}, "text": "Dear customer\n"}
BEFORE_TLS = {"EHLO", "STARTTLS", "QUIT", "RSET"}
INSISTING = ("required", "verified", "dane", "sts")

BEHIND = "more than was asked for behind the reply to STARTTLS"

# What somebody does: what a message under a policy that insists waits for, and one under none. True: it's delivered over TLS, False:
# in clear.
ATTACKS = {
    "pass": (True, True),
    "strip": ("TLS is required", False),
    "refuse": ("TLS is not available", False),
    "inject": (BEHIND, BEHIND),
    "split": (BEHIND, BEHIND),
    "late": ("the peer's answer isn't TLS", False),
    "garbage": ("the peer's answer isn't TLS", False),
}


class Case:
    """A domain under a policy whose mail exchanger has one attack on the way. Policies that insist share their exchangers."""

    def __init__(self, security, attack):
        self.security, self.attack = security, attack
        self.zone = "signed.test" if security == "dane" else "unsigned.test"
        self.label = f"{security}-{attack}"
        self.domain = f"{self.label}.{self.zone}"
        self.host = f"mx-{'any' if security == 'opportunistic' else 'tls'}-{attack}"
        self.expected = ATTACKS[attack][security == "opportunistic"]
        self.address = f"127.0.5.{(40 if security == 'opportunistic' else 50) + list(ATTACKS).index(attack)}"


CASES = [Case(security, attack) for security in ("opportunistic", *INSISTING) for attack in ATTACKS]


def zones_of(port, data):
    found = {"signed.test": ["zone signed.test signed"], "unsigned.test": ["zone unsigned.test unsigned"]}
    for case in CASES:
        lines = found[case.zone]
        lines += [f"{case.label} MX 10 {case.host}", f"{case.host} A {case.address}"]
        if case.security == "dane":
            lines.append(f"_{port}._tcp.{case.host} TLSA {data}")
        if case.security == "sts":
            lines += [f"mta-sts.{case.label} A {HTTPS}", f'_mta-sts.{case.label} TXT "v=STSv1; id=1;"']
    return "\n".join(line for lines in found.values() for line in dict.fromkeys(lines))


def enqueue(store, domains, number=0):
    for domain in domains:
        store.once("XADD", "e:submit", "*", "json", json.dumps({
            "id": f"{domain.partition('.')[0]}-{number}", "from": "bounce@engine.test", "content": CONTENT,
            "recipients": [{"to": f"user{number}@{domain}"}]}))


def settings_of(io, redis, resolver, port, authority, https_port, **more):
    return {"io": io, "workers": 1, "redis": {"url": redis.url}, "dns": {"servers": resolver.address, "trusted": True},
            "smtp": {"port": port, "ehlo_name": "engine.test"},
            "tls": {"ca_file": authority.certificate, "mta_sts_port": https_port}, **more}


def somebody_between(io, checks):
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="eilpost-"))
        redis = stack.enter_context(peers.Redis())
        authority = certificates.Authority(folder)
        certificate = authority.issue("mx", ["*.signed.test", "*.unsigned.test"])
        policies = {case.domain: policy("enforce", "*.unsigned.test") for case in CASES if case.security == "sts"}
        authority.issue("https", [f"mta-sts.{domain}" for domain in policies])
        postfix = stack.enter_context(peers.Postfix(domains=[case.domain for case in CASES], services={RECEIVER: certificate}))
        https = stack.enter_context(PolicyServer(HTTPS, authority.path("https.pem"), authority.path("https.key"), policies))
        resolver = stack.enter_context(signed_dns.SignedDns(zones_of(postfix.port, tlsa_of(certificate))))
        middles = {}
        for case in CASES:
            if case.address not in middles:
                middles[case.address] = stack.enter_context(Middle(case.address, (RECEIVER, postfix.port), case.attack))
        engine = stack.enter_context(peers.Engine(settings_of(
            io, redis, resolver, postfix.port, authority, https.port,
            routes=[{"destinations": [case.domain for case in CASES if case.security == mode], "tls": mode}
                    for mode in ("required", "verified", "dane")])))
        follower = stack.enter_context(campaign.Follower(engine.config))
        store = faults.store_of(redis)
        stack.callback(store.close)
        enqueue(store, [case.domain for case in CASES])
        events = follower.until_first(len(CASES))
        postfix.await_messages(sum(isinstance(case.expected, bool) for case in CASES))
        received = postfix.received()
    for case in CASES:
        recipient = f"user0@{case.domain}"
        first = events[recipient][0]
        said = f"{io}: {case.label}: {first['type']} {first.get('text')}"
        if isinstance(case.expected, bool):
            checks.equal((first["type"], received.get(recipient)), ("delivered", case.expected), said)
        else:
            checks.that(first["type"] == "deferred" and case.expected in first.get("text", ""), said)
            checks.equal(received.get(recipient), None, f"{said}: as received")
        if case.security != "opportunistic":
            seen = set(middles[case.address].commands)
            checks.that("EHLO" in seen and seen <= BEFORE_TLS, f"{io}: {case.attack}: seen in clear under a policy that insists: {seen}")


def policies_out_of_reach(io, checks):
    """What was fetched before holds while its server can't be asked (RFC 8461, 3.3 and 5.1): through a restart, with another id in
    the DNS. A domain whose policy nobody has seen is sent to as if it had none: that one the RFC can't protect."""
    names = ("known", "fresh")
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="eilpost-"))
        redis = stack.enter_context(peers.Redis())
        authority = certificates.Authority(folder)
        certificate = authority.issue("mx", ["*.sts.test"])
        answers = {f"{name}.sts.test": policy("enforce", "mx.sts.test") for name in names}
        authority.issue("https", [f"mta-sts.{domain}" for domain in answers])
        postfix = stack.enter_context(peers.Postfix(domains=list(answers), services={RECEIVER: certificate}))
        https = stack.enter_context(PolicyServer(HTTPS, authority.path("https.pem"), authority.path("https.key"), answers))

        def zone(number, address):
            return [f"mx A {address}", *(line for name in names for line in (
                f"{name} MX 10 mx", f"mta-sts.{name} A {HTTPS}", f'_mta-sts.{name} TXT "v=STSv1; id={number};"'))]

        resolver = stack.enter_context(signed_dns.SignedDns("\n".join(["zone sts.test unsigned", *zone(1, RECEIVER)])))
        stack.enter_context(Middle("127.0.5.60", (RECEIVER, postfix.port), "strip"))
        settings = settings_of(io, redis, resolver, postfix.port, authority, https.port, state_dir=os.path.join(folder, "state"))
        store = faults.store_of(redis)
        stack.callback(store.close)
        with peers.Engine(settings) as engine, campaign.Follower(engine.config) as follower:
            enqueue(store, ["known.sts.test"])
            checks.equal(follower.until_first(1)["user0@known.sts.test"][0]["type"], "delivered", f"{io}: with its policy")
        answers.update(dict.fromkeys(answers, 500))
        resolver.update("sts.test", "\n".join(zone(2, "127.0.5.60")))
        asked = len(https.asked)
        with peers.Engine(settings) as engine, campaign.Follower(engine.config) as follower:
            enqueue(store, list(answers), 1)
            events = campaign.by_recipient(follower.until(lambda found: len({event["job"] for event in found if "user1@" in event["to"]}) == 2))
        known, fresh = events["user1@known.sts.test"][0], events["user1@fresh.sts.test"][0]
        checks.that(known["type"] == "deferred" and "TLS is required" in known.get("text", ""), f"{io}: the policy before holds: {known}")
        checks.equal((fresh["type"], fresh.get("tls")), ("delivered", None), f"{io}: one that nobody could fetch")
        checks.equal({host for host, _ in https.asked[asked:]}, {f"mta-sts.{domain}" for domain in answers}, f"{io}: both were asked for")


def main():
    peers.become_root()
    checks = campaign.Checks()
    for io in ("io_uring", "epoll"):
        somebody_between(io, checks)
        policies_out_of_reach(io, checks)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
