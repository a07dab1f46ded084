"""Attacks on the start of TLS, by somebody between the engine and a Postfix, and on what says that TLS must be: under a policy that
asks for it nothing of a message is ever seen in clear."""
import json
import os
import sys
import tempfile

from fault import faults
from scenario import campaign, certificates, peers, signed_dns
from scenario.certificates import tlsa_of
from scenario.middle import Middle
from scenario.policy_server import PolicyServer, policy

HTTPS = "127.0.6.43"
CONTENT = {"headers": {"From": "shop@engine.test", "Subject": "Hello"}, "text": "Dear customer\n"}
MODES = ("pass", "strip", "refuse", "inject", "split", "late", "garbage")
POLICIES = ("opportunistic", "required", "verified", "dane", "sts")
BEFORE_TLS = {"EHLO", "STARTTLS", "QUIT", "RSET", ""}


def name(policy_, mode):
    return f"{policy_}-{mode}"


def zones_of(port, data):
    signed, unsigned = ["zone signed.test signed"], ["zone unsigned.test unsigned"]
    for i, mode in enumerate(MODES):
        for lines in (signed, unsigned):
            lines.append(f"mx-{mode} A 127.0.5.{40 + i}")
        signed.append(f"_{port}._tcp.mx-{mode} TLSA {data}")
        for policy_ in POLICIES:
            lines = signed if policy_ == "dane" else unsigned
            lines.append(f"{name(policy_, mode)} MX 10 mx-{mode}")
            if policy_ == "sts":
                unsigned.append(f"mta-sts.{name(policy_, mode)} A {HTTPS}")
                unsigned.append(f'_mta-sts.{name(policy_, mode)} TXT "v=STSv1; id=1;"')
    return "\n".join(signed + unsigned)


def domain_of(policy_, mode):
    return f"{name(policy_, mode)}.{'signed' if policy_ == 'dane' else 'unsigned'}.test"


def enqueue(store, domains, number=0):
    for domain in domains:
        store.once("XADD", "e:submit", "*", "json", json.dumps({
            "id": f"{domain.partition('.')[0]}-{number}", "from": "bounce@engine.test", "content": CONTENT,
            "recipients": [{"to": f"user{number}@{domain}"}]}))


def attacks(io, checks):
    domains = {(policy_, mode): domain_of(policy_, mode) for policy_ in POLICIES for mode in MODES}
    with tempfile.TemporaryDirectory(prefix="eilpost-") as folder, peers.Redis() as redis:
        authority = certificates.Authority(folder)
        certificate = authority.issue("mx", ["*.signed.test", "*.unsigned.test"])
        sts = [domain for (policy_, _), domain in domains.items() if policy_ == "sts"]
        authority.issue("https", [f"mta-sts.{domain}" for domain in sts])
        policies = {domain: policy("enforce", "*.unsigned.test") for domain in sts}
        with peers.Postfix(domains=list(domains.values()), services={"127.0.5.2": certificate}) as postfix, \
                PolicyServer(HTTPS, authority.path("https.pem"), authority.path("https.key"), policies) as https, \
                signed_dns.SignedDns(zones_of(postfix.port, tlsa_of(certificate))) as resolver, \
                campaign.stack() as stack:
            middles = {mode: stack.enter_context(Middle(f"127.0.5.{40 + i}", ("127.0.5.2", postfix.port), mode)) for i, mode in enumerate(MODES)}
            # Policies that ask for TLS first: what passes in clear then is theirs alone.
            for number, chosen in enumerate((POLICIES[1:], POLICIES[:1])):
                asked = {key: domain for key, domain in domains.items() if key[0] in chosen}
                with peers.Engine({"io": io, "workers": 1, "redis": {"url": redis.url, "prefix": f"e{number}"},
                                   "dns": {"servers": resolver.address, "trusted": True},
                                   "smtp": {"port": postfix.port, "ehlo_name": "engine.test"},
                                   "tls": {"ca_file": authority.certificate, "mta_sts_port": https.port},
                                   "routes": [{"destinations": [domain_of(mode, it) for it in MODES], "tls": mode}
                                              for mode in ("required", "verified", "dane")]}) as engine, \
                        campaign.Follower(engine.config) as follower:
                    store = faults.store_of(redis)
                    enqueue(store, asked.values())
                    events = follower.until_first(len(asked))
                    store.close()
    return events
