"""What the tests of operators' commands share: a stage with a Redis, a sink and engines, and the commands run as an operator does."""
import json
import os
import tempfile
from contextlib import ExitStack

from fault import faults
from scenario import campaign, peers

CONTENT = {"headers": {"From": "shop@engine.test", "Subject": "Hello"}, "text": "Dear customer\n"}
ENTRY = 500  # recipients of one entry of the stream


def addresses(name, count, domains):
    """NAME-0@…, spread over the domains."""
    return [f"{name}-{i}@{domains[i % len(domains)]}" for i in range(count)]


class Stage:
    """`script` is the sink's; `settings` those of all engines. `nodes` engines are started."""

    def __init__(self, script="", settings=None, nodes=1, networks="127.0.9.1-127.0.9.20", sink_flags=()):
        self.script, self.settings, self.count = script, settings or {}, nodes
        self.networks, self.sink_flags = networks, sink_flags
        self.nodes = []

    def __enter__(self):
        self.stack = ExitStack()
        try:
            return self._start()
        except BaseException:
            self.stack.close()
            raise

    def _start(self):
        self.folder = self.stack.enter_context(tempfile.TemporaryDirectory(prefix="eilpost-"))
        self.redis = self.stack.enter_context(peers.Redis())
        script = campaign.write_text(os.path.join(self.folder, "script"), self.script)
        self.sink = self.stack.enter_context(peers.BenchSink("--script", script, *self.sink_flags, addresses=self.networks,
                                                             ledger=os.path.join(self.folder, "ledger")))
        self.ledger = faults.Ledger(self.sink.ledger)
        self.store = faults.store_of(self.redis)
        self.stack.callback(self.store.close)
        for _ in range(self.count):
            self.add_node()
        self.config = self.nodes[0].config
        return self

    def add_node(self):
        settings = {"workers": 2, "redis": {"url": self.redis.url}, "dns": {"servers": self.sink.dns},
                    "smtp": {"port": self.sink.port, "ehlo_name": "engine.test"}, "retry": {"schedule_s": [1]}}
        for key, value in self.settings.items():
            settings[key] = {**settings.get(key, {}), **value} if isinstance(value, dict) else value
        node = faults.Node(settings)
        self.nodes.append(node)
        return self.stack.enter_context(node)

    def __exit__(self, *why):
        return self.stack.__exit__(*why)

    def submit(self, name, recipients, **fields):
        """One submission per ENTRY recipients: NAME.0, NAME.1, …"""
        for first in range(0, len(recipients), ENTRY):
            self.store.once("XADD", "e:submit", "*", "json", json.dumps({
                "id": f"{name}.{first // ENTRY}", "from": "bounce@engine.test", "content": CONTENT,
                "recipients": [{"to": to} for to in recipients[first:first + ENTRY]], **fields}))

    def run(self, *words):
        """A command of an operator: what it answers, as JSON."""
        return json.loads(campaign.eilpost(*words, "--config", self.config, "--json").stdout)

    def refused(self, *words):
        """A command that must fail: (exit code, what it says)."""
        done = campaign.eilpost(*words, "--config", self.config, check=False)
        return done.returncode, done.stderr

    def open_jobs(self):
        counters = self.store.counters()
        return counters.get("accepted", 0) - sum(counters.get(kind, 0) for kind in campaign.TERMINAL)

    def wait(self, holds, what):
        faults.wait_until(holds, what, *[node for node in self.nodes if node.process.poll() is None], self.sink)

    def until_taken_in(self, count):
        self.wait(lambda: self.store.counters().get("accepted", 0) >= count and self.store.waiting_submissions() == 0,
                  f"{count} accepted jobs")

    def until_owned(self):
        """Until the nodes own every partition between them: till then, that one has no owner is part of why a job waits."""
        self.wait(lambda: sum(node.partitions() for node in self.nodes) == faults.PARTITIONS, "owners of all partitions")

    def until_ended(self, count):
        """Until so many jobs were accepted and all have ended."""
        self.until_taken_in(count)
        self.wait(lambda: self.open_jobs() == 0, "the end of all jobs")

    def ends(self):
        """{recipient: [types of terminal events]}"""
        found = {}
        for _, event in self.store.events():
            if event["type"] in campaign.TERMINAL:
                found.setdefault(event["to"], []).append(event["type"])
        return found


def jobs(counts):
    return counts["queued"] + counts["retrying"] + counts["in_flight"]


def adds_up(totals):
    """Whether accepted = the ends + what is open, by a campaign's totals."""
    return totals["accepted"] == sum(totals[kind] for kind in campaign.TERMINAL) + totals["open"]
