"""TLS sessions are taken up again by later ones (RFC 8446, 2.2), also when several run side by side: each ticket serves once."""
import json
import sys

from fault import faults
from scenario import campaign, peers

CONNECTIONS, PER_SESSION, MESSAGES = 4, 2, 400
CONTENT = {"headers": {"From": "shop@engine.test", "Subject": "Hello"}, "text": "Dear customer\n"}


def run(io, checks):
    with peers.Redis() as redis, peers.BenchSink("--starttls", "--delay-ms", "5", addresses="127.0.3.61") as sink, \
            peers.Engine({"io": io, "workers": 1, "redis": {"url": redis.url}, "dns": {"servers": sink.dns},
                          "smtp": {"port": sink.port, "ehlo_name": "engine.test", "tls": "required"},
                          "pool": {"connections_per_site": CONNECTIONS, "connect_concurrency_per_site": CONNECTIONS,
                                   "messages_per_session": PER_SESSION}}) as engine, \
            campaign.Follower(engine.config) as follower:
        store = faults.store_of(redis)
        store.once("XADD", "e:submit", "*", "json", json.dumps({
            "id": "many", "from": "bounce@engine.test", "content": CONTENT,
            "recipients": [{"to": f"r{i}@resumed.test"} for i in range(MESSAGES)]}))
        events = follower.until_ended(MESSAGES)
        checks.equal({(its[-1]["type"], its[-1].get("tls")) for its in events.values()}, {("delivered", "TLSv1.3")}, f"{io}: ends")
        counters = json.loads(engine.get("/v1/stats")[1])["counters"]
        opened, resumed = counters["sessions_opened"], counters["tls_resumed"]
        checks.that(opened >= MESSAGES // PER_SESSION, f"{io}: only {opened} sessions")
        # The first ones have nothing to take up, and those that open while a line of tickets builds up.
        checks.that(resumed >= opened - 2 * CONNECTIONS, f"{io}: {resumed} of {opened} sessions resumed")
        store.close()


def main():
    checks = campaign.Checks()
    for io in ("io_uring", "epoll"):
        run(io, checks)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
