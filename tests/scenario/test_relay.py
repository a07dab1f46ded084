"""Relaying: through a Postfix that wants a login, on 587 with STARTTLS and on 465 with TLS at once, in each way that it takes; to
Dovecot's LMTP; and what doesn't happen when the password is wrong or could be overheard."""
import json
import os
import sys
import tempfile

from fault import faults
from scenario import campaign, peers, relay_peers

CONTENT = {"headers": {"From": "shop@engine.test", "Subject": "Hello"}, "text": "Dear customer\n"}
ADDRESS = "127.0.6.51"

# tenant: changes to its relay; what must happen: delivered, or waits because of (text)
CASES = {
    "default": ({}, True),
    "plain": ({"auth": ["PLAIN"]}, True),
    "login": ({"auth": ["LOGIN"]}, True),
    "scram": ({"auth": ["SCRAM-SHA-256"]}, True),
    "smtps": ({"implicit_tls": True, "port": "smtps"}, True),
    "wrong-scram": ({"secret_file": "wrong"}, "535"),
    "wrong-plain": ({"secret_file": "wrong", "auth": ["PLAIN"]}, "535"),
    "token": ({"auth": ["XOAUTH2"]}, "the server offers AUTH with"),
    "unverified": ({"host": "relay.test"}, "it isn't for relay.test"),
    "overheard": ({"host": ADDRESS, "port": "overheard", "tls": "opportunistic"}, "TLS"),
}



def run(io, checks):
    with tempfile.TemporaryDirectory(prefix="eilpost-") as folder, peers.Redis() as redis, relay_peers.Dovecot() as dovecot, \
            relay_peers.Relay(dovecot, ["far.test"]) as postfix, \
            peers.Unbound({"postfix.test": {"mx": [("A", postfix.address)]}, "relay.test": {"": [("A", postfix.address)]}}) as resolver:
        ear, store = relay_peers.Eavesdropper(ADDRESS), faults.store_of(redis)
        secrets = {name: campaign.write_text(os.path.join(folder, name), text + "\n")
                   for name, text in (("right", relay_peers.PASSWORD), ("wrong", "password"))}
        ports = {"smtps": postfix.smtps, "overheard": ear.port}
        relays = [{"name": "lmtp", "host": "127.0.0.1", "port": dovecot.lmtp_port, "tls": "off", "lmtp": True}]
        for name, (changes, _) in CASES.items():
            relay = {"name": name, "host": "mx.postfix.test", "port": postfix.submission, "user": relay_peers.USER,
                     "secret_file": "right", **changes}
            relay["port"] = ports.get(relay["port"], relay["port"])
            relay["secret_file"] = secrets.get(relay["secret_file"], "")
            relays.append(relay)
        settings = {"io": io, "workers": 1, "redis": {"url": redis.url}, "dns": {"servers": resolver.address},
                    "smtp": {"ehlo_name": "engine.test", "port": postfix.port},
                    "tls": {"ca_file": os.path.join(postfix.folder, "certificate.pem")}, "relays": relays,
                    "routes": [{"tenants": [relay["name"]], "relay": relay["name"]} for relay in relays]}
        try:
            with peers.Engine(settings) as engine, campaign.Follower(engine.config) as follower:
                for name in ("lmtp", *CASES):
                    store.once("XADD", "e:submit", "*", "json", json.dumps({
                        "id": name, "tenant": name, "from": "bounce@engine.test", "content": CONTENT,
                        "recipients": [{"to": f"{name}@far.test"}]}))
                events = follower.until_first(len(CASES) + 1)
        finally:
            ear.stop()
            store.close()
        for name, expected in (("lmtp", True), *((name, expected) for name, (_, expected) in CASES.items())):
            first = events[f"{name}@far.test"][0]
            if expected is True:
                checks.equal(first["type"], "delivered", f"{io}: {name}: {first.get('code')} {first.get('text')}")
            else:
                checks.equal(first["type"], "deferred", f"{io}: {name}: never ended for the relay's sake")
                checks.that(expected in f"{first.get('code')} {first.get('text')}", f"{io}: {name} says: {first.get('code')} {first.get('text')}")
        checks.equal([line for line in ear.heard if line.upper().startswith(("AUTH", "MAIL"))], [], f"{io}: said to who could overhear it")
        checks.equal(dovecot.delivered(), 1, f"{io}: delivered by LMTP")
        good = sum(expected is True for _, expected in CASES.values())
        postfix.await_messages(good)
        checks.equal(len(postfix.messages()), good, f"{io}: messages that the relay took")


def main():
    peers.become_root()
    checks = campaign.Checks()
    for io in ("io_uring", "epoll"):
        run(io, checks)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
