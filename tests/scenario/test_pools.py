"""Pools of sources: messages leave from the addresses of their pool only, as the receiver sees them."""
import glob
import json
import os
import re
import sys
import tempfile

from fault import faults
from scenario import campaign, peers

HOME = "127.0.6.1"
SOURCES = {"a": "127.0.6.11", "b": "127.0.6.12", "c": "127.0.6.13", "unused": "127.0.6.14"}
POOLS = [{"name": "main", "sources": ["a", "b:2"]}, {"name": "other", "sources": ["c"]}]
CONTENT = {"headers": {"From": "shop@engine.test", "Subject": "Hello"}, "text": "Dear customer\n"}
MESSAGES = 40

# pool of the submission or None, the sources it may leave from, those it must
CASES = [(None, "ab", "ab"), ("main", "ab", "ab"), ("other", "c", "c"), ("nowhere", "ab", "")]


def submit(store, pool):
    name = pool or "none"
    submission = {"id": name, "from": "bounce@engine.test", "content": CONTENT,
                  "recipients": [{"to": f"{name}-{i}@pool.test"} for i in range(MESSAGES)]}
    if pool:
        submission["pool"] = pool
    store.once("XADD", "e:submit", "*", "json", json.dumps(submission))


def addresses_seen(folder):
    """What smtp-sink noted on each message: {recipient: the client's address}."""
    seen = {}
    for path in glob.glob(os.path.join(folder, "*")):
        with open(path, errors="replace") as file:
            text = file.read()
        client = re.search(r"^X-Client-Addr: (\S+)", text, re.M)
        recipient = re.search(r"^X-Rcpt-Args: <([^>]*)>", text, re.M)
        if client and recipient:
            seen[recipient[1]] = client[1]
    return seen


def run(io, checks):
    with tempfile.TemporaryDirectory(prefix="eilpost-") as folder, peers.Redis() as redis:
        os.chmod(folder, 0o755)
        mails = os.path.join(folder, "mails")
        os.mkdir(mails)
        os.chmod(mails, 0o777)
        sink = peers.SmtpSink(["-d", os.path.join(mails, "m.")], HOME, peers.free_port(HOME))
        store = faults.store_of(redis)
        try:
            with peers.Unbound({"pool.test": {"": [("MX", "10 mx.pool.test")], "mx": [("A", HOME)]}}) as resolver, \
                    peers.Engine({"io": io, "workers": 2, "redis": {"url": redis.url}, "dns": {"servers": resolver.address},
                                  "smtp": {"port": sink.port, "ehlo_name": "engine.test"},
                                  "pool": {"connections_per_site": 2, "messages_per_session": 5},
                                  "sources": [{"name": name, "address": address} for name, address in SOURCES.items()],
                                  "pools": POOLS}) as engine, \
                    campaign.Follower(engine.config) as follower:
                for pool, *_ in CASES:
                    submit(store, pool)
                events = follower.until_ended(MESSAGES * len(CASES))
                log = engine.output()
        finally:
            sink.stop()
            store.close()
        seen = addresses_seen(mails)
        checks.equal(len(seen), MESSAGES * len(CASES), f"{io}: messages that the receiver noted")
        for pool, may, must in CASES:
            name = pool or "none"
            found = {address for to, address in seen.items() if to.startswith(f"{name}-")}
            checks.that(found <= {SOURCES[source] for source in may}, f"{io}, pool {name}: sent from {found}")
            checks.that({SOURCES[source] for source in must} <= found, f"{io}, pool {name}: sent only from {found}")
        wrong = [to for to, its in events.items() if SOURCES[its[-1]["source"]] != seen.get(to)]
        checks.equal(wrong, [], f"{io}: recipients whose events name another source")
        checks.equal(log.count("'nowhere' isn't configured"), 1, f"{io}: warnings of the pool that there isn't")


def main():
    checks = campaign.Checks()
    for io in ("io_uring", "epoll"):
        run(io, checks)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
