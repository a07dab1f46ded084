"""The scripts that a job meets on its way, each alone: whose a partition is, taking in, leasing, ending, coming due."""

import json
import random
import time
import unittest

from scripts_bed import EPOCH, RedisError, Scripts, ids, leased, record

DAY_MS = 86400000


class Ownership(Scripts):
    def acquire(self, node, instance):
        p = self.partition
        reply = p.eval("acquire", [p.key("e"), p.key("o"), p.key("h")], node, f"{node}/0/{instance}", 100000)
        return (int(reply[1]), int(reply[2])) if reply[0] == "OK" else None

    def test_other_nodes_are_respected_and_an_unbroken_tenure_is_told(self):
        first, since = self.acquire("n1", "a")
        self.assertEqual(since, first)
        self.assertIsNone(self.acquire("n2", "b"))
        self.assertIsNone(self.acquire("n", "b"), "a prefix of the name is another name")
        second, since = self.acquire("n1", "a")
        self.assertGreater(second, first)
        self.assertEqual(since, first, "the same process, after a lost connection")
        third, since = self.acquire("n1", "later")
        self.assertEqual(since, third, "the node's next process")
        self.redis("DEL", self.partition.key("o"))
        self.assertIsNotNone(self.acquire("n2", "b"))
        self.redis("DEL", self.partition.key("o"))
        last, since = self.acquire("n1", "later")
        self.assertEqual(since, last, "there was somebody else")

    def test_another_worker_of_the_process_is_respected_too(self):
        p = self.partition
        self.acquire("n1", "a")
        other = p.eval("acquire", [p.key("e"), p.key("o"), p.key("h")], "n1", "n1/1/a", 100000)
        self.assertEqual(other, ["TAKEN", "n1/0/a"], "what it has in flight would be sent twice")

    def test_an_epoch_never_comes_back_when_redis_forgets(self):
        before, _ = self.acquire("n1", "a")
        self.redis("FLUSHALL")
        after, since = self.acquire("n1", "a")
        self.assertGreater(after, before)
        self.assertEqual(since, after)
        self.redis("SET", self.partition.key("e"), 9000000000000000)  # a clock that was wrong
        self.assertEqual(self.acquire("n1", "a")[0], 9000000000000001)

    def test_renew_prolongs_takes_up_again_and_gives_up(self):
        p = self.partition
        epoch, _ = self.acquire("n1", "a")
        keys = [p.key("e"), p.key("o")]
        self.redis("PEXPIRE", p.key("o"), 60000)
        self.assertEqual(p.eval("renew", keys, epoch, "n1/0/a", 100000), "OK")
        self.assertGreater(self.redis("PTTL", p.key("o")), 60000)
        self.redis("DEL", p.key("o"))  # ran out, and nobody came
        self.assertEqual(p.eval("renew", keys, epoch, "n1/0/a", 100000), "OK")
        self.assertEqual(self.redis("GET", p.key("o")), "n1/0/a")
        self.assertEqual(p.eval("renew", keys, epoch, "n1/0/a", 0), "OK")
        self.assertEqual(self.exists("o"), 0)

    def test_join_tells_who_is_alive_and_forgets_who_was_silent_for_a_day(self):
        p = self.partition
        for name, age in (("n2/0", 0), ("n3/0", 60000), ("n4/0", 2 * DAY_MS)):
            self.redis("HSET", "e:nodes", name, '{"seen_ms":%d,"pid":1}' % (p.now - age))
        self.assertEqual(sorted(p.eval("join", ["e:nodes"], "n1/0", '"pid":7', 10000)), ["n1/0", "n2/0"])
        self.assertEqual(json.loads(self.redis("HGET", "e:nodes", "n1/0"))["pid"], 7)
        self.assertEqual(sorted(self.redis("HKEYS", "e:nodes")), ["n1/0", "n2/0", "n3/0"])
        self.assertEqual(p.eval("join", ["e:nodes"], "n1/0", "", 10000), ["n2/0"])


