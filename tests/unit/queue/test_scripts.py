"""Every script of the queue: what a wrong key does, what runs at maxmemory, that its keys are of one slot. What each of them is for
is tried in test_scripts_jobs.py and test_scripts_orders.py, what they do together in test_queue_model.py."""

import glob
import os
import time
import unittest

from scripts_bed import EPOCH, LUA, NAMES, Partition, RedisError, Scripts, Server, ids, leased, load, snapshot

from scenario import peers

SCREEN = 100  # lines


# A call of each script with the state that it needs, and its reply (None: any). The state is one where every step of the
# script has something to do.

def furnish(partition):
    p, redis = partition, partition.redis
    p.epoch(EPOCH)
    p.enqueue("s1", [("a.test", p.jobs("s1", 3)), ("b.test", p.jobs("s1", 3, "b.test", 3))])
    p.enqueue("s2", [("a.test", p.jobs("s2", 2))], **{"class": "t"})
    p.lease([("b", "b.test", 2, 0)])
    p.ack([("s1-3", "retry", 0, 1)])
    p.enqueue("s3", [("c.test", p.jobs("s3", 2, "c.test"))], expires=1)
    p.enqueue("s4", [("d.test", p.jobs("s4", 2, "d.test"))])
    p.walk("cancel", {"id": "o1", "submission": "s4"})
    p.enqueue("s5", [("e.test", p.jobs("s5", 2, "e.test"))], flow="bob/x")
    p.call("grant", "bob/x", "on", 0, 10, 0)
    p.lease([("b", "e.test", 2, 0)])
    p.enqueue("s6", [("f.test", p.jobs("s6", 1, "f.test"))], start=p.now + 86000000)
    redis("ZADD", p.key("w"), 1, "f.test s6")
    p.enqueue("s7", [(f"{name}.test", p.jobs("s7", 1, f"{name}.test", i)) for i, name in enumerate("abde")])
    p.call("suppress", "v@a.test", "g", '{"reason":"x"}')
    redis("HSET", p.key("a"), "o2", '{"id":"o2","action":"suspend","destination":"z.test"}')
    redis("HSET", "e:campaigns", "acme/june", '{"state":"running"}')
    redis("SADD", "e:o:{s1}", "*", "0")
    redis("SET", "e:s:{s1}", "{}")
    redis("XADD", "e:submit", "1-1", "json", "{}")
    redis("XGROUP", "CREATE", "e:submit", "eilpost", "0", "MKSTREAM")
    redis("HSET", "e:c:{s1}", "0", "1-1")


