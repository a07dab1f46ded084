"""What the fault tests share: a small client for Redis, the sink's ledger while it grows, engines with names, and the judge that
compares the ledger with what the queue tells (events and counters; nothing else of the queue's keys is looked at)."""
import json
import os
import random
import re
import socket
import sys
import tempfile
import time
import zlib
from contextlib import ExitStack

from scenario import campaign, peers

SPACE, PARTITIONS = "e", 16
LOOK_S = 0.02       # between two looks at what tells nothing by itself
TELL_AFTER_S = 60   # a wait that gets nowhere for so long says what it waits for; it goes on, for a slow machine isn't a failure
REPLICAS_MS = 1000  # how long a producer of ours waits for replicas before it tries again
IO_BODIES = ("io_uring", "epoll")


# ---- chance ----

def seeded():
    """(seed, random generator); the seed is printed and comes from EILPOST_TEST_SEED if that is set."""
    seed = int(os.environ.get("EILPOST_TEST_SEED", random.randrange(1 << 32)))
    print(f"EILPOST_TEST_SEED={seed}", flush=True)
    return seed, random.Random(seed)


def rounds(count):
    """How many rounds to run: `count` unless EILPOST_FAULT_ROUNDS says otherwise."""
    return int(os.environ.get("EILPOST_FAULT_ROUNDS", count))


def wait_until(holds, what, *processes):
    """Looks until `holds()` is true. A process among `processes` (peers) that ends meanwhile is a failure."""
    told = time.monotonic() + TELL_AFTER_S
    while not holds():
        for process in processes:
            if process.process.poll() is not None:
                raise AssertionError(f"while waiting for {what}: {process.command()[0]} ended with "
                                     f"{process.process.returncode}: {process.output()[-4000:]}")
        if time.monotonic() > told:
            print(f"still waiting for {what}", flush=True)
            told += TELL_AFTER_S
        time.sleep(LOOK_S)


# ---- Redis ----

class RedisError(Exception):
    """What Redis refused, as it said it."""


class Connection:
    """A blocking connection; the address is a Unix socket's path or (host, port)."""

    def __init__(self, address):
        self._socket = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        try:
            self._socket.settimeout(5)
            self._socket.connect(address)
        except OSError:
            self._socket.close()
            raise
        self._file = self._socket.makefile("rb")

    def _line(self):
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("Redis closed the connection")
        return line[:-2]

    def _reply(self):
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"-":
            return RedisError(rest.decode())
        if kind == b"+":
            return rest.decode()
        if kind == b":":
            return int(rest)
        if kind == b"$":
            if int(rest) < 0:
                return None
            text = self._file.read(int(rest) + 2)
            if len(text) != int(rest) + 2:
                raise ConnectionError("Redis closed the connection")
            return text[:-2].decode()
        return None if int(rest) < 0 else [self._reply() for _ in range(int(rest))]

    def command(self, *words):
        """The reply; raises RedisError for an error reply, OSError when the connection is lost."""
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self._socket.sendall(b"".join([b"*%d\r\n" % len(words), *(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)]))
        reply = self._reply()
        if isinstance(reply, RedisError):
            raise reply
        return reply

    def close(self):
        self._file.close()
        self._socket.close()


