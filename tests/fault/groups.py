"""Groups of Redis servers on loopback: a primary with replicas under Sentinel, and a Redis Cluster. Each server is a process of its own
that may be killed and started again on its files. And a producer that goes on submitting whatever happens to them."""
import json
import os
import re
import signal
import subprocess
import threading
from contextlib import ExitStack

from fault import faults
from scenario import peers

# What a primary says on its way out or in; anything else is a refusal that repeating doesn't mend.
REFUSED_FOR_NOW = re.compile("NOREPLICAS|READONLY|LOADING|CLUSTERDOWN|MASTERDOWN|TRYAGAIN|UNBLOCKED")


class Server(peers.Peer):
    """A redis-server on a TCP port that syncs each write. `more`: its configuration beside that."""

    def __init__(self, *more, sentinel=False):
        super().__init__()
        self.port = peers.free_port()
        self.address = ("127.0.0.1", self.port)
        self.sentinel = sentinel
        lines = [f"port {self.port}", "bind 127.0.0.1", f"dir {self.folder}", "save \"\"", "protected-mode no", *more]
        if not sentinel:
            lines += ["appendonly yes", "appendfsync always", "maxmemory-policy noeviction", "repl-diskless-sync-delay 0"]
        self.config = os.path.join(self.folder, "redis.conf")
        with open(self.config, "w") as out:
            out.write("\n".join(lines) + "\n")

    def command(self):
        return ["redis-server", self.config, *(["--sentinel"] if self.sentinel else [])]

    def ask(self, *words):
        """The reply; OSError when it doesn't answer."""
        connection = faults.Connection(self.address)
        try:
            return connection.command(*words)
        finally:
            connection.close()

    def serving(self):
        try:
            return self.ask("PING") == "PONG"
        except (OSError, faults.RedisError):
            return False

    def freeze(self):
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self):
        os.kill(self.pid, signal.SIGCONT)

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def info(self, section):
        return dict(line.split(":", 1) for line in self.ask("INFO", section).splitlines() if ":" in line)


class Producer(threading.Thread):
    """Submits entries one after the other: XADD, then WAIT for a replica. What isn't confirmed is repeated under the same id until it
    is, so each recipient in `accepted` is to have the message, and no other."""

    PER_ENTRY, FIRST = 5, 10_000_000  # numbers of its recipients: nobody else's

    def __init__(self, group, domains):
        super().__init__(daemon=True)
        self.accepted, self.repeated, self.failure = [], 0, None
        self._store, self._domains, self._over, self._failed = group.store(), domains, threading.Event(), threading.Event()

    def _confirmed(self, number, recipients):
        text = json.dumps({"id": f"entry-{number}", "from": "bounce@engine.test",
                           "content": {"headers": {"From": "shop@engine.test", "Subject": "Hello"}, "text": "Dear customer\n"},
                           "recipients": [{"to": to} for to in recipients]})
        while not self._failed.is_set():
            try:
                self._store.once("XADD", f"{faults.SPACE}:submit", "*", "json", text, replicas=1)
                return
            except OSError:
                self._store.close()
            except faults.RedisError as error:
                if not REFUSED_FOR_NOW.match(str(error)):
                    raise
            self.repeated += 1
            self._over.wait(faults.LOOK_S)

    def run(self):
        number = 0
        try:
            while not self._over.is_set():
                recipients = faults.recipients(self.FIRST + number * self.PER_ENTRY, self.PER_ENTRY, self._domains)
                self._confirmed(number, recipients)
                self.accepted += recipients
                number += 1
                self._over.wait(faults.LOOK_S)
        except faults.RedisError as error:
            self.failure = error

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *why):
        if why[0]:
            self._failed.set()  # the group may never confirm anything again
        self.finish()

    def finish(self):
        """Ends it, the last entry confirmed."""
        self._over.set()
        self.join()
        self._store.close()
        if self.failure:
            raise self.failure


class Group:
    """Starts its servers, ends what it started."""

    def __init__(self):
        self.stack = ExitStack()

    def __enter__(self):
        try:
            self.begin()
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(self, *why):
        return self.stack.__exit__(*why)

    def start(self, server):
        return self.stack.enter_context(server)

    def store(self):
        return faults.Store(self.find)


