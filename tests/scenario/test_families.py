"""IPv6 and IPv4 raced (RFC 8305): which address a message reaches when one family is preferred, slow or dead."""
import json
import socket
import sys

from fault import faults
from scenario import campaign, peers

V4, V6 = "127.0.6.31", "::1"
CONTENT = {"headers": {"From": "shop@engine.test", "Subject": "Hello"}, "text": "Dear customer\n"}
ZONE = {"both": [("MX", "10 mx.family.test")], "mx": [("A", V4), ("AAAA", V6)]}


class Blackhole:
    """Listens, but its queue of connections is full: who connects waits."""

    def __init__(self, address, port):
        self.server = socket.create_server((address, port), family=socket.AF_INET6, backlog=0)
        self.clients = []
        while True:
            client = socket.socket(socket.AF_INET6)
            client.settimeout(0.3)
            self.clients.append(client)
            try:
                client.connect((address, port))
            except TimeoutError:
                return

    def close(self):
        for it in (*self.clients, self.server):
            it.close()


def common_port():
    while True:
        port = peers.free_port(V4)
        with socket.socket(socket.AF_INET6) as probe:
            try:
                probe.bind((V6, port))
                return port
            except OSError:
                continue


class Sender:
    """An engine with a store; send() submits messages and returns the addresses that took them."""

    def __init__(self, store, follower):
        self.store, self.follower, self.sent = store, follower, 0

    def send(self, count):
        first = self.sent
        for _ in range(count):
            submission = {"id": f"s{self.sent}", "from": "bounce@engine.test", "content": CONTENT,
                          "recipients": [{"to": f"r{self.sent}@both.family.test"}]}
            self.store.once("XADD", "e:submit", "*", "json", json.dumps(submission))
            self.sent += 1
            events = self.follower.until_ended(self.sent)
        return [events[f"r{i}@both.family.test"][-1].get("address") for i in range(first, self.sent)]


def with_engine(io, port, smtp, act):
    with peers.Redis() as redis, peers.Unbound({"family.test": ZONE}) as resolver:
        store = faults.store_of(redis)
        settings = {"io": io, "workers": 1, "redis": {"url": redis.url}, "dns": {"servers": resolver.address},
                    "smtp": {"port": port, "ehlo_name": "engine.test", **smtp}, "pool": {"messages_per_session": 1}}
        try:
            with peers.Engine(settings) as engine, campaign.Follower(engine.config) as follower:
                act(Sender(store, follower))
        finally:
            store.close()


def prefers(io, checks):
    port = common_port()
    sinks = [peers.SmtpSink([], V4, port), peers.SmtpSink([], V6, port)]
    try:
        for prefer, expected in (("ipv6", V6), ("ipv4", V4)):
            with_engine(io, port, {"prefer": prefer}, lambda sender: checks.equal(
                sender.send(2), [expected] * 2, f"{io}: {prefer} preferred"))
    finally:
        for sink in sinks:
            sink.stop()


def dead_family(io, checks):
    """The connect time-out is minutes away: only the race gets the message through."""
    port = common_port()
    blackhole, sink = Blackhole(V6, port), peers.SmtpSink([], V4, port)

    def act(sender):
        checks.equal(sender.send(2), [V4] * 2, f"{io}: IPv6 swallows all")
        blackhole.close()
        revived = peers.SmtpSink([], V6, port)
        try:
            checks.equal(sender.send(2), [V4] * 2, f"{io}: IPv4 is known to work")
        finally:
            revived.stop()

    try:
        with_engine(io, port, {"timeouts": {"connect_s": 600}}, act)
    finally:
        blackhole.close()
        sink.stop()


def main():
    checks = campaign.Checks()
    for io in ("io_uring", "epoll"):
        prefers(io, checks)
        dead_family(io, checks)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