class Store:
    """Redis as a reader sees it, wherever the keys are by now: it follows MOVED, and connects anew after a loss.
    `find()` tells the address to begin with; it may answer None while there is none."""

    def __init__(self, find):
        self._find = find
        self._connections = {}

    def _on(self, address):
        if address not in self._connections:
            self._connections[address] = Connection(address)
        return self._connections[address]

    def close(self):
        for connection in self._connections.values():
            connection.close()
        self._connections = {}

    def once(self, *words, replicas=0):
        """One try, redirections followed; raises OSError or RedisError, also when fewer than `replicas` have what it wrote."""
        address = self._find()
        if address is None:
            raise ConnectionError("no primary is known")
        while True:
            try:
                reply = self._on(address).command(*words)
                if replicas and self._on(address).command("WAIT", replicas, REPLICAS_MS) < replicas:
                    raise ConnectionError("too few replicas have it")
                return reply
            except RedisError as error:
                moved = re.match(r"(?:MOVED|ASK) \d+ (\S+):(\d+)$", str(error))
                if not moved:
                    raise
                address = (moved.group(1), int(moved.group(2)))
            except OSError:
                self.close()
                raise

    def read(self, *words):
        """A reading command, repeated until it's answered."""
        told = time.monotonic() + TELL_AFTER_S
        while True:
            try:
                return self.once(*words)
            except OSError as error:
                why = error
            except RedisError as error:
                if not re.match("LOADING|CLUSTERDOWN|MASTERDOWN|TRYAGAIN|UNBLOCKED", str(error)):
                    raise
                why = error
            if time.monotonic() > told:
                print(f"still waiting for Redis: {why}", flush=True)
                told += TELL_AFTER_S
            time.sleep(LOOK_S)

    def counters(self):
        """The counters of all partitions, added."""
        total = {}
        for partition in range(PARTITIONS):
            flat = self.read("HGETALL", f"{SPACE}:{{{partition}}}:n")
            for name, value in zip(flat[::2], flat[1::2]):
                total[name] = total.get(name, 0) + int(value)
        return total

    def events(self, places=None):
        """Events: [(partition, event)], in order within a partition: all, or those since the last call with the dict `places`."""
        found = []
        places = {} if places is None else places
        for partition in range(PARTITIONS):
            more = True
            while more:
                entries = self.read("XRANGE", f"{SPACE}:{{{partition}}}:ev", places.get(partition, "-"), "+", "COUNT", 5000)
                found += [(partition, json.loads(fields[1])) for _, fields in entries]
                more = len(entries) == 5000
                if entries:
                    places[partition] = f"({entries[-1][0]}"
        return found

    def waiting_submissions(self):
        return self.read("XLEN", f"{SPACE}:submit")


def store_of(redis):
    """The store of a peers.Redis."""
    return Store(lambda: redis.socket)


def partition_of(recipient):
    """The partition of a recipient's domain."""
    return zlib.crc32(recipient.rpartition("@")[2].lower().encode()) % PARTITIONS


# ---- the ledger ----

class Ledger:
    """The sink's ledger while it grows: {recipient: [time in s, …]}."""

    def __init__(self, path):
        self.path = path
        self.times = {}
        self.lines = 0
        self._at = 0

    def refresh(self):
        if os.path.exists(self.path):
            with open(self.path, "rb") as file:
                file.seek(self._at)
                text = file.read()
            text = text[:text.rfind(b"\n") + 1]
            self._at += len(text)
            for line in text.decode().splitlines():
                fields = line.split("\t")
                self.times.setdefault(fields[1], []).append(int(fields[0]) / 1e6)
                self.lines += 1
        return self

    def until(self, lines, *processes):
        """Waits until it has so many lines."""
        wait_until(lambda: self.refresh().lines >= lines, f"{lines} lines in the ledger", *processes)

    def between(self, begin, end):
        """Recipients with a line in that time."""
        return [to for to, times in self.refresh().times.items() if any(begin < at < end for at in times)]


# ---- campaigns ----

SCRIPT = """recipient=bounce-* rcpt=550 5.1.1 no such user
recipient=defer-* first rcpt=451 4.2.0 greylisted
"""


def recipients(first, count, domains):
    """Addresses that are used once: of 40, one bounces and one is deferred the first time."""
    names = {0: "bounce", 1: "defer"}
    return [f"{names.get(i % 40, 'user')}-{i}@d{i % domains}.test" for i in range(first, first + count)]


