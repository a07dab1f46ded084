"""DANE (RFC 7672) with a signed zone behind a validating unbound, and a Postfix that offers STARTTLS: what is sent to whom, how, and what
waits with which reason."""
import json
import os
import sys

from fault import faults
from scenario import campaign, peers, signed_dns
from scenario.certificates import tlsa_of

PLAIN = "127.0.5.77"  # a server without STARTTLS
CONTENT = {"headers": {"From": "shop@engine.test", "Subject": "Hello"}, "text": "Dear customer\n"}
FIT, WRONG, UNUSABLE = "fit", "wrong", "unusable"

# name, TLSA records of its host, the host's server has TLS; what must happen: delivered with TLS (True), in clear (False), or waits
# because of (text); the section of RFC 7672
CASES = [
    ("match", [FIT], True, True, "2.2"),
    ("one-of-two", [WRONG, FIT], True, True, "2.1.1"),
    ("mismatch", [WRONG], True, "no matching DANE TLSA records", "2.2"),
    ("unusable", [UNUSABLE], True, True, "2.2: TLS without authentication"),
    ("unusable-plain", [UNUSABLE], False, "TLS is required", "2.2: TLS is mandatory"),
    ("none", [], True, True, "2.2: opportunistic"),
    ("none-plain", [], False, False, "2.2: opportunistic"),
    ("stripped", [FIT], False, "TLS is required", "2.2: no downgrade"),
    ("bogus", [FIT], True, "TLSA records can't be looked up", "2.1.1: not the same as none"),
    ("alias", [FIT], True, True, "2.2.2: at the end of the CNAMEs"),
]
ROUTED = [("must-match", [FIT], True, True), ("must-none", [], True, "no usable TLSA records"),
          ("must-unusable", [UNUSABLE], True, "no usable TLSA records")]


def zones_of(cases, data, port):
    """The zones' text; `bogus` has its TLSA records in a zone that can't be validated, below a host that can."""
    lines, broken = ["zone signed.test signed"], []
    for name, kinds, tls, *_ in cases:
        host = f"mx-{name}"
        lines.append(f"{name} MX 10 {host}")
        if name == "alias":
            lines.append(f"{host} CNAME real-{name}")
            host = f"real-{name}"
        lines.append(f"{host} A {'127.0.5.1' if tls else PLAIN}")
        if name == "bogus":
            broken = [f"zone _tcp.{host}.signed.test bogus", *(f"_{port} TLSA {data[kind]}" for kind in kinds)]
        else:
            lines += [f"_{port}._tcp.{host} TLSA {data[kind]}" for kind in kinds]
    unsigned = ["zone unsigned.test unsigned", "open MX 10 mx", "mx A 127.0.5.1", f"_{port}._tcp.mx TLSA {data[WRONG]}"]
    return "\n".join([*lines, *broken, *unsigned])


# what `eilpost explain --connect` says of a host and of its session
EXPLAINED = [
    ("match", "a TLSA record must fit (DANE)", "ready to send", True),
    ("mismatch", "a TLSA record must fit (DANE)", "failed", None),
    ("unusable", "none that can be used", "ready to send", False),
    ("none", "TLS where it's offered", "ready to send", False),
    ("bogus", "can't be looked up", None, None),
    ("must-none", "DANE is required", None, None),
]


def explained(config, io, checks):
    for name, verdict, session, verified in EXPLAINED:
        words = ["explain", "--connect", "--config", config, f"{name}.signed.test"]
        told = json.loads(campaign.eilpost(*words, "--json").stdout)
        host = told["hosts"][0]
        checks.equal((told["secure"], host["secure"]), (True, True), f"{io}: explain {name}: validated")
        checks.that(verdict in host["tls"], f"{io}: explain {name}: {host['tls']}")
        if session:
            checks.equal((host["session"]["verdict"], host["session"].get("verified")), (session, verified), f"{io}: explain {name}: session")
        if verified:
            checks.that(host["tlsa"]["records"][0].endswith(host["session"]["certificate"]["public_key_sha256"]),
                        f"{io}: explain {name}: the key's digest is the record's")
        text = campaign.eilpost(*words).stdout
        checks.that(host["tls"] in text and host["name"] in text, f"{io}: explain {name} as text: {text}")


def run(io, checks):
    with peers.Redis() as redis:
        cases = [*CASES, *((*row, "dane") for row in ROUTED)]
        domains = [f"{name}.signed.test" for name, *_ in cases] + ["open.unsigned.test"]
        with peers.Postfix(domains=domains, starttls=True) as postfix:
            certificate = os.path.join(postfix.folder, "certificate.pem")
            data = {FIT: tlsa_of(certificate), WRONG: tlsa_of(certificate, spoil=True),
                    UNUSABLE: tlsa_of(certificate, usage=1)}
            zones = zones_of(cases, data, postfix.port)
            plain = peers.SmtpSink([], PLAIN, postfix.port)
            store = faults.store_of(redis)
            try:
                with signed_dns.SignedDns(zones) as resolver, \
                        peers.Engine({"io": io, "workers": 1, "redis": {"url": redis.url},
                                      "dns": {"servers": resolver.address, "trusted": True},
                                      "smtp": {"port": postfix.port, "ehlo_name": "engine.test"},
                                      "routes": [{"destinations": [f"{row[0]}.signed.test" for row in ROUTED], "tls": "dane"}]}) as engine, \
                        campaign.Follower(engine.config) as follower:
                    for domain in domains:
                        store.once("XADD", "e:submit", "*", "json", json.dumps({
                            "id": domain.split(".")[0], "from": "bounce@engine.test", "content": CONTENT,
                            "recipients": [{"to": f"user@{domain}"}]}))
                    events = follower.until_first(len(domains))
                    explained(engine.config, io, checks)
            finally:
                plain.stop()
                store.close()
    for name, *_, expected, section in [*cases, ("open", True, "2.1.1: not secure, so no records")]:
        domain = f"{name}.unsigned.test" if name == "open" else f"{name}.signed.test"
        first = events[f"user@{domain}"][0]
        if isinstance(expected, bool):
            checks.equal((first["type"], bool(first.get("tls"))), ("delivered", expected), f"{io}: {name} ({section}): {first.get('text')}")
        else:
            checks.equal(first["type"], "deferred", f"{io}: {name} ({section})")
            checks.that(expected in first.get("text", ""), f"{io}: {name} says: {first.get('text')}")


def main():
    peers.become_root()
    checks = campaign.Checks()
    for io in ("io_uring", "epoll"):
        run(io, checks)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
