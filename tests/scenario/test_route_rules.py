"""Routes and relays of the configuration: which server a message reaches, by tenant, destination and mail exchangers."""
import json
import sys

from fault import faults
from scenario import campaign, peers

MX, OTHER_MX, RELAY, LITERAL = "127.0.6.21", "127.0.6.22", "127.0.6.23", "127.0.6.24"
CONTENT = {"headers": {"From": "shop@engine.test", "Subject": "Hello"}, "text": "Dear customer\n"}
ZONE = {"plain": [("MX", "10 mx.rule.test")], "by-site": [("MX", "10 other.mx.rule.test")], "mx": [("A", MX)],
        "other.mx": [("A", OTHER_MX)], "relay": [("A", RELAY)], "gateway": [("MX", "10 relay.rule.test")]}

# recipient's domain, tenant, the server that it must reach
CASES = [("plain.rule.test", "", MX), ("plain.rule.test", "acme", RELAY), ("plain.rule.test", "bob", MX),
         ("by-site.rule.test", "", LITERAL), ("by-site.rule.test", "acme", RELAY),
         ("nowhere.rule.test", "", None), ("nowhere.rule.test", "acme", RELAY), ("sub.gated.test", "", RELAY)]


def run(io, checks):
    port = peers.free_port(MX)
    # The relays listen on other ports than the mail exchangers.
    ports = {RELAY: peers.free_port(RELAY), LITERAL: peers.free_port(LITERAL)}
    relay = {"name": "acme-gate", "host": "relay.rule.test", "port": ports[RELAY], "tls": "off"}
    settings = {
        "io": io, "workers": 2, "smtp": {"port": port, "ehlo_name": "engine.test"},
        "relays": [relay, {**relay, "name": "by-mx", "host": "gateway.rule.test", "mx": True},
                   {**relay, "name": "by-address", "host": LITERAL, "port": ports[LITERAL]}],
        "routes": [{"tenants": ["acme"], "relay": "acme-gate"}, {"destinations": ["*.gated.test"], "relay": "by-mx"},
                   {"sites": ["*.mx.rule.test"], "relay": "by-address"}],
    }
    sinks = [peers.SmtpSink([], address, ports.get(address, port)) for address in (MX, OTHER_MX, RELAY, LITERAL)]
    try:
        with peers.Redis() as redis, peers.Unbound({"rule.test": ZONE, "gated.test": {}}) as resolver:
            store = faults.store_of(redis)
            settings.update(redis={"url": redis.url}, dns={"servers": resolver.address})
            with peers.Engine(settings) as engine, campaign.Follower(engine.config) as follower:
                for i, (domain, tenant, _) in enumerate(CASES):
                    submission = {"id": f"s{i}", "from": "bounce@engine.test", "content": CONTENT, "tenant": tenant,
                                  "recipients": [{"to": f"r{i}@{domain}"}]}
                    store.once("XADD", "e:submit", "*", "json", json.dumps({k: v for k, v in submission.items() if v}))
                events = follower.until_ended(len(CASES))
            store.close()
    finally:
        for sink in sinks:
            sink.stop()
    for i, (domain, tenant, server) in enumerate(CASES):
        last = events[f"r{i}@{domain}"][-1]
        checks.equal((last["type"], last.get("address")), ("delivered" if server else "bounced", server),
                     f"{io}: {domain} for tenant '{tenant}'")


def main():
    checks = campaign.Checks()
    for io in ("io_uring", "epoll"):
        run(io, checks)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