class World:
    """A sink, engines and campaigns; what it starts it ends. `redis_url` is what the engines get."""

    def __init__(self, redis_url, store, io="io_uring", domains=60, sink_flags=("--delay-ms", "15"), addresses="127.0.2.1-127.0.2.20",
                 settings=None):
        self.redis_url, self.store, self.io, self.domains = redis_url, store, io, domains
        self.settings = settings or {}
        self.nodes, self.accepted, self.submissions = [], [], {}
        self._used = 0
        self._stack = ExitStack()
        self.folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="eilpost-"))
        script = campaign.write_text(os.path.join(self.folder, "script"), SCRIPT)
        self.sink = peers.BenchSink(*sink_flags, "--script", script, addresses=addresses,
                                    ledger=os.path.join(self.folder, "ledger"))
        self.ledger = Ledger(self.sink.ledger)
        self.template = campaign.write_text(os.path.join(self.folder, "template.txt"),
                                            "From: shop@engine.test\nSubject: Hello {{name}}\n\nDear {{name}}\n")

    def __enter__(self):
        try:
            self._stack.enter_context(self.sink)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *why):
        self.store.close()
        return self._stack.__exit__(*why)

    def configuration(self, name, **more):
        settings = {"io": self.io, "workers": 2, "redis": {"url": self.redis_url}, "sources": [{"name": name, "ehlo_name": "engine.test"}],
                    "smtp": {"port": self.sink.port, "ehlo_name": "engine.test"}, "dns": {"servers": self.sink.dns},
                    "retry": {"schedule_s": [1], "unknown_delay_s": 1}}
        for key, value in {**self.settings, **more}.items():
            settings[key] = {**settings.get(key, {}), **value} if isinstance(value, dict) else value
        return settings

    def write_configuration(self, **more):
        """Writes one for commands that go to Redis by another way than the engines; returns its path."""
        return campaign.write_text(os.path.join(self.folder, "commands.yaml"), peers.to_yaml(self.configuration("commands", **more)) + "\n")

    def node(self, name, **more):
        """Starts an engine; its events have the name as their source."""
        node = Node(self.configuration(name, **more))
        node.name = name
        self.nodes.append(node)
        return self._stack.enter_context(node)

    def fresh(self, count):
        """Recipients that nobody used yet."""
        self._used += count
        return recipients(self._used - count, count, self.domains)

    def submit(self, count, config=None):
        """`eilpost send` for so many recipients, all of which are accepted then."""
        chosen = self.fresh(count)
        listed = campaign.write_list(os.path.join(self.folder, f"list-{self._used}.csv"),
                                     [{"email": to, "name": f"Name of {to}"} for to in chosen])
        submission = campaign.submit(config or self.nodes[0].config, "bounce@engine.test", "--list", listed,
                                     "--template", self.template)
        self.accepted += chosen
        self.submissions[submission] = count
        return submission

    def running(self):
        return [node for node in self.nodes if node.process.poll() is None]

    def until_ended(self, *processes):
        """Waits until the queue has taken in what it was given, and all that it accepted has ended."""
        def ended():
            counters = self.store.counters()
            return (counters.get("accepted", 0) >= len(self.accepted) and self.store.waiting_submissions() == 0 and
                    counters["accepted"] == sum(counters.get(kind, 0) for kind in campaign.TERMINAL))
        wait_until(ended, "the end of all jobs", *self.running(), self.sink, *processes)


class Node(peers.Engine):
    """An engine that may be one of several: it serves from when its stats endpoint answers, with or without partitions."""

    def serving(self):
        try:
            return self.get("/healthz")[0] in (200, 503)
        except OSError:
            return False

    def healthy(self):
        try:
            return self.get("/healthz")[0] == 200
        except OSError:
            return False

    def partitions(self):
        """How many partitions it owns by its own account; 0 if it can't say."""
        try:
            return json.loads(self.get("/v1/stats")[1])["gauges"]["partitions_owned"]
        except OSError:
            return 0

    def signal(self, number):
        os.kill(self.pid, number)


# ---- the judge ----

