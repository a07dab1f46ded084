"""MTA-STS (RFC 8461): policies from a real HTTPS server, a Postfix with STARTTLS and a server without: what is sent to whom, and what
waits with which reason."""
import json
import os
import sys
import tempfile

from fault import faults
from scenario import campaign, certificates, peers
from scenario.policy_server import PolicyServer, policy

PLAIN, HTTPS = "127.0.5.77", "127.0.6.41"
GOOD, OTHER, BARE = "mx.postfix.test", "mx.other.test", "mx.bare.test"
CONTENT = {"headers": {"From": "shop@engine.test", "Subject": "Hello"}, "text": "Dear customer\n"}


# name, its mail exchangers by preference, what its policy's server answers (None: there's no record), what must happen: delivered with
# TLS (True), in clear (False), or waits because of (text); the section
CASES = [
    ("good", [GOOD], policy("enforce", GOOD), True, "4.2"),
    ("wild", [GOOD], policy("enforce", "*.postfix.test"), True, "4.1"),
    ("name", [OTHER], policy("enforce", OTHER), "it isn't for mx.other.test", "4.2: the certificate must be the host's"),
    ("hosts", [GOOD], policy("enforce", OTHER), "allows none of its mail exchangers", "4.1"),
    ("some", [BARE, GOOD], policy("enforce", GOOD), True, "4.1: others are passed over"),
    ("bare", [BARE], policy("enforce", BARE), "TLS is required", "4.2: no downgrade"),
    ("test-name", [OTHER], policy("testing", OTHER), True, "5: testing"),
    ("test-bare", [BARE], policy("testing", BARE), False, "5: testing"),
    ("test-hosts", [GOOD], policy("testing", OTHER), True, "5: testing"),
    ("mode-none", [OTHER], policy("none"), True, "5: none"),
    ("gone", [OTHER], 404, True, "3.3: no policy"),
    ("moved", [OTHER], 301, True, "3.3: redirects aren't followed"),
    ("broken", [OTHER], "<html>policy</html>", True, "3.2"),
    ("bad-cert", [OTHER], policy("enforce", OTHER), True, "3.3: not the policy server's certificate"),
    ("recordless", [OTHER], policy("enforce", OTHER), True, "3.1: without a record nobody asks"),
    ("two-records", [OTHER], policy("enforce", OTHER), True, "3.1: exactly one"),
]


def zones():
    names = {}
    for name, hosts, answer, *_ in CASES:
        names[name] = [("MX", f"{10 + i} {host}") for i, host in enumerate(hosts)]
        names[f"mta-sts.{name}"] = [("A", HTTPS)]
        if name != "recordless":
            names[f"_mta-sts.{name}"] = [("TXT", '"v=STSv1; id=1;"')]
        if name == "two-records":
            names[f"_mta-sts.{name}"].append(("TXT", '"v=STSv1; id=2;"'))
    return {"sts.test": names, "postfix.test": {"mx": [("A", "127.0.5.1")]}, "other.test": {"mx": [("A", "127.0.5.1")]},
            "bare.test": {"mx": [("A", PLAIN)]}}


def run(io, checks):
    domains = [f"{name}.sts.test" for name, *_ in CASES]
    with tempfile.TemporaryDirectory(prefix="eilpost-") as folder, peers.Redis() as redis, \
            peers.Postfix(domains=domains, starttls=True) as postfix, peers.Unbound(zones()) as resolver:
        authority = certificates.Authority(folder)
        authority.issue("https", [f"mta-sts.{name}.sts.test" for name, *_ in CASES if name != "bad-cert"])
        server = PolicyServer(HTTPS, authority.path("https.pem"), authority.path("https.key"),
                              {f"{name}.sts.test": answer for name, _, answer, *_ in CASES}, moved_to="good.sts.test")
        plain, store = peers.SmtpSink([], PLAIN, postfix.port), faults.store_of(redis)
        trusted = os.path.join(folder, "trusted.pem")
        with open(trusted, "wb") as out:
            for path in (os.path.join(postfix.folder, "certificate.pem"), authority.certificate):
                with open(path, "rb") as file:
                    out.write(file.read())
        try:
            with peers.Engine({"io": io, "workers": 2, "redis": {"url": redis.url}, "dns": {"servers": resolver.address},
                               "smtp": {"port": postfix.port, "ehlo_name": "engine.test"},
                               "tls": {"ca_file": trusted, "mta_sts_port": server.port}}) as engine, \
                    campaign.Follower(engine.config) as follower:
                for round_ in range(2):
                    for domain in domains:
                        store.once("XADD", "e:submit", "*", "json", json.dumps({
                            "id": f"{domain.split('.')[0]}-{round_}", "from": "bounce@engine.test", "content": CONTENT,
                            "recipients": [{"to": f"user{round_}@{domain}"}]}))
                    events = follower.until_first(len(domains)) if round_ == 0 else events
                told = json.loads(campaign.eilpost("explain", "--connect", "--json", "--config", engine.config, "some.sts.test").stdout)
                checks.equal((told["mta_sts"]["mode"], told["mta_sts"]["mx"]), ("enforce", [GOOD]), f"{io}: explained")
                checks.equal([("not used" in host["tls"], "MTA-STS" in host["tls"]) for host in told["hosts"]],
                             [(True, True), (False, True)], f"{io}: hosts explained")
                kept = sorted(os.listdir(os.path.join(engine.state, "mta-sts")))
        finally:
            server.stop()
            plain.stop()
            store.close()
    for name, _, _, expected, section in CASES:
        first = events[f"user0@{name}.sts.test"][0]
        if isinstance(expected, bool):
            checks.equal((first["type"], bool(first.get("tls"))), ("delivered", expected), f"{io}: {name} ({section}): {first.get('text')}")
        else:
            checks.equal(first["type"], "deferred", f"{io}: {name} ({section})")
            checks.that(expected in first.get("text", ""), f"{io}: {name} says: {first.get('text')}")
    unasked = {"bad-cert", "recordless", "two-records"}
    hosts = [host for host, _ in server.asked]
    checks.equal(sorted(hosts), sorted(f"mta-sts.{name}.sts.test" for name, *_ in CASES if name not in unasked), f"{io}: asked once each")
    checks.equal({path for _, path in server.asked}, {"/.well-known/mta-sts.txt"}, f"{io}: asked for")
    failed = unasked | {"gone", "moved", "broken"}
    checks.equal(kept, sorted(f"{name}.sts.test" for name, *_ in CASES if name not in failed), f"{io}: policies kept in files")


def main():
    peers.become_root()
    checks = campaign.Checks()
    for io in ("io_uring", "epoll"):
        run(io, checks)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
