"""Relaying through a real Postfix that asks a real Dovecot who may: every way to log in, over STARTTLS and over TLS from the first
byte; what happens when the login fails, and that no password leaves without TLS; LMTP to Dovecot."""
import os
import re
import sys
import tempfile

from scenario import campaign, peers, relay_peers
from scenario.relay_peers import PASSWORD, TOKEN, USER

HOST = "mx.postfix.test"
MECHANISMS = ("SCRAM-SHA-256", "PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER")


class Relays:
    """Relays and routes of a configuration: mail for NAME.relay.test goes through the relay NAME."""

    def __init__(self, folder):
        self.folder = folder
        self.relays, self.routes, self.expected = [], [], {}

    def secret(self, text):
        path = os.path.join(self.folder, f"secret{len(self.relays)}")
        with open(path, "w") as out:
            out.write(text + "\n")
        os.chmod(path, 0o600)
        return path

    def add(self, name, expected, secret=None, recipient=USER, **relay):
        """expected: the type of the first event, and what its text or status has to hold."""
        login = {"user": USER, "secret_file": self.secret(secret)} if secret else {}
        self.relays.append({"name": name, "host": HOST, **login, **relay})
        self.routes.append({"destinations": [f"{name}.relay.test"], "relay": name})
        self.expected[f"{recipient}@{name}.relay.test"] = expected


def add_logins(relays, postfix):
    for mechanism in MECHANISMS:
        secret = TOKEN if "OAUTH" in mechanism else PASSWORD
        for way, port, implicit in (("starttls", postfix.starttls, False), ("implicit", postfix.implicit, True)):
            relays.add(f"{way}-{mechanism.lower()}", ("delivered", "250"), secret, port=port, implicit_tls=implicit,
                       tls="ours", auth=[mechanism])
    relays.add("strongest", ("delivered", "250"), PASSWORD, port=postfix.starttls, tls="ours")


def add_failures(relays, postfix, tap):
    for mechanism in MECHANISMS:
        wrong = "not-his-token" if "OAUTH" in mechanism else "not his password"
        relays.add(f"wrong-{mechanism.lower()}", ("deferred", "535"), wrong, port=postfix.starttls, tls="ours",
                   auth=[mechanism])
    relays.add("no-login", ("deferred", "454 4.7.1"), port=postfix.starttls, tls="ours")
    # To the tap, so that what was said can be looked at: no TLS there.
    tapped = {"host": tap.address, "port": tap.port}
    relays.add("no-tls", ("deferred", "isn't sent without TLS"), PASSWORD, tls="opportunistic", **tapped)
    relays.add("no-required-tls", ("deferred", "TLS is required"), PASSWORD, tls="required", **tapped)
    relays.add("no-verified-tls", ("deferred", "TLS is required"), PASSWORD, tls="verified", **tapped)
    relays.add("untrusted", ("deferred", "certificate"), PASSWORD, port=postfix.starttls, tls="verified")


def check(relays, events, checks, label):
    for recipient, (kind, words) in relays.expected.items():
        first = events[recipient][0]
        checks.equal(first["type"], kind, f"{label}: {recipient}: {first}")
        told = f"{first.get('code')} {first.get('status')} {first.get('text')}"
        checks.that(words in told, f"{label}: {recipient}: '{words}' in {first}")


def check_senders(postfix, relays, dovecot, checks, label):
    logged_in = [r for r, (kind, _) in relays.expected.items() if kind == "delivered" and "lmtp" not in r]
    postfix.await_messages(len(logged_in))
    messages = postfix.messages()
    checks.equal(len(messages), len(logged_in), f"{label}: as many messages as logins")
    for message in messages:
        checks.that(f"(Authenticated sender: {USER})".encode() in message, f"{label}: says who logged in: {message[:600]!r}")
    for mechanism in MECHANISMS:
        checks.that(re.search(rf"client in: AUTH\s\d+\s{mechanism}\s", dovecot.log()), f"{label}: Dovecot saw {mechanism}")


def run(io, checks):
    print(f"== {io}", flush=True)
    with tempfile.TemporaryDirectory() as folder, relay_peers.TokenServer() as tokens, \
            relay_peers.Dovecot(tokens.url) as dovecot:
        relays = Relays(folder)
        domains = [f"{way}-{m.lower()}.relay.test" for way in ("starttls", "implicit") for m in MECHANISMS]
        with relay_peers.SubmissionPostfix([*domains, "strongest.relay.test", "in-clear.relay.test"],
                                           dovecot.auth_socket) as postfix, \
                relay_peers.Tap(postfix.address, postfix.clear) as tap, peers.Redis() as redis, \
                peers.Unbound({"postfix.test": {"mx": [("A", postfix.address)]}}) as resolver:
            add_logins(relays, postfix)
            add_failures(relays, postfix, tap)
            relays.add("in-clear", ("delivered", "250"), PASSWORD, port=postfix.clear, tls="off", auth_in_clear=True)
            relays.add("lmtp", ("delivered", "250"), host=dovecot.address, port=dovecot.port, tls="off", lmtp=True)
            relays.add("lmtp-unknown", ("bounced", "5.1.1"), recipient="nobody", host=dovecot.address, port=dovecot.port,
                       tls="off", lmtp=True)
            settings = {"io": io, "workers": 1, "redis": {"url": redis.url}, "smtp": {"ehlo_name": "engine.test"},
                        "dns": {"servers": resolver.address}, "retry": {"schedule_s": [3600]},
                        "tls_policies": [{"name": "ours", "mode": "verified", "ca_file": postfix.certificate}],
                        "relays": relays.relays, "routes": relays.routes}
            with peers.Engine(settings) as engine:
                listed = campaign.write_list(os.path.join(folder, "list.csv"),
                                             [{"email": to, "name": "x"} for to in relays.expected])
                template = campaign.write_text(os.path.join(folder, "t.txt"),
                                               "From: shop@sender.test\nSubject: x\n\nHello {{name}}\n")
                campaign.submit(engine.config, "bounce@sender.test", "--list", listed, "--template", template)
                with campaign.Follower(engine.config) as follower:
                    events = follower.until_first(len(relays.expected))
                output = engine.output()
            check(relays, events, checks, io)
            if checks.failed == 0:  # else there may be nothing to wait for
                check_senders(postfix, relays, dovecot, checks, io)
            checks.equal(len(dovecot.messages()), 1, f"{io}: delivered by LMTP")
            checks.that(b"EHLO" in tap.said, f"{io}: the server without TLS was reached")
            checks.that(b"AUTH" not in tap.said.upper(), f"{io}: nothing of a login without TLS: {tap.said!r}")
            for secret in (PASSWORD, TOKEN):
                checks.that(secret not in output, f"{io}: no secret in the log")


def main():
    peers.become_root()
    checks = campaign.Checks()
    for io in ("io_uring", "epoll"):
        run(io, checks)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