class Judge:
    """Reads ledger, events and counters when all jobs have ended, and checks the promises."""

    def __init__(self, world, checks, what, perhaps=()):
        """`perhaps`: recipients of submissions whose acceptance was never confirmed; each may be there or not."""
        self.world, self.checks, self.what = world, checks, what
        self.perhaps = set(perhaps)
        self.times = world.ledger.refresh().times
        self.events = world.store.events()
        self.counters = world.store.counters()
        self.by_recipient = {}
        for _, event in self.events:
            self.by_recipient.setdefault(event["to"], []).append(event)
        self.twice = {to for to, times in self.times.items() if len(times) > 1}
        self.marked = {to for to, its in self.by_recipient.items()
                       if any(e["type"] == "unknown" or e.get("unknown") or e.get("maybe_duplicate") for e in its)}

    def equal(self, found, expected, claim):
        if isinstance(found, list) and len(found) > 20:
            found = found[:20] + [f"… {len(found)} in all"]
        self.checks.equal(found, expected, f"{self.what}: {claim}")

    def _recipients(self):
        accepted = set(self.world.accepted)
        there = accepted | (self.perhaps & self.by_recipient.keys())
        self.equal(sorted(to for to in there if not to.startswith("bounce-") and to not in self.times), [],
                   "accepted recipients without the message")
        self.equal(sorted(self.times.keys() - there), [], "recipients of a message that nobody submitted or no event tells of")
        self.equal(sorted(to for to in self.times if to.startswith("bounce-")), [], "refused recipients in the ledger")
        self.equal(sorted(accepted - self.by_recipient.keys()), [], "accepted recipients without an event")
        ends = {to: [e["type"] for e in its if e["type"] in campaign.TERMINAL] for to, its in self.by_recipient.items()}
        wrong = [f"{to}: {types}" for to, types in ends.items()
                 if types != (["bounced"] if to.startswith("bounce-") else ["delivered"])]
        self.equal(sorted(wrong), [], "jobs that didn't end once and as they should")

    def _doubles(self):
        self.equal(sorted(self.twice - self.marked), [], "doubled though their outcome was known")

    def _counts(self):
        types = [event["type"] for _, event in self.events]
        counted = {kind: self.counters.get(kind, 0) for kind in sorted(campaign.TERMINAL)}
        self.equal(counted, {kind: types.count(kind) for kind in sorted(campaign.TERMINAL)}, "counters and terminal events")
        self.equal(self.counters.get("accepted", 0), sum(counted.values()), "accepted = the sum of all ends")
        self.equal(self.counters.get("accepted", 0), len(self.by_recipient), "accepted = recipients with events")
        self.equal(self.counters.get("deferred", 0), types.count("deferred") + types.count("unknown"), "counted attempts to repeat")
        if self.perhaps == set():
            self.equal(self.counters.get("accepted", 0), len(self.world.accepted), "accepted = submitted")

    def _submissions(self, config):
        if not self.world.submissions:
            return
        done = campaign.eilpost("status", "--config", config, "--json", *self.world.submissions)
        for submission, found in json.loads(done.stdout)["submissions"].items():
            ended = sum(found[kind] for kind in campaign.TERMINAL)
            self.equal((found["accepted"], ended), (self.world.submissions[submission],) * 2, f"accepted and ended of {submission}")

    def check(self, config=None):
        """`config`: of an engine whose Redis answers, if that isn't the first node's."""
        self._recipients()
        self._doubles()
        self._counts()
        self._submissions(config or self.world.nodes[0].config)
        unknown = sum(any(e["type"] == "unknown" or e.get("unknown") for e in its) for its in self.by_recipient.values())
        print(f"{self.what}: {len(self.by_recipient)} jobs, {unknown} unknown, {len(self.marked)} marked, {len(self.twice)} twice",
              flush=True)
        return self


def skip(reason):
    """Ends the test without a verdict."""
    print(f"skipped: {reason}")
    sys.exit(0)