class Sentinels(Group):
    """One primary, two replicas, three sentinels."""

    NAME, DOWN_MS = "mail", 1000

    def begin(self):
        # A primary that lost its replicas takes no writes: what it took would be lost with it.
        safe = ("min-replicas-to-write 1", "min-replicas-max-lag 5")
        first = self.start(Server(*safe))
        self.servers = [first, *(self.start(Server(*safe, f"replicaof 127.0.0.1 {first.port}")) for _ in range(2))]
        self.sentinels = [self.start(Server(
            f"sentinel monitor {self.NAME} 127.0.0.1 {first.port} 2", f"sentinel down-after-milliseconds {self.NAME} {self.DOWN_MS}",
            f"sentinel failover-timeout {self.NAME} 5000", f"sentinel parallel-syncs {self.NAME} 2", sentinel=True)) for _ in range(3)]
        self.url = "redis+sentinel://" + ",".join(f"127.0.0.1:{it.port}" for it in self.sentinels) + f"/{self.NAME}"
        self.until_whole()

    def find(self):
        """The primary's address as the sentinels tell it."""
        for sentinel in self.sentinels:
            try:
                host, port = sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.NAME)
                return host, int(port)
            except (OSError, TypeError):
                continue
        return None

    def primary(self):
        address = self.find()
        return next((it for it in self.servers if it.address == address), None)

    def replaced(self, old):
        """Whether `old` has been replaced, and the other replica follows the new primary: until then it takes what `old` tells it."""
        new = self.primary()
        try:
            return new not in (None, old) and all(
                int(it.info("replication").get("master_port", 0)) == new.port for it in self.servers if it not in (old, new))
        except OSError:
            return False

    def _whole(self):
        primary = self.primary()
        try:
            known = [int(dict(zip(row[::2], row[1::2]))["num-other-sentinels"]) for row in
                     (it.ask("SENTINEL", "MASTER", self.NAME) for it in self.sentinels)]
            return (primary and primary.alive() and primary.info("replication").get("role") == "master" and known == [2] * 3 and
                    sum(f"slave{i}" in primary.info("replication") and "state=online" in primary.info("replication")[f"slave{i}"]
                        for i in range(2)) == 2)
        except (OSError, faults.RedisError):
            return False

    def until_whole(self):
        """Waits until the primary has both replicas and all sentinels know each other."""
        faults.wait_until(self._whole, "a primary with two replicas", *(it for it in self.servers if it.alive()))


class Cluster(Group):
    """Three primaries with a replica each."""

    TIMEOUT_MS = 1500

    def begin(self):
        self.servers = []
        for _ in range(6):
            self.servers.append(self.start(Server(
                "cluster-enabled yes", f"cluster-port {peers.free_port()}", f"cluster-node-timeout {self.TIMEOUT_MS}",
                "cluster-require-full-coverage no", "cluster-replica-validity-factor 0")))
        subprocess.run(["redis-cli", "--cluster", "create", *(f"127.0.0.1:{it.port}" for it in self.servers), "--cluster-replicas", "1",
                        "--cluster-yes"], check=True, capture_output=True)
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{it.port}" for it in self.servers)
        self.until_whole()

    def find(self):
        return next((it.address for it in self.servers if it.alive()), None)

    def primaries(self):
        found = []
        for server in self.servers:
            try:
                if server.alive() and server.info("replication")["role"] == "master":
                    found.append(server)
            except (OSError, KeyError):
                continue
        return found

    def partitions_of(self, server):
        """The partitions whose keys are on that primary."""
        found = []
        for partition in range(faults.PARTITIONS):
            slot = server.ask("CLUSTER", "KEYSLOT", f"{faults.SPACE}:{{{partition}}}:n")
            found += [partition for first, last, primary, *_ in server.ask("CLUSTER", "SLOTS")
                      if first <= slot <= last and primary[1] == server.port]
        return found

    def _whole(self):
        try:
            primaries = self.primaries()
            return (len(primaries) == 3 and all("cluster_state:ok" in it.ask("CLUSTER", "INFO") for it in self.servers) and
                    all("state=online" in it.info("replication").get("slave0", "") for it in primaries))
        except OSError:
            return False

    def until_whole(self):
        faults.wait_until(self._whole, "three primaries with a replica each", *(it for it in self.servers if it.alive()))
