"""A worker whose sessions are all taken: those kept open for destinations with nothing left make way for destinations with
mail, and there are no more than there may be."""
import json
import os
import sys
import tempfile

from fault import faults
from scenario import campaign, peers

SESSIONS = 10
DOMAINS = 120
PER_DOMAIN = 2
CONTENT = {"headers": {"From": "shop@engine.test", "Subject": "Hello"}, "text": "Dear customer\n"}


def run(io, mail_class, checks):
    with tempfile.TemporaryDirectory(prefix="eilpost-") as folder, peers.Redis() as redis:
        store = faults.store_of(redis)
        sink = peers.BenchSink(addresses="127.0.3.41-127.0.3.60", ledger=os.path.join(folder, "ledger"))
        with sink:
            with peers.Engine({"io": io, "workers": 1, "redis": {"url": redis.url}, "dns": {"servers": sink.dns},
                               "smtp": {"port": sink.port, "ehlo_name": "engine.test"},
                               # Without making way the first ten would stay for an hour.
                               "pool": {"sessions_per_worker": SESSIONS, "idle_s": 3600}}) as engine, \
                    campaign.Follower(engine.config) as follower:
                recipients = [{"to": f"r{i}@d{i % DOMAINS}.test"} for i in range(DOMAINS * PER_DOMAIN)]
                store.once("XADD", "e:submit", "*", "json", json.dumps({
                    "id": "many", "from": "bounce@engine.test", "class": mail_class, "content": CONTENT,
                    "recipients": recipients}))
                events = follower.until_ended(len(recipients))
                types = {its[-1]["type"] for its in events.values()}
                checks.equal(types, {"delivered"}, f"{io}, {mail_class}: how recipients ended")
            report = sink.report()
        what = f"{io}, {mail_class}: "
        checks.equal((report["unique"], report["duplicates"]), (len(recipients), 0), what + "received, and doubled")
        # The receiver may hear of a session's end after the next one's beginning.
        checks.that(report["sessions_peak"] < 2 * SESSIONS, what + f"{report['sessions_peak']} sessions at once")
        checks.that(report["sessions_peak"] > SESSIONS // 2, what + f"only {report['sessions_peak']} sessions at once")
        store.close()


def main():
    checks = campaign.Checks()
    for io in ("io_uring", "epoll"):
        for mail_class in ("bulk", "transactional"):
            run(io, mail_class, checks)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
