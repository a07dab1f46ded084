"""What the tests of the Lua scripts share: a redis-server of their own on a Unix socket, a small client, the scripts as
the binary carries them (`--include NAME` lines replaced by lib/NAME.lua), and calls of them by name."""

import atexit
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import unittest

EPOCH = 5
SOURCE = os.environ.get("EILPOST_SOURCE", os.path.join(os.path.dirname(__file__), "..", "..", ".."))
LUA = os.environ.get("EILPOST_LUA", os.path.join(SOURCE, "queue", "lua"))
NAMES = sorted(name[:-4] for name in os.listdir(LUA) if name.endswith(".lua"))

# What stands for the clock in tests that set the time: {seconds, microseconds} as TIME answers.
CLOCK = "redis.call('LRANGE', 'clock', 0, 1)"


class RedisError(Exception):
    pass


class Client:
    """One connection; strings are latin-1 in both directions, so that they hold any bytes."""

    def __init__(self, path):
        deadline = time.monotonic() + 60
        while True:
            self.socket = socket.socket(socket.AF_UNIX)
            try:
                self.socket.connect(path)
                break
            except OSError:
                self.socket.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        self.buffer, self.at = b"", 0

    def close(self):
        self.socket.close()

    @staticmethod
    def pack(args):
        parts = ["*%d\r\n" % len(args)]
        for arg in args:
            arg = arg if isinstance(arg, str) else "%d" % arg
            parts.append("$%d\r\n%s\r\n" % (len(arg), arg))
        return "".join(parts).encode("latin-1")

    def fill(self):
        more = self.socket.recv(1 << 20)
        if not more:
            raise ConnectionError("the server closed the connection")
        self.buffer, self.at = self.buffer[self.at:] + more, 0

    def line(self):
        while True:
            end = self.buffer.find(b"\r\n", self.at)
            if end >= 0:
                text = self.buffer[self.at:end].decode("latin-1")
                self.at = end + 2
                return text
            self.fill()

    def read(self):
        head = self.line()
        kind, rest = head[0], head[1:]
        if kind == "+":
            return rest
        if kind == ":":
            return int(rest)
        if kind == "-":
            return RedisError(rest)
        count = int(rest)
        if count < 0:
            return None
        if kind == "*":
            return [self.read() for _ in range(count)]
        while len(self.buffer) - self.at < count + 2:
            self.fill()
        text = self.buffer[self.at:self.at + count].decode("latin-1")
        self.at += count + 2
        return text

    def pipeline(self, calls):
        """Errors are returned, not raised."""
        self.socket.sendall(b"".join(map(self.pack, calls)))
        return [self.read() for _ in calls]

    def __call__(self, *args):
        reply = self.pipeline([args])[0]
        if isinstance(reply, RedisError):
            raise reply
        return reply


class Server:
    """A redis-server that persists nothing; options as on its command line."""

    def __init__(self, *options):
        self.folder = tempfile.mkdtemp(prefix="eilpost-scripts-")
        self.path = os.path.join(self.folder, "s")
        self.process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", self.path, "--dir", self.folder, "--save", "",
             "--logfile", os.path.join(self.folder, "log"), *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        atexit.register(self.stop)
        self.client = Client(self.path)

    def stop(self):
        atexit.unregister(self.stop)
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder)


def text_of(name):
    """A script's whole text."""
    with open(os.path.join(LUA, name + ".lua"), encoding="utf-8") as file:
        text = file.read()

    def included(match):
        with open(os.path.join(LUA, "lib", match.group(1) + ".lua"), encoding="utf-8") as lib:
            return lib.read()

    return re.sub(r"^--include (\w+)\n", included, text, flags=re.M)


def load(client, clock=False):
    """Loads all scripts; with `clock` they read the time from the list `clock`. Returns name -> sha."""
    loaded = {}
    for name in NAMES:
        text = text_of(name)
        if clock:
            text = text.replace("redis.call('TIME')", CLOCK)
        loaded[name] = client("SCRIPT", "LOAD", text.encode().decode("latin-1"))
    return loaded


def varint(n):
    out = ""
    while n >= 128:
        out += chr(n % 128 + 128)
        n //= 128
    return out + chr(n)


def record(job_id, to, attempts=0, flags=0, reply="", values=()):
    """A job as it lies in Redis (queue/README.md, "The record")."""
    tail = "".join(varint(len(value)) + value for value in values)
    return f"{job_id}\t{to}\t{varint(attempts)}{varint(flags)}{varint(len(reply))}{reply}{varint(len(values))}{tail}"


def snapshot(client):
    """All keys with their values, for comparing."""
    keys = sorted(client("KEYS", "*"))
    return dict(zip(keys, client.pipeline([("DUMP", key) for key in keys])))