CALLS = {
    "acquire": lambda p: p.eval("acquire", [p.key("e"), p.key("o"), p.key("h")], "n1", "n1/0/a", 10000),
    "renew": lambda p: p.eval("renew", [p.key("e"), p.key("o")], EPOCH, "n1/0/a", 10000),
    "enqueue": lambda p: p.enqueue("s9", [("a.test", ["k", ""], p.jobs("s9", 2))], entry="9-9", weight="2"),
    "lease": lambda p: p.call("lease", EPOCH, "n1", 1000, 86400, 1, "x.test", p.now + 60000, 1, "b", "a.test", 2, 1000,
                              1, "t", 5, 5, 1000),
    "ack": lambda p: p.ack([("s1-4", "release")]),
    "tick": lambda p: p.tick(),
    "walk": lambda p: p.walk("cancel", {"id": "o1", "destination": "a.test"}),
    "restore": lambda p: p.call("restore", "o1", 10, 86400),
    "suppress": lambda p: p.call("suppress", "w@a.test", "g", "{}"),
    "grant": lambda p: p.call("grant", "bob/x", "on", 5, 5, 100),
    "survey": lambda p: p.call("survey", "x", "0", 100),
    "campaign": lambda p: p.eval("campaign", ["e:campaigns"], "acme/june", '{"state":"paused"}', 0),
    "conclude": lambda p: p.eval("conclude", [p.key("a")], "o2", p.redis("HGET", p.key("a"), "o2")),
    "join": lambda p: p.eval("join", ["e:nodes"], "n1/0", '"pid":1', 10000),
    "release": lambda p: p.eval("release", ["e:o:{s1}", "e:s:{s1}"], "0"),
    "chunk": lambda p: p.eval("chunk", ["e:c:{s1}"], "100", "2-1", 60),
    "read": lambda p: p.eval("read", ["e:submit"], "eilpost", "n1", ">", 10, 1000000),
    "seal": lambda p: p.eval("seal", ["e:o:{s1}", "e:c:{s1}"], 60, "0", "1-1", 100, 1),
    "store": lambda p: p.eval("store", ["e:o:{s9}", "e:s:{s9}"], "{}", p.now // 1000 + 60, "0", "3"),
    "consumed": lambda p: p.eval("consumed", ["e:submit"], "eilpost", "1-1"),
}
REFUSED_WHEN_FULL = {"enqueue", "restore", "suppress", "chunk", "store"}
# What each script touches in the partition.
FIXED = ["x", "t", "i", "n", "ev"]
INDEX = [*FIXED, "w", "k", "r:t", "r:d", "r:b", "s:t", "s:d", "s:b"]
TOUCHED = {
    "enqueue": [*INDEX, "u", "c:acme/june", "g:s9", "q:a.test s9", "d:b:a.test", "f:b:a.test acme/june", "m:9-9"],
    "lease": [*INDEX, "u", "a"],  # what it meets later, it stops at: test_scripts_jobs.py
    "ack": [*INDEX, "c:acme/june", "g:s1", "q:b.test s1", "d:b:b.test", "f:b:b.test acme/june"],
    "tick": [*INDEX, "un", "fin", "c:acme/june", "g:s1", "g:s3", "g:s6", "q:b.test s1", "q:c.test s3", "q:f.test s6",
             "d:b:b.test", "f:b:b.test acme/june", "a"],
    "walk": [*INDEX, "a", "c:acme/june", "g:s1", "z:o1", "q:a.test s1", "d:b:a.test", "f:b:a.test acme/june"],
    "restore": [*INDEX, "c:acme/june", "g:s4", "z:o1", "q:d.test s4", "d:b:d.test", "f:b:d.test acme/june"],
    "suppress": [*FIXED, "u", "un"],
    "grant": [*INDEX, "c:bob/x", "b:bob/x", "g:s5", "q:e.test s5", "d:b:e.test", "f:b:e.test bob/x"],
    "survey": FIXED,
}


class EveryScript(Scripts):
    def test_each_has_a_call_here_and_fits_a_screen(self):
        self.assertEqual(sorted(CALLS), NAMES)
        for path in glob.glob(os.path.join(LUA, "**", "*.lua"), recursive=True):
            with open(path) as file:
                self.assertLessEqual(len(file.readlines()), SCREEN, path)

    def test_each_runs_on_a_furnished_partition(self):
        for name, call in CALLS.items():
            with self.subTest(name):
                self.setUp()
                furnish(self.partition)
                before = snapshot(self.redis)
                call(self.partition)
                if name != "survey":
                    self.assertNotEqual(snapshot(self.redis), before)

    def test_at_maxmemory_those_that_drain_the_queue_run_and_those_that_fill_it_are_refused(self):
        for name, call in CALLS.items():
            with self.subTest(name):
                self.setUp()
                furnish(self.partition)
                self.redis("CONFIG", "SET", "maxmemory", 1)
                before = snapshot(self.redis)
                if name in REFUSED_WHEN_FULL:
                    with self.assertRaisesRegex(RedisError, "OOM"):
                        call(self.partition)
                    self.assertEqual(snapshot(self.redis), before)
                else:
                    call(self.partition)

    def test_a_key_of_a_wrong_type_leaves_everything_as_it_was(self):
        for name, keys in TOUCHED.items():
            for key in keys:
                with self.subTest(script=name, key=key):
                    self.setUp()
                    furnish(self.partition)
                    self.redis("DEL", self.partition.key(key))
                    if key.startswith("m:"):
                        self.redis("RPUSH", self.partition.key(key), "x")
                    else:
                        self.redis("SET", self.partition.key(key), "x")
                    before = snapshot(self.redis)
                    with self.assertRaisesRegex(RedisError, "WRONGTYPE"):
                        CALLS[name](self.partition)
                    self.assertEqual(snapshot(self.redis), before)

    def test_a_stale_epoch_changes_nothing(self):
        furnish(self.partition)
        before = snapshot(self.redis)
        p = self.partition
        for epoch in (EPOCH - 1, EPOCH + 1):
            self.assertEqual(p.lease(discoveries=[("b", 10, 10, 0)], epoch=epoch), "STALE")
            self.assertEqual(p.ack([("s1-4", "delivered")], epoch=epoch), "STALE")
            self.assertEqual(p.tick(epoch=epoch), "STALE")
            self.assertEqual(p.eval("renew", [p.key("e"), p.key("o")], epoch, "n1/0/a", 10000), "STALE")
        self.assertEqual(snapshot(self.redis), before)


class Bounds(Scripts):
    """However much a partition holds, one call does a bounded number of steps. How long the longest calls take is measured by
    `bench/run --scenario queue`, and printed here."""

    MANY = 3000
    STEPS_MAX = 5000  # commands of one call

    def fill(self):
        p = self.partition
        for i in range(0, self.MANY, 100):
            p.enqueue(f"r{i}", [(f"d{j}.test", p.jobs(f"r{i}", 1, f"d{j}.test", j)) for j in range(i, i + 100)])
            p.enqueue(f"w{i}", [(f"d{j}.test", p.jobs(f"w{i}", 2, f"d{j}.test", j)) for j in range(i, i + 100)], flow=f"t{i}/",
                      expires=1)
            p.enqueue(f"s{i}", [("a.test", p.jobs(f"s{i}", 100))], flow=f"f{i}/")
            p.enqueue(f"b{i}", [(f"d{j}.test", p.jobs(f"b{i}", 1, f"d{j}.test", j)) for j in range(i, i + 100)], flow="bob/x")
        p.call("grant", "bob/x", "on", 0, 0, 0)
        taken = leased(p.lease(discoveries=[("b", 500, 500, 0)]))
        p.ack([(job_id, "retry", 0, 1) for job_id in ids(taken)])

    def test_the_steps_of_a_call_are_bounded(self):
        p = self.partition
        self.fill()
        flight = ids(leased(p.lease(discoveries=[("b", 256, 256, 0)])))
        calls = {
            "tick": lambda: p.tick(),
            "lease": lambda: p.lease([("b", f"d{i}.test", 200, 0) for i in range(200)], [("b", 4000, 200, 0)]),
            "ack": lambda: p.ack([(job_id, "release") for job_id in flight]),
            "grant": lambda: p.call("grant", "bob/x", "on", 10000, 10000, 200),
            "walk": lambda: p.walk("cancel", {"id": "o"}),
            "walk of retries": lambda: p.walk("cancel", {"id": "o"}, "t"),
            "restore": lambda: p.call("restore", "o", 200, 86400),
            "survey": lambda: p.call("survey", "x", "0", 500),
        }
        for name, call in calls.items():
            with self.subTest(name):
                self.redis("CONFIG", "RESETSTAT")
                call()
                lines = [line for line in self.redis("INFO", "commandstats").split("\r\n") if line.startswith("cmdstat_")]
                counts = {line[8:line.index(":")]: int(line.split("calls=")[1].split(",")[0]) for line in lines}
                took = [line for line in lines if line.startswith("cmdstat_evalsha")][0].split("usec_per_call=")[1].split(",")[0]
                print(f"{name}: {sum(counts.values())} steps, {took} µs")
                self.assertLess(sum(counts.values()), self.STEPS_MAX)


class InACluster(unittest.TestCase):
    """The scripts name one key and make the others of the same slot themselves."""

    @classmethod
    def setUpClass(cls):
        cls.servers = [cls.start(), cls.start()]
        cls.redis = cls.servers[0].client
        cls.redis("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        while "cluster_state:ok" not in cls.redis("CLUSTER", "INFO"):
            time.sleep(0.02)
        cls.scripts = load(cls.redis)

    @classmethod
    def start(cls):
        port, bus = peers.free_port(), peers.free_port()
        server = Server("--cluster-enabled", "yes", "--port", str(port), "--cluster-port", str(bus), "--bind", "127.0.0.1")
        server.port, server.bus = port, bus
        return server

    @classmethod
    def tearDownClass(cls):
        for server in cls.servers:
            server.stop()

    def test_each_script_runs(self):
        for name, call in CALLS.items():
            with self.subTest(name):
                self.redis("FLUSHALL")
                partition = Partition(self.redis, self.scripts)
                furnish(partition)
                call(partition)

    def test_while_the_slot_is_on_its_way_elsewhere_nothing_is_written(self):
        other = self.servers[1]
        self.redis("CLUSTER", "MEET", "127.0.0.1", other.port, other.bus)
        name = other.client("CLUSTER", "MYID")
        while name not in self.redis("CLUSTER", "NODES"):
            time.sleep(0.02)
        self.redis("FLUSHALL")
        partition = Partition(self.redis, self.scripts)
        furnish(partition)
        slot = self.redis("CLUSTER", "KEYSLOT", partition.key("e"))
        self.redis("CLUSTER", "SETSLOT", slot, "MIGRATING", name)
        before = snapshot(self.redis)
        for script in TOUCHED:
            with self.subTest(script):
                with self.assertRaisesRegex(RedisError, "ASK|TRYAGAIN|non local key"):
                    CALLS[script](partition)
                self.assertEqual(snapshot(self.redis), before)
        self.redis("CLUSTER", "SETSLOT", slot, "STABLE")

if __name__ == "__main__":
    unittest.main()