class Enqueue(Scripts):
    def test_each_part_is_taken_once_and_in_order(self):
        p = self.partition
        groups = [("a.test", p.jobs("s", 2))]
        self.assertEqual(p.enqueue("s", groups, "1-1", 1), ["GAP"])
        self.assertEqual(p.enqueue("s", groups, "1-1", 0), ["OK", 0, 0])
        self.assertEqual(p.enqueue("s", groups, "1-1", 0), ["SEEN"])
        self.assertEqual(p.enqueue("s", [("a.test", p.jobs("s", 1, first=2))], "1-1", 1), ["OK", 0, 0])
        self.assertEqual(ids(self.redis("LRANGE", p.key("q:a.test s"), 0, -1)), ["s-0", "s-1", "s-2"])
        self.assertEqual(p.totals(), {"accepted": 3})
        self.assertEqual(p.totals("g:s")["accepted"], 3)
        self.assertEqual(p.totals("c:acme/june")["accepted"], 3)
        self.assertEqual(p.totals("g:s")["open"], 3)

    def test_a_recipients_key_that_was_used_sends_nothing_again(self):
        p = self.partition
        self.assertEqual(p.enqueue("s", [("a.test", ["k", "", "k"], p.jobs("s", 3))]), ["OK", 1, 0])
        self.assertEqual(p.enqueue("r", [("a.test", ["k"], p.jobs("r", 1))]), ["OK", 1, 0])
        self.assertEqual(p.enqueue("o", [("a.test", ["k"], p.jobs("o", 1))], flow="bob/june"), ["OK", 0, 0],
                         "another tenant's keys are others")
        self.assertEqual(self.redis("GET", p.key("y:acme/k")), "s-0")
        self.assertEqual(p.totals(), {"accepted": 3, "repeated": 2})
        self.assertEqual(p.totals("g:r")["open"], 0)

    def test_the_first_parts_fields_stay(self):
        p = self.partition
        p.enqueue("s", [("a.test", p.jobs("s", 1))], expires=p.now + 50000)
        p.enqueue("s", [("b.test", p.jobs("s", 1, "b.test", 1))], **{"class": "t", "flow": "other/"})
        self.assertEqual(self.redis("HGET", p.key("g:s"), "flow"), "acme/june")
        self.assertEqual(self.redis("HGET", p.key("s:b"), "b.test"), "s")
        self.assertEqual(self.redis("HGET", p.key("g:s"), "at"), str(p.now))

    def test_500_jobs_in_500_destinations_are_one_call(self):
        p = self.partition
        p.enqueue("s", [(f"d{i}.test", p.jobs("s", 1, f"d{i}.test", i)) for i in range(500)])
        self.assertEqual(self.redis("ZCARD", p.key("x")), 500)
        self.assertEqual(self.redis("ZCARD", p.key("r:b")), 500)

    def test_the_hash_outlives_expiry_by_the_time_to_keep_counters(self):
        p = self.partition
        p.enqueue("s", [("a.test", p.jobs("s", 1))], expires=p.now + 1000000)
        self.assertAlmostEqual(self.redis("TTL", p.key("g:s")), 86400 + 1000, delta=60)
        p.enqueue("old", [("a.test", p.jobs("old", 1))], expires=1)
        self.assertAlmostEqual(self.redis("TTL", p.key("g:old")), 86400, delta=60)


