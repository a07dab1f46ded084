"""The scripts of operators and campaigns, and those of the way in, each alone."""

import json
import random
import unittest

from scripts_bed import RedisError, Scripts, ids, leased, record, snapshot

DAY_MS = 86400000


class Walk(Scripts):
    def test_every_queue_is_found_while_others_come_and_go(self):
        p, rng = self.partition, random.Random(2)
        for i in range(1500):
            p.enqueue(f"s{i}", [(f"d{i}.test", p.jobs(f"s{i}", 2, f"d{i}.test"))], flow=f"acme/{'june' if i % 3 else 'july'}")
        order, cursor, jobs, number = {"id": "o", "campaign": "june"}, None, 0, 1500
        self.redis("HSET", p.key("a"), "o", json.dumps({"action": "cancel", **order}))
        while cursor != "0":
            cursor, moved, _ = p.walk("cancel", order, cursor=cursor or "0", entries=20, room=30)
            jobs += moved
            for job_id in ids(leased(p.lease(discoveries=[("b", 7, 2, 60000)]))):
                self.assertEqual(int(job_id[1:].split("-")[0]) % 3, 0, "what an order holds isn't leased")
            p.enqueue(f"s{number}", [(f"d{number}.test", p.jobs(f"s{number}", 1, f"d{number}.test"))], flow="acme/july")
            number += rng.choice([0, 1, 3]) * 3
        self.assertEqual(jobs, 2000)
        self.assertEqual(p.totals()["cancelled"], 2000)
        self.assertEqual(p.walk_through("count", order), [0, 0])
        self.assertEqual(len([event for event in p.events() if event.get("type") == "cancelled"]), 2000)

    def test_a_queue_longer_than_the_room_comes_again(self):
        p = self.partition
        p.enqueue("s", [("a.test", p.jobs("s", 500))])
        self.assertEqual(p.walk("purge", {"id": "o"}, room=200), ["00", 200, 0])
        self.assertEqual(p.walk("purge", {"id": "o"}, cursor="00", room=200), ["00", 200, 0])
        self.assertEqual(p.walk("purge", {"id": "o"}, cursor="00", room=200), ["0", 100, 1])
        self.assertEqual(p.events(), [], "no event per job")
        self.assertEqual(p.totals(), {"accepted": 500, "cancelled": 500})

    def test_counts_say_what_an_order_would_concern(self):
        p = self.partition
        p.enqueue("s", [("a.test", p.jobs("s", 5)), ("b.test", p.jobs("s", 4, "b.test", 5))])
        p.enqueue("r", [("a.test", p.jobs("r", 3))], flow="bob/")
        p.lease([("b", "a.test", 4, 0)])
        flight = self.redis("HKEYS", p.key("i"))
        mine = sum(job_id.startswith("s") for job_id in flight)
        p.ack([(job_id, "retry", 0, p.now + DAY_MS) for job_id in flight[:2]])
        retrying = sum(job_id.startswith("s") for job_id in flight[:2])
        before = snapshot(self.redis)
        counts = [p.walk("count", {"tenant": "acme"}, phase)[1] for phase in "xti"]
        self.assertEqual(counts, [9 - mine, retrying, mine - retrying])
        self.assertEqual(snapshot(self.redis), before)

    def test_an_order_that_was_taken_back_does_nothing_more(self):
        p = self.partition
        p.enqueue("s", [("a.test", p.jobs("s", 5))])
        text = json.dumps({"id": "o", "action": "cancel"})
        self.redis("HSET", p.key("a"), "o", text)
        self.assertEqual(p.walk("cancel", text, room=2, in_force=1), ["00", 2, 0])
        self.redis("HDEL", p.key("a"), "o")
        self.assertEqual(p.walk("cancel", text, cursor="00", in_force=1), ["0", -1, 0])
        self.assertEqual(p.totals()["cancelled"], 2)

    def test_retry_now_brings_retries_back_and_unparks(self):
        p = self.partition
        p.enqueue("s", [("a.test", p.jobs("s", 3))])
        p.lease([("b", "a.test", 2, 0)])
        p.ack([("s-0", "retry", 0, p.now + DAY_MS // 2), ("s-1", "retry", 0, p.now + DAY_MS // 2)])
        p.lease(parks=[("a.test", p.now + 60000)])
        self.assertEqual(p.walk_through("retry", {"destination": "a.test"}, "tx"), [5, 1])
        self.assertEqual(len(leased(p.lease(discoveries=[("b", 9, 9, 0)]))), 3)
        self.assertEqual(self.exists("k", "t"), 0)

    def test_a_cancelled_submission_is_told_finished_only_when_nothing_can_be_restored(self):
        p = self.partition
        p.enqueue("s", [("a.test", p.jobs("s", 1)), ("b.test", p.jobs("s", 1, "b.test", 1))])
        p.walk("cancel", {"id": "o", "destination": "a.test"})
        p.lease([("b", "b.test", 1, 0)])
        self.assertEqual(p.ack([("s-1", "delivered")]), [1], "its content must stay")
        self.assertEqual(p.call("restore", "o", 10, 86400), [1, 0, 0])
        p.lease([("b", "a.test", 1, 0)])
        self.assertEqual(p.ack([("s-0", "delivered")]), [1, "s"])


class Restore(Scripts):
    def test_what_was_cancelled_comes_back_in_slices_and_counts(self):
        p = self.partition
        p.enqueue("s", [("a.test", p.jobs("s", 5))])
        p.enqueue("gone", [("a.test", p.jobs("gone", 2))])
        p.walk("cancel", {"id": "o"})
        self.redis("DEL", p.key("g:gone"))
        back, lost, left = 0, 0, 1
        while left:
            done = p.call("restore", "o", 2, 86400)
            back, lost, left = back + done[0], lost + done[1], done[2]
        self.assertEqual((back, lost), (5, 2))
        self.assertEqual(p.totals(), {"accepted": 7, "cancelled": 2})
        self.assertEqual(p.totals("g:s")["open"], 5)
        self.assertEqual(ids(leased(p.lease([("b", "a.test", 9, 0)]))), [f"s-{i}" for i in range(5)])
        self.assertEqual(sum(event["type"] == "restored" for event in p.events()), 5)

    def test_what_expired_meanwhile_ends_so(self):
        p = self.partition
        p.enqueue("s", [("a.test", p.jobs("s", 1))], expires=1)
        p.walk("purge", {"id": "o"})
        self.assertEqual(p.call("restore", "o", 9, 86400), [1, 0, 0])
        self.assertEqual(p.lease([("b", "a.test", 1, 0)]), [("b", "a.test", 0, [])])
        p.tick()
        self.assertEqual({name: n for name, n in p.totals().items() if n}, {"accepted": 1, "expired": 1})


class Suppress(Scripts):
    def test_scopes_hold_for_their_own_until_they_are_lifted_or_over(self):
        p = self.partition
        now = p.now
        table = (
            ("g", "{}", True), ("t:acme", "{}", True), ("t:bob", "{}", False), ("s:acme/news", "{}", True),
            ("s:acme/", "{}", False), ("s:bob/news", "{}", False), ("g", '{"until":%d}' % (now + 60000), True),
            ("g", '{"until":%d}' % (now - 1), False), ("g", '{"until":null}', True), ("g", '{"reason":null}', True),
        )
        for scope, entry, held in table:
            with self.subTest(scope=scope, entry=entry):
                self.setUp()
                self.assertEqual(p.call("suppress", "u0@a.test", scope, entry), 1)
                reply = p.enqueue("s", [("a.test", [record("s-0", "U0@A.test")])], stream="news")
                self.assertEqual(reply, ["OK", 0, int(held)])
                self.assertEqual(p.call("suppress", "u0@a.test", scope, ""), 1)
                self.assertEqual(p.call("suppress", "u0@a.test", scope, ""), 0)
                self.assertEqual(p.enqueue("r", [("a.test", [record("r-0", "u0@a.test")])], stream="news"), ["OK", 0, 0])
                self.assertEqual(self.exists("u"), 0)

    def test_an_entry_that_is_no_object_is_refused(self):
        p = self.partition
        for entry in ("null", "1", '"x"', "{"):
            with self.assertRaises(RedisError):
                p.call("suppress", "u@a.test", "g", entry)
        self.assertEqual(self.exists("u", "un"), 0)


class Grant(Scripts):
    def test_the_budget_is_saved_up_to_the_most_and_never_below_nothing(self):
        p = self.partition
        table = (("on", 3, 5, 3), ("on", 9, 5, 5), ("on", -2, 5, 3), ("on", -9, 5, 0), ("on", 4, 2, 2), ("off", 0, 0, 0))
        for mode, more, most, budget in table:
            self.assertEqual(p.call("grant", "acme/june", mode, more, most, 10)[0], budget)
        self.assertEqual(self.exists("c:acme/june"), 0)

    def test_a_release_gives_back_what_it_took(self):
        p = self.partition
        p.call("grant", "acme/june", "on", 2, 9, 9)
        p.enqueue("s", [("a.test", p.jobs("s", 5))])
        p.lease([("b", "a.test", 5, 0)])
        p.ack([("s-0", "release"), ("s-1", "delivered")])
        self.assertEqual(p.call("grant", "acme/june", "on", 0, 9, 9), [1, 1, 0, 5, 1, 0, 0, 0, 0, 0, 1])
        self.assertEqual(len(leased(p.lease([("b", "a.test", 5, 0)]))), 1)

    def test_only_as_many_queues_come_back_as_there_are_jobs_granted(self):
        p = self.partition
        p.call("grant", "acme/june", "on", 0, 9, 9)
        p.enqueue("s", [(f"d{i}.test", p.jobs("s", 1, f"d{i}.test", i)) for i in range(20)])
        p.lease(discoveries=[("b", 100, 9, 0)])
        self.assertEqual(p.call("grant", "acme/june", "on", 3, 9, 100)[:3], [3, 0, 17])
        self.assertEqual(p.call("grant", "acme/june", "off", 0, 0, 10)[2], 7)


class Others(Scripts):
    def test_survey_tells_what_a_slice_holds(self):
        p = self.partition
        p.enqueue("s", [("a.test", p.jobs("s", 3)), ("b.test", p.jobs("s", 1, "b.test", 3))])
        self.redis("HSET", p.key("l"), "a.test", "mx.test")
        p.lease([("b", "a.test", 2, 0)])
        p.ack([("s-0", "retry", 0, p.now + 1000)])
        about = ["s", "b", "acme/june", str(p.now)]
        cursor, held, subs, sites = p.call("survey", "x", "0", 100)
        self.assertEqual((cursor, sorted(zip(*[iter(held)] * 3)), subs, sites),
                         ("0", [("a.test", "s", 1), ("b.test", "s", 1)], about, ["a.test", "mx.test"]))
        for phase in "ti":
            self.assertEqual(p.call("survey", phase, "0", 100)[1:], [["a.test", "s", 1], about, ["a.test", "mx.test"]])

    def test_campaign_changes_only_the_fields_that_are_given(self):
        p = self.partition

        def campaign(*args):
            text = p.eval("campaign", ["e:campaigns"], *args)
            return text and json.loads(text)

        self.assertEqual(campaign("a/b", '{"state":"running"}', 0), "")
        self.assertEqual(campaign("a/b", '{"state":"running","created":1795477520635}', 1)["created"], 1795477520635)
        self.assertEqual(campaign("a/b", '{"rate":5}', 0), {"state": "running", "created": 1795477520635, "rate": 5})
        text = self.redis("HGET", "e:campaigns", "a/b")
        self.assertNotIn("rate", campaign("a/b", '{"rate":null}', 0, text))
        self.assertNotIn("rate", campaign("a/b", '{"rate":7}', 0, text), "it's another one by now")

    def test_conclude_takes_out_only_the_order_that_is_known(self):
        p = self.partition
        self.redis("HSET", p.key("a"), "o", "{}")
        self.assertEqual(p.eval("conclude", [p.key("a")], "o", '{"done":true}'), 0)
        self.assertEqual(p.eval("conclude", [p.key("a")], "o", "{}"), 1)
        self.assertEqual(p.eval("conclude", [p.key("a")], "o", "{}"), 0)

    def test_content_goes_when_it_is_sealed_and_no_partition_has_open_jobs(self):
        p = self.partition
        keys = ["e:o:{s}", "e:s:{s}"]
        self.redis("SET", "e:s:{s}", "{}")
        self.redis("SADD", "e:o:{s}", "0", "3")
        self.assertEqual(p.eval("release", keys, "0"), 0, "more recipients may come")
        self.redis("SADD", "e:o:{s}", "*")
        self.assertEqual(p.eval("release", keys, "0"), 0)
        self.assertEqual(p.eval("release", keys, "0"), 0)
        self.assertEqual(p.eval("release", keys, "3"), 1)
        self.assertEqual(self.redis("EXISTS", *keys), 0)
        self.assertEqual(p.eval("release", keys, "3"), 0)

    def test_a_chunk_belongs_to_the_first_entry_that_says_so(self):
        p = self.partition
        keys = ["e:c:{s}"]
        self.assertEqual(p.eval("chunk", keys, "0", "1-1", 60), "MINE")
        self.assertEqual(p.eval("chunk", keys, "0", "1-1", 60), "MINE", "the same one again")
        self.assertEqual(p.eval("chunk", keys, "0", "2-1", 60), "OTHER")
        self.assertAlmostEqual(self.redis("TTL", keys[0]), 60, delta=5)
        p.eval("seal", ["e:o:{s}", *keys], 60, "0", "1-1", 100, 0)
        self.assertEqual(p.eval("chunk", keys, "0", "1-1", 60), "QUEUED")

    def test_a_submission_is_sealed_when_all_chunks_are_queued_in_any_order(self):
        p = self.partition
        keys = ["e:o:{s}", "e:c:{s}"]
        self.redis("SADD", keys[0], "0", "3")
        for first, entry in (("0", "1-1"), ("100", "2-1")):
            p.eval("chunk", [keys[1]], first, entry, 60)
        self.assertIsNone(p.eval("seal", keys, 60, "100", "2-1", 50, 1), "the last one is queued, the first one isn't")
        self.assertIsNone(p.eval("seal", keys, 60, "100", "2-1", 50, 1), "again")
        self.assertEqual(sorted(p.eval("seal", keys, 60, "0", "1-1", 100, 0)), ["0", "3"])
        self.assertEqual(sorted(self.redis("SMEMBERS", keys[0])), ["*", "0", "3"])
        self.assertGreater(self.redis("TTL", keys[0]), 0)

    def test_a_submission_in_one_entry_is_sealed_at_once(self):
        self.redis("SADD", "e:o:{s}", "7")
        self.assertEqual(self.partition.eval("seal", ["e:o:{s}", "e:c:{s}"], 60, "", "1-1", 1, 1), ["7"])

    def test_an_object_is_stored_once_and_told_to_who_comes_later(self):
        p = self.partition
        keys, till = ["e:o:{s}", "e:s:{s}"], p.now // 1000 + 600
        self.assertEqual(p.eval("store", keys, "{1}", till, "0", "3"), "OK")
        self.assertEqual(p.eval("store", keys, "{2}", till, "5"), ["{1}"])
        self.assertEqual(sorted(self.redis("SMEMBERS", keys[0])), ["0", "3"])
        self.assertAlmostEqual(self.redis("TTL", keys[1]), 600, delta=5)
        self.assertEqual(p.eval("store", keys, "", till, "5"), "OK", "the producer stored it")
        self.assertEqual(sorted(self.redis("SMEMBERS", keys[0])), ["0", "3", "5"])

    def test_entries_are_read_until_they_are_many_or_large(self):
        p = self.partition
        self.redis("XGROUP", "CREATE", "e:submit", "g", "0", "MKSTREAM")
        for i in range(1, 6):
            self.redis("XADD", "e:submit", f"{i}-1", "json", "x" * (10 if i < 3 else 1000))

        def read(start, most, size):
            return [entry[0] for entry in p.eval("read", ["e:submit"], "g", "c", start, most, size)]

        self.assertEqual(read(">", 2, 100000), ["1-1", "2-1"])
        self.assertEqual(read(">", 9, 1500), ["3-1", "4-1"])
        self.assertEqual(read("0", 9, 100000), ["1-1", "2-1", "3-1", "4-1"])
        self.assertEqual(read(">", 9, 100000), ["5-1"])
        self.assertEqual(read(">", 9, 100000), [])

    def test_consumed_takes_entries_out_of_the_stream(self):
        for i in (1, 2, 3):
            self.redis("XADD", "e:submit", f"{i}-1", "json", "{}")
        self.redis("XGROUP", "CREATE", "e:submit", "g", "0")
        self.redis("XREADGROUP", "GROUP", "g", "c", "STREAMS", "e:submit", ">")
        self.assertEqual(self.partition.eval("consumed", ["e:submit"], "g", "1-1", "3-1", "9-1"), 2)
        self.assertEqual([entry[0] for entry in self.redis("XRANGE", "e:submit", "-", "+")], ["2-1"])
        self.assertEqual(self.redis("XPENDING", "e:submit", "g")[0], 1)

if __name__ == "__main__":
    unittest.main()