class Partition:
    """Calls of the scripts on one partition, with the arguments that most tests don't care about filled in."""

    def __init__(self, client, scripts, number=0):
        self.redis, self.scripts, self.prefix = client, scripts, "e:{%d}:" % number
        self.entries = 0
        self.now = int(time.time() * 1000)

    def key(self, name):
        return self.prefix + name

    def eval(self, name, keys, *args):
        return self.redis("EVALSHA", self.scripts[name], len(keys), *keys, *args)

    def call(self, name, *args):
        return self.eval(name, [self.key("e")], *args)

    def epoch(self, epoch=EPOCH):
        self.redis("SET", self.key("e"), epoch)

    def fields(self, **given):
        fields = {"class": "b", "flow": "acme/june", "accepted": self.now, "expires": self.now + 86400000, **given}
        return [len(fields) * 2, *(str(text) for pair in fields.items() for text in pair)]

    def enqueue(self, sid, groups, entry=None, part=0, rejected=0, weight="", **fields):
        """groups: (destination, records) or (destination, keys, records)"""
        if entry is None:
            self.entries += 1
            entry = f"{self.entries}-1"
        flat = []
        for dest, *rest in groups:
            records = rest[-1]
            flat += [dest, len(records), len(rest) - 1]
            flat += records if len(rest) == 1 else [text for pair in zip(*rest) for text in pair]
        return self.call("enqueue", entry, part, 600, 86400, 86400, sid, rejected, *self.fields(**fields), weight, *flat)

    def jobs(self, sid, count, dest="a.test", first=0):
        return [record(f"{sid}-{first + i:x}", f"u{first + i}@{dest}") for i in range(count)]

    def lease(self, requests=(), discoveries=(), parks=(), epoch=EPOCH):
        """Returns (class, destination, waiting, [(submission, flow, stream, pool, accepted, records)]) each."""
        rows = []
        for row in (parks, requests, discoveries):
            rows += [len(row), *(text for item in row for text in item)]
        reply = self.call("lease", epoch, "n1", 3600000, 86400, *rows)
        if reply == "STALE":
            return reply
        visits, at = [], 1
        while at < len(reply):
            letter, dest, waiting, groups = reply[at:at + 4]
            at, found = at + 4, []
            for _ in range(groups):
                count = reply[at + 5]
                found.append((*reply[at:at + 5], reply[at + 6:at + 6 + count]))
                at += 6 + count
            visits.append((letter, dest, waiting, found))
        return visits

    def ack(self, acks, epoch=EPOCH):
        """acks: (id, kind) with more arguments where they matter: unknown, due, record, event"""
        flat = []
        for job_id, kind, *more in acks:
            more += [0, self.now, "", "{}"][len(more):]
            flat += [job_id, job_id.rsplit("-", 1)[0], kind, *more]
        return self.call("ack", epoch, 1000000, 86400, *flat)

    def tick(self, most=100, room=200, last="0", keep="", epoch=EPOCH):
        return self.call("tick", epoch, most, room, 86400, last, keep)

    def walk(self, action, order, phase="x", cursor="0", entries=500, room=200, in_force=""):
        return self.call("walk", action, json.dumps(order) if isinstance(order, dict) else order, phase, cursor, entries,
                         room, 86400, 86400, in_force)

    def walk_through(self, action, order, phases="xt", **limits):
        """Sums of jobs and queues."""
        sums = [0, 0]
        for phase in phases:
            cursor = None
            while cursor != "0":
                cursor, jobs, queues = self.walk(action, order, phase, cursor or "0", **limits)
                sums = [sums[0] + jobs, sums[1] + queues]
        return sums

    def totals(self, key="n"):
        values = self.redis("HGETALL", self.key(key))
        return {name: int(value) for name, value in zip(values[::2], values[1::2]) if value.lstrip("-").isdigit()}

    def events(self):
        return [json.loads(entry[1][1]) for entry in self.redis("XRANGE", self.key("ev"), "-", "+")]


def leased(visits):
    """The records of a lease's reply."""
    return [text for _, _, _, groups in visits for group in groups for text in group[5]]


def ids(records):
    return [text.split("\t")[0] for text in records]


class Scripts(unittest.TestCase):
    options = ()

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.options)
        cls.redis = cls.server.client
        cls.scripts = load(cls.redis)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def setUp(self):
        self.redis("CONFIG", "SET", "maxmemory", 0)
        self.redis("FLUSHALL")
        self.partition = Partition(self.redis, self.scripts)
        self.partition.epoch(EPOCH)

    def exists(self, *names):
        return self.redis("EXISTS", *map(self.partition.key, names))