class Lease(Scripts):
    def test_a_destination_has_the_classes_apart(self):
        p = self.partition
        for letter in "tdb":
            p.enqueue(letter, [("a.test", p.jobs(letter, 1))], **{"class": letter})
        self.assertEqual(ids(leased(p.lease([("t", "a.test", 9, 0)]))), ["t-0"])
        self.assertEqual(ids(leased(p.lease(discoveries=[("d", 9, 9, 0), ("b", 9, 9, 0)]))), ["d-0", "b-0"])

    def test_the_deadline_class_goes_by_expiry_others_by_acceptance(self):
        p = self.partition
        for letter in "db":
            p.enqueue(letter + "1", [("a.test", p.jobs(letter + "1", 1))], accepted=p.now - 9, expires=p.now + 90000,
                      **{"class": letter})
            p.enqueue(letter + "2", [("a.test", p.jobs(letter + "2", 1))], accepted=p.now - 1, expires=p.now + 80000,
                      **{"class": letter})
            order = ["d2-0", "d1-0"] if letter == "d" else ["b1-0", "b2-0"]
            self.assertEqual(ids(leased(p.lease([(letter, "a.test", 9, 0)]))), order)

    def test_shares_follow_weights_within_a_quantum_while_both_flows_wait(self):
        p, rng = self.partition, random.Random(1)
        p.enqueue("s", [("a.test", p.jobs("s", 5000))], flow="acme/june", weight="1")
        p.enqueue("r", [("a.test", p.jobs("r", 5000))], flow="acme/july", weight="4")
        p.enqueue("o", [("a.test", p.jobs("o", 5000))], flow="bob/")
        self.redis("HSET", p.key("v"), "bob", "3")
        shares, had, largest = {"s": 0.25 / 5, "r": 0.25 * 4 / 5, "o": 0.75}, {"s": 0, "r": 0, "o": 0}, 8
        for _ in range(120):
            jobs = rng.choice([1, 2, 7, 33, 64])
            largest = max(largest, jobs // 3 // 2)
            for job_id in ids(leased(p.lease([("b", "a.test", jobs, 0)]))):
                had[job_id[0]] += 1
            served = sum(had.values())
            for name, share in shares.items():
                self.assertLess(abs(had[name] - served * share), 2 * largest, f"{had} of {served}")

    def test_a_new_flow_neither_pays_for_the_past_nor_is_paid(self):
        p = self.partition
        p.enqueue("s", [("a.test", p.jobs("s", 1000))])
        p.lease([("b", "a.test", 500, 0)])
        p.enqueue("o", [("a.test", p.jobs("o", 1000))], flow="bob/")
        first = [job_id[0] for job_id in ids(leased(p.lease([("b", "a.test", 200, 0)])))]
        self.assertLessEqual(abs(first.count("s") - first.count("o")), 100)

    def test_of_many_flows_all_get_their_turn(self):
        p = self.partition
        for i in range(40):
            p.enqueue(f"s{i}", [("a.test", p.jobs(f"s{i}", 100))], flow=f"t{i}/")
        had = set()
        for _ in range(10):
            had |= {job_id.split("-")[0] for job_id in ids(leased(p.lease([("b", "a.test", 64, 0)])))}
        self.assertEqual(len(had), 40)

    def test_one_call_looks_at_500_queues_and_the_rest_stays_due(self):
        p = self.partition
        for i in range(3):
            for j in range(300):
                p.enqueue(f"s{i}x{j}", [(f"d{i}.test", p.jobs(f"s{i}x{j}", 1, f"d{i}.test"))])
        first = p.lease([("b", f"d{i}.test", 300, 60000) for i in range(3)])
        self.assertLessEqual(len(leased(first)), 500)
        self.assertEqual([(visit[1], visit[2] > 0) for visit in first],
                         [("d0.test", False), ("d1.test", True), ("d2.test", True)])
        rest = leased(p.lease(discoveries=[("b", 1000, 1000, 0)]))
        self.assertEqual(len(set(ids(leased(first)) + ids(rest))), 900)

    def test_held_queues_are_set_aside_until_a_walk_links_them(self):
        p = self.partition
        for i in range(100):
            p.enqueue(f"s{i}", [("a.test", p.jobs(f"s{i}", 1))], accepted=p.now + i)
        self.redis("HSET", p.key("a"), "o", '{"id":"o","action":"suspend","before":%d}' % (p.now + 90))
        self.assertEqual(len(leased(p.lease([("b", "a.test", 100, 0)]))), 10)
        self.assertEqual(p.lease([("b", "a.test", 100, 0)]), [("b", "a.test", 0, [])])
        self.redis("HDEL", p.key("a"), "o")
        self.assertEqual(p.walk("link", {})[1:], [90, 90])
        self.assertEqual(len(leased(p.lease([("b", "a.test", 100, 0)]))), 90)

    def test_orders_hold_by_each_of_their_filters(self):
        p = self.partition
        self.redis("HSET", p.key("l"), "a.b.test", "mx1.host.test mx2.host.test")
        table = (
            ({"class": "b"}, True), ({"class": "t"}, False), ({"tenant": "acme"}, True), ({"tenant": "acm"}, False),
            ({"campaign": "june"}, True), ({"campaign": ""}, False), ({"submission": "s"}, True),
            ({"submission": "s2"}, False), ({"destination": "a.b.test"}, True), ({"destination": "b.test"}, False),
            ({"destination": "*.b.test"}, True), ({"destination": "*.a.b.test"}, False),
            ({"destination": "*.test"}, True), ({"destination": "a.b"}, False), ({"site": "mx2.host.test"}, True),
            ({"site": "host.test"}, False), ({"site": "*.host.test"}, True), ({"before": p.now + 1}, True),
            ({"before": p.now}, False), ({}, True), ({"tenant": "acme", "campaign": "july"}, False),
            ({"tenant": "acme", "done": True}, False), ({"tenant": "acme", "action": "move", "pool": "x"}, False),
        )
        for found, held in table:
            for name in ("o", "c:acme/june"):
                if name != "o" and found.get("tenant") != "acme":
                    continue
                with self.subTest(order=found, id=name):
                    self.setUp()
                    self.redis("HSET", p.key("l"), "a.b.test", "mx1.host.test mx2.host.test")
                    self.redis("HSET", p.key("a"), name, json.dumps({"id": name, "action": "suspend", "at": 1, **found}))
                    p.enqueue("s", [("a.b.test", p.jobs("s", 1))])
                    self.assertEqual(len(leased(p.lease([("b", "a.b.test", 1, 0)]))), 0 if held else 1)

    def test_the_latest_move_names_the_pool(self):
        p = self.partition
        for at, pool in ((3, "three"), (9, "nine"), (5, "five")):
            self.redis("HSET", p.key("a"), f"o{at}", json.dumps({"id": "o", "action": "move", "at": at, "pool": pool}))
        p.enqueue("s", [("a.test", p.jobs("s", 1))], pool="own")
        self.assertEqual(p.lease([("b", "a.test", 1, 0)])[0][3][0][3], "nine")

    def test_parked_destinations_are_not_offered_in_any_class(self):
        p = self.partition
        for letter in "tb":
            p.enqueue(letter, [("a.test", p.jobs(letter, 2))], **{"class": letter})
        all_classes = [("t", 9, 9, 0), ("b", 9, 9, 0)]
        p.lease(parks=[("a.test", p.now + 60000)])
        self.assertEqual(p.lease(discoveries=all_classes), [])
        p.enqueue("late", [("a.test", p.jobs("late", 1))], **{"class": "d"})
        self.assertEqual(p.lease(discoveries=[("d", 9, 9, 0)]), [])
        self.assertEqual(ids(leased(p.lease([("t", "a.test", 1, 0)]))), ["t-0"], "asked by name it answers")
        self.assertEqual(p.lease(discoveries=all_classes), [], "and stays parked")
        p.lease(parks=[("a.test", 0)])
        self.assertEqual(len(leased(p.lease(discoveries=all_classes))), 3)
        self.assertEqual(self.exists("k"), 0)

    def test_suppressed_jobs_end_and_a_submission_that_ends_so_is_told(self):
        p = self.partition
        p.enqueue("s", [("a.test", p.jobs("s", 2))])
        for i in range(2):
            p.call("suppress", f"u{i}@a.test", "t:acme", '{"reason":"asked for"}')
        self.assertEqual(p.lease([("b", "a.test", 5, 0)]), [("b", "a.test", 0, [])])
        self.assertEqual([(event["type"], event["text"]) for event in p.events()], [("suppressed", "asked for")] * 2)
        self.assertEqual(p.totals(), {"accepted": 2, "suppressed": 2})
        self.assertEqual(p.tick()[3], ["s"])
        self.assertEqual(p.tick()[3], [])

    def test_what_was_taken_before_an_error_is_in_flight_and_written_down(self):
        p = self.partition
        for i in range(3):
            p.enqueue(f"s{i}", [(f"d{i}.test", p.jobs(f"s{i}", 2, f"d{i}.test"))])
        self.redis("DEL", p.key("q:d1.test s1"))
        self.redis("SET", p.key("q:d1.test s1"), "x")
        with self.assertRaisesRegex(RedisError, "WRONGTYPE"):
            p.lease([("b", f"d{i}.test", 2, 0) for i in range(3)])
        self.assertEqual(sorted(self.redis("HKEYS", p.key("i"))), ["s0-0", "s0-1"])
        self.assertEqual(self.redis("ZSCORE", p.key("x"), "d0.test s0"), None)
        self.assertEqual(len(leased(p.lease([("b", "d2.test", 2, 0)]))), 2)

    def test_an_error_amid_a_queue_loses_none_of_its_jobs(self):
        p = self.partition
        p.enqueue("s", [("a.test", p.jobs("s", 3))])
        self.redis("HSET", p.key("u"), "u1@a.test", "not JSON")
        with self.assertRaises(RedisError):
            p.lease([("b", "a.test", 3, 0)])
        self.assertEqual(sorted(self.redis("HKEYS", p.key("i"))), ["s-0", "s-1", "s-2"])

    def test_a_metered_campaign_gets_what_it_was_granted_however_many_destinations_it_has(self):
        p = self.partition
        p.call("grant", "acme/june", "on", 5, 5, 0)
        p.enqueue("s", [(f"d{i}.test", p.jobs("s", 3, f"d{i}.test", 3 * i)) for i in range(4)])
        self.assertEqual(len(leased(p.lease(discoveries=[("b", 100, 100, 0)]))), 5)
        self.assertEqual(len(leased(p.lease(discoveries=[("b", 100, 100, 0)]))), 0)
        self.assertEqual(p.call("grant", "acme/june", "on", 2, 5, 100)[:4], [2, 5, 1, 12])
        self.assertEqual(len(leased(p.lease(discoveries=[("b", 100, 100, 0)]))), 2)
        self.assertEqual(p.call("grant", "acme/june", "off", 0, 0, 100)[:3], [0, 0, 0])
        self.assertEqual(len(leased(p.lease(discoveries=[("b", 100, 100, 0)]))), 5)


class Ack(Scripts):
    def leased(self, n):
        p = self.partition
        p.enqueue("s", [("a.test", p.jobs("s", n))])
        self.assertEqual(len(leased(p.lease([("b", "a.test", n, 0)]))), n)
        return p

    def test_an_outcome_counts_once_however_often_it_is_told(self):
        p = self.leased(2)
        self.assertEqual(p.ack([("s-0", "delivered"), ("s-0", "bounced"), ("nobody-0", "bounced")]), [1])
        self.assertEqual(p.ack([("s-0", "delivered")]), [0])
        self.assertEqual(p.ack([("s-1", "bounced", 1)]), [1, "s"])
        self.assertEqual(p.totals(), {"accepted": 2, "delivered": 1, "bounced": 1, "unknown": 1})
        self.assertEqual(len(p.events()), 2)
        self.assertAlmostEqual(self.redis("TTL", p.key("g:s")), 86400, delta=60)

    def test_a_retry_waits_until_it_is_due_and_no_longer_than_its_expiry(self):
        p = self.leased(2)
        later = record("s-0", "u0@a.test", 1, 0, "451 later")
        p.ack([("s-0", "retry", 0, p.now + 60000, later), ("s-1", "retry", 0, p.now + 10 * DAY_MS)])
        due = dict(zip(*[iter(self.redis("ZRANGE", p.key("t"), 0, -1, "WITHSCORES"))] * 2))
        self.assertEqual(due["a.test\t" + later], str(p.now + 60000))
        self.assertEqual(sorted(due.values())[1], str(p.now + DAY_MS))

    def test_a_release_goes_to_the_head_and_may_be_leased_again(self):
        p = self.leased(2)
        p.enqueue("s", [("a.test", p.jobs("s", 1, first=2))])
        self.assertEqual(p.ack([("s-1", "release"), ("s-0", "release")]), [2])
        self.assertEqual(ids(leased(p.lease([("b", "a.test", 9, 0)]))), ["s-0", "s-1", "s-2"])
        self.assertEqual(p.events(), [])

    def test_jobs_of_a_forgotten_submission_end_as_expired(self):
        p = self.leased(3)
        self.redis("DEL", p.key("g:s"))
        self.assertEqual(p.ack([("s-0", "release"), ("s-1", "retry", 0, p.now + 5000), ("s-2", "delivered")]), [3])
        p.tick()
        self.assertEqual(p.totals(), {"accepted": 3, "delivered": 1, "deferred": 1, "expired": 2})
        self.assertEqual(self.exists("g:s", "x", "t", "q:a.test s"), 0)

    def test_events_are_trimmed_to_the_number_to_keep(self):
        p = self.leased(3000)
        for first in range(0, 3000, 250):
            p.call("ack", EPOCH, 500, 86400, *[text for i in range(first, first + 250)
                                               for text in (f"s-{i:x}", "s", "delivered", 0, 0, "", "{}")])
        self.assertLess(self.redis("XLEN", p.key("ev")), 800)


class Tick(Scripts):
    def test_what_expires_ends_wherever_it_is(self):
        p = self.partition
        soon = p.now + 200
        p.enqueue("s", [("a.test", p.jobs("s", 4)), ("b.test", p.jobs("s", 2, "b.test", 4))], expires=soon)
        p.enqueue("w", [("a.test", p.jobs("w", 1))], expires=soon, start=p.now + 150)
        self.redis("HSET", p.key("a"), "o", '{"id":"o","action":"suspend","destination":"b.test"}')
        p.lease([("b", "a.test", 2, 0), ("b", "b.test", 2, 0)])
        p.ack([("s-0", "retry", 0, p.now + 9 * DAY_MS), ("s-1", "release")])
        while p.totals().get("expired", 0) < 7:
            told = p.tick()[3]
        self.assertEqual(sorted(told), ["s", "w"])
        self.assertEqual({event["type"] for event in p.events() if "type" in event}, {"expired"})
        self.assertEqual(self.exists("x", "t", "w", "d:b:a.test", "q:a.test s", "q:b.test s"), 0)

    def test_one_call_ends_no_more_than_it_may_and_says_that_there_is_more(self):
        p = self.partition
        p.enqueue("s", [(f"d{i}.test", p.jobs("s", 50, f"d{i}.test", 50 * i)) for i in range(10)], expires=1)
        calls = 0
        more = 1
        while more:
            more = p.tick(room=120)[0]
            calls += 1
            self.assertLessEqual(p.totals()["expired"], 120 * calls)
        self.assertEqual(p.totals(), {"accepted": 500, "expired": 500})
        self.assertEqual(calls, 5)

    def test_due_retries_come_back_in_order_before_what_waits(self):
        p = self.partition
        p.enqueue("s", [("a.test", p.jobs("s", 3))])
        p.lease([("b", "a.test", 2, 0)])
        p.ack([("s-1", "retry", 0, 10), ("s-0", "retry", 0, 20)])
        self.assertEqual(p.tick(most=1)[0], 1)
        self.assertEqual(p.tick()[0], 0)
        self.assertEqual(ids(leased(p.lease([("b", "a.test", 9, 0)]))), ["s-0", "s-1", "s-2"])

    def test_scheduled_queues_open_when_their_time_has_come_and_windows_close_again(self):
        p = self.partition
        p.enqueue("s", [("a.test", p.jobs("s", 2))], start=p.now + 300)
        p.enqueue("w", [("b.test", p.jobs("w", 2, "b.test"))], windows=f"{p.now - 9}-{p.now} {p.now + 300}-{p.now + 9000000}")
        p.enqueue("v", [("c.test", p.jobs("v", 2, "c.test"))], windows=f"1-2 {p.now - 9}-{p.now + 600}")
        everything = [("b", 99, 1, 0)]
        self.assertEqual(ids(leased(p.lease(discoveries=everything))), ["v-0"])
        found = []
        while len(found) < 2:
            p.tick()
            found += ids(leased(p.lease(discoveries=[("b", 99, 9, 0)]))) if time.time() * 1000 > p.now + 600 else []
        self.assertNotIn("v-1", found, "its window is closed")
        self.assertEqual(sorted(found), ["s-0", "s-1", "w-0", "w-1"])
        self.assertEqual(self.redis("ZSCORE", p.key("w"), "c.test v"), str(p.now + DAY_MS))

    def test_notices_and_orders_are_told(self):
        p = self.partition
        for i in range(700):
            p.call("suppress", f"u{i}@a.test", "g", "{}")
        self.redis("HSET", p.key("a"), "o", '{"id":"o"}')
        more, orders, notices, _ = p.tick()
        self.assertEqual((more, orders, len(notices)), (1, ['{"id":"o"}'], 1500))
        more, _, rest, _ = p.tick(last=notices[-3])
        self.assertEqual((more, rest[1::3]), (0, [f"u{i}@a.test" for i in range(500, 700)]))

    def test_events_are_trimmed_although_nothing_is_acked(self):
        p = self.partition
        p.enqueue("s", [("a.test", p.jobs("s", 3000))], expires=1)
        while p.tick(keep=500)[0]:
            pass
        self.assertLess(self.redis("XLEN", p.key("ev")), 800)

if __name__ == "__main__":
    unittest.main()
