"""The scenario `postfix`: BDAT against DATA to a real Postfix over one session, which is the private instance that the scenario tests
use (tests/scenario/peers.py)."""
import os
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests"))

DOMAIN = "postfix.test"
BODY = "A line of about sixty bytes in the body of the message, yes.\n" * 66


def _rate(options, count, keywords):
    """Messages per second over one session, from the first tenth to the last message."""
    from scenario import campaign, peers
    settings = {"workers": 1, "smtp": {"ehlo_name": "bench.test"},
                "pool": {"connections_per_site": 1, "messages_per_session": 100}}
    with tempfile.TemporaryDirectory() as folder, peers.Postfix([DOMAIN], discard_keywords=keywords) as postfix, \
            peers.Unbound({DOMAIN: {"": [("MX", f"10 mx.{DOMAIN}")], "mx": [("A", postfix.address)]}}) as resolver, \
            peers.Redis() as redis:
        settings["smtp"]["port"] = postfix.port
        with peers.Engine({**settings, "redis": {"url": redis.url}, "dns": {"servers": resolver.address}}) as engine, \
                campaign.Follower(engine.config) as follower:
            listed = campaign.write_list(os.path.join(folder, "list.csv"),
                                         [{"email": f"user{i}@{DOMAIN}", "name": str(i)} for i in range(count)])
            template = campaign.write_text(os.path.join(folder, "template.txt"),
                                           "From: shop@bench.test\nSubject: {{name}}\n\n" + BODY)
            campaign.submit(engine.config, "bounce@bench.test", "--list", listed, "--template", template)
            first = len(follower.until(lambda events: len(events) >= count // 10))
            start = time.monotonic()
            follower.until_ended(count)
            return (count - first) / (time.monotonic() - start)


def postfix(options):
    """One session to a real Postfix: BDAT against DATA, 4 KiB messages (needs root, as Postfix does)."""
    os.environ["EILPOST"] = os.path.join(options.build, "eilpost")
    os.environ["EILPOST_BUILD"] = options.build
    count = options.messages or 3000
    bdat = _rate(options, count, [])
    data = _rate(options, count, ["chunking"])
    figures = {"messages": count, "messages_per_second_bdat": bdat, "messages_per_second_data": data,
               "bdat_to_data_ratio": bdat / data}
    return figures, [("BDAT: messages per second", f"{bdat:,.0f}", ""), ("DATA: messages per second", f"{data:,.0f}", ""),
                     ("BDAT / DATA", f"{bdat / data:.2f}", ">= 1")]
