"""What the tests of the Lua scripts share: a redis-server of their own on a Unix socket, a small client, the scripts as
the binary carries them (`--include NAME` lines replaced by lib/NAME.lua), and calls of them by name."""

import atexit
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time

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
