"""Random steps through the queue's scripts on a real Redis against a model of them (queue_model.py): each reply must be
the model's, and so must all of Redis' state after each step. The seed is printed; EILPOST_TEST_SEED repeats a run,
EILPOST_TEST_STEPS says how long it is. Seeds go by two: the even one keeps small sets packed, so that a walk sees what it
looks at in order and may be interrupted by other steps; the odd one has them as tables, so that walks go in slices."""

import json
import os
import random
import subprocess
import sys
import time

from queue_model import CLASSES, GLOBAL_COUNTS, Job, Model, dumps
from scripts_bed import RedisError, Server, load, record

PREFIX = "e:{0}:"
KEEP_S, DAY_MS = 30 * 86400, 86400000
DESTINATIONS = ["a.test", "b.test", "x.b.test", "c.test"]
FLOWS = ["acme/june", "acme/july", "bob/", "bob/june", "/"]
STREAMS = ["", "news"]
POOLS = ["", "warm"]
NODES = ["n1", "n2"]
OPEN_MAX = 70

# All keys as text: name, whether it goes by itself some day, value. Events are taken out, notices looked at otherwise.
DUMP = r"""
local how = { q = 'LRANGE', z = 'LRANGE', x = 'ZRANGE', t = 'ZRANGE', w = 'ZRANGE', r = 'ZRANGE', d = 'ZRANGE',
    f = 'ZRANGE', b = 'ZRANGE', i = 'HGETALL', n = 'HGETALL', c = 'HGETALL', g = 'HGETALL', a = 'HGETALL', u = 'HGETALL',
    v = 'HGETALL', l = 'HGETALL', k = 'HGETALL', s = 'HGETALL', fin = 'SMEMBERS' }
local call, out, size = redis.call, {}, 0
for _, key in ipairs(call('KEYS', 'e:{0}:*')) do
    local name = string.sub(key, 7)
    local letter = string.match(name, '^[^:]*')
    if letter ~= 'ev' and letter ~= 'un' then
        local command, value = how[letter], nil
        if command == 'LRANGE' then
            value = table.concat(call(command, key, 0, -1), '\30')
        elseif command == 'ZRANGE' then
            value = table.concat(call(command, key, 0, -1, 'WITHSCORES'), '\30')
        else
            value = command and table.concat(call(command, key), '\30') or call('GET', key)
        end
        out[size + 1], out[size + 2], out[size + 3] = name, call('PTTL', key) > 0 and '+' or '-', value
        size = size + 3
    end
end
local events = {}
for i, entry in ipairs(call('XRANGE', 'e:{0}:ev', '-', '+')) do
    events[i] = entry[2][2]
end
if #events > 0 then
    call('XTRIM', 'e:{0}:ev', 'MAXLEN', 0)
end
return { table.concat(out, '\29'), events }
"""
PASSING = "gymzo"  # What begins so has a time to live.
HASHES = "incgavlks"


class Run:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.packed = seed % 2 == 0
        self.server = Server("--zset-max-listpack-entries", "100000" if self.packed else "0",
                             "--zset-max-listpack-value", "100000" if self.packed else "0")
        self.redis = self.server.client
        self.scripts = load(self.redis, clock=True)
        self.dump = self.redis("SCRIPT", "LOAD", DUMP)
        self.model = Model(int(time.time() * 1000) + DAY_MS)
        self.entries, self.last_entry = {}, 0  # entry -> what its parts were made of
        self.last_sid = self.last_key = self.last_order = 0
        self.ended = []  # ids, for acks that come again
        self.walks = []  # under way: [action, order, phases left, cursor, only while in force]
        self.serial = 0
        self.notice = ("0", 0)  # the id of the last one known, and its number
        self.call, self.texts = "", {}
        self.seen = {}  # key -> its value as it came, and as it's compared
        self.redis("RPUSH", "clock", 0, 0)
        self.set_clock()
        self.acquire(first=True)

    # ---- one step

    def script(self, name, *args, keys=("e",)):
        self.call = f"{name} {args!r}"
        return ("EVALSHA", self.scripts[name], len(keys), *(PREFIX + key for key in keys), *args)

    def compare(self, calls, expected, normal=lambda reply: reply):
        """Makes the calls; the last one's reply and the state afterwards must be as expected."""
        *replies, dump = self.redis.pipeline([*calls, ("EVALSHA", self.dump, 0)])
        for reply in (*replies, dump):
            if isinstance(reply, RedisError):
                raise AssertionError(f"{self.call}: {reply}")
        if normal(replies[-1]) != expected:
            raise AssertionError(f"{self.call}\nreply    {normal(replies[-1])!r}\nexpected {expected!r}")
        self.compare_state(dump)
        return replies[-1]

    def compare_state(self, dump, events_ordered=True):
        state = {}
        rows = iter(dump[0].split("\x1d"))
        for key, passing, value in zip(rows, rows, rows):
            if passing != ("+" if key[0] in PASSING else "-"):
                raise AssertionError(f"{self.call}: time to live of {key}")
            before = self.seen.get(key)
            if not before or before[0] != value:
                before = self.seen[key] = (value, self.canonical(key, value))
            state[key] = before[1]
        if len(self.seen) > 1000:
            self.seen = {}
        expected = self.model.state()
        if state != expected:
            wrong = [f"{key}\n  is        {state.get(key)!r}\n  should be {expected.get(key)!r}"
                     for key in sorted(state.keys() | expected.keys()) if state.get(key) != expected.get(key)]
            raise AssertionError("\n".join([self.call, *wrong]))
        events = [text if text in self.texts else json.loads(text) for text in dump[1]]
        expected, self.model.events = self.model.events, []
        if not events_ordered:
            events.sort(key=dumps)
            expected.sort(key=dumps)
        if events != expected:
            raise AssertionError(f"{self.call}\nevents   {events!r}\nexpected {expected!r}")
        self.texts = {}
        wrong = self.model.check()
        if wrong:
            raise AssertionError(f"{self.call}: {wrong}")

    @staticmethod
    def canonical(key, value):
        """Where Redis' order says nothing it's sorted."""
        if key == "fin":
            return "\x1e".join(sorted(value.split("\x1e")))
        if key[0] in HASHES or key == "u":
            parts = iter(value.split("\x1e"))
            value = "\x1e".join(sorted(f"{name}\x1e{dumps(json.loads(text)) if key == 'u' else text}"
                                       for name, text in zip(parts, parts)))
        return value

    def chance(self, share):
        return self.random.random() < share

    def set_clock(self):
        now = self.model.now
        self.redis.pipeline([("LSET", "clock", 0, now // 1000), ("LSET", "clock", 1, now % 1000 * 1000)])

    # ---- steps

    def step(self):
        steps = (("enqueue", 20), ("lease", 24), ("ack", 24), ("tick", 10), ("clock", 9), ("order", 4), ("walk", 5),
                 ("restore", 2), ("suppress", 4), ("grant", 4), ("acquire", 1), ("renew", 1), ("forget", 2),
                 ("settings", 1))
        name = self.random.choices([name for name, _ in steps], [weight for _, weight in steps])[0]
        getattr(self, name)()

    def clock(self):
        step = self.random.choice([1, 10, 200, 1000, 3000, 3000, 10000, 60000])
        self.model.now += step if self.chance(0.9) else -self.random.choice([1, 500, 5000, 30000])
        self.set_clock()

    def submission_fields(self):
        pick, now = self.random.choice, self.model.now
        fields = {"class": pick(CLASSES), "flow": pick(FLOWS), "accepted": str(now - pick([0, 5, 1000])),
                  "expires": str(now + pick([0, 1000, 10000, 100000, 1000000, 1000000, 1000000]))}
        if self.chance(0.2):
            fields["start"] = str(now + pick([-100, 100, 5000]))
        if self.chance(0.2):
            at, pairs = now - 5000, []
            for _ in range(pick([1, 2, 4])):
                at += pick([0, 3000, 10000])
                pairs.append(f"{at}-{at + pick([2000, 8000])}")
                at += 9000
            fields["windows"] = " ".join(pairs)
        if self.chance(0.3):
            fields["pool"] = pick(POOLS)
        if self.chance(0.5):
            fields["stream"] = pick(STREAMS)
        return fields

    def enqueue(self):
        model, pick = self.model, self.random.choice
        seen = self.chance(0.1) and self.entries
        if seen:  # Again what was taken in, or with a part left out.
            entry = pick(list(self.entries))
            part, args = self.entries[entry]
            part, args = (part, args) if self.chance(0.6) else (part + 2, args)
        elif len(model.queues) + len(model.flight) + len(model.retries) > OPEN_MAX:
            self.lease()
            return
        else:
            living = [sid for sid, sub in model.submissions.items() if sub.expires > model.now]
            if len(living) > 8 or (living and self.chance(0.5)):
                sid = pick(living)
            else:
                self.last_sid += 1
                sid = f"s{self.last_sid}" if self.chance(0.8) else f"s-{self.last_sid}"
            self.serial += 1
            if self.entries and self.chance(0.3):
                entry = pick(list(self.entries))
                part = self.entries[entry][0] + 1
            else:
                self.last_entry += 1
                entry, part = f"{self.last_entry}-0", 0
            groups = []
            for dest in self.random.sample(DESTINATIONS, pick([1, 1, 2, 3])):
                keyed, jobs = self.chance(0.2), []
                for _ in range(pick([1, 1, 2, 3, 6])):
                    self.serial += 1
                    values = ["v" * pick([0, 1, 200])] * pick([0, 1, 3])
                    to = f"{pick('uUvw')}{pick('01')}@{dest}"
                    flags, reply = pick([(0, ""), (0, "451 4.3.0 later \"\\/\x07"), (1, "lost")])
                    job = Job(record(f"{sid}-{self.serial:x}", to, pick([0, 1, 130]), flags, reply, values))
                    jobs.append((pick(["", "k1", "k2", f"k{self.serial}"]) if keyed else "", job))
                groups.append((dest, jobs, keyed))
            args = (sid, pick([0, 0, 0, 2]), self.submission_fields(), pick(["", "", "2", "5"]), groups)
        sid, rejected, fields, weight, groups = args
        if not seen or (part == model.parts.get(entry, 0)):
            self.entries[entry] = (part, args)
            if len(self.entries) > 6:
                del self.entries[next(iter(self.entries))]
        flat = []
        for dest, jobs, keyed in groups:
            flat += [dest, len(jobs), int(keyed)]
            for key, job in jobs:
                flat += [key, job.record] if keyed else [job.record]
        pairs = [text for pair in fields.items() for text in pair]
        call = self.script("enqueue", entry, part, 86400, KEEP_S, 86400, sid, rejected, len(pairs), *pairs, weight, *flat)
        self.compare([call], model.enqueue(entry, part, sid, rejected, fields, weight,
                                           [(dest, jobs) for dest, jobs, _ in groups]))

    def epoch(self):
        return self.model.epoch - (1 if self.chance(0.02) else 0)

    def lease(self):
        pick, now = self.random.choice, self.model.now
        parks = [(pick(DESTINATIONS), pick([0, now - 1, now + 1000, now + 20000]))
                 for _ in range(pick([0, 0, 0, 0, 1, 2]))]
        requests = [(pick(CLASSES), pick(DESTINATIONS), pick([0, 1, 1, 2, 3, 5, 20, 100]), pick([0, 1000, 3000]))
                    for _ in range(pick([0, 0, 1, 2]))]
        discoveries = [(letter, pick([1, 2, 4, 8, 100]), pick([1, 3, 10]), pick([0, 1000, 3000]))
                       for letter in CLASSES if self.chance(0.4)]
        epoch, node, lease_ms = self.epoch(), pick(NODES), pick([1000, 7200000])
        flat = [len(parks), *sum(parks, ()), len(requests), *sum(requests, ()), len(discoveries), *sum(discoveries, ())]
        before = {job_id: sub for job_id, (_, _, sub) in self.model.flight.items()}
        expected = self.model.lease(epoch, node, lease_ms, parks, requests, discoveries)
        self.compare([self.script("lease", epoch, node, lease_ms, KEEP_S, *flat)],
                     expected if isinstance(expected, str) else list(map(str, expected)),
                     lambda reply: reply if isinstance(reply, str) else list(map(str, reply)))
        for job_id, (_, dest, job) in self.model.flight.items():
            if job_id not in before:
                self.may_leave(dest, job)

    def may_leave(self, dest, job):
        model, sub = self.model, self.model.submissions[job.sid]
        assert sub.start <= model.now < sub.expires, f"{self.call}: {job.id} is early or late"
        assert not sub.windows or any(start <= model.now < end for start, end in sub.windows), f"{job.id} in no window"
        assert not model.held(dest, sub), f"{self.call}: {job.id} is held"
        assert not model.suppression(job, sub), f"{self.call}: {job.id} is suppressed"

    def ack(self, ids=None, releases=0.2):
        pick, model, acks = self.random.choice, self.model, []
        if ids is None:
            ids = self.random.sample(sorted(model.flight), min(len(model.flight), pick([1, 1, 2, 5, 20])))
            if ids and self.chance(0.1):
                ids.append(ids[0])
            if self.ended and self.chance(0.1):
                ids.append(pick(self.ended))
        if not ids:
            ids = ["nobody-0"]
        for job_id in ids:
            kind = "release" if self.chance(releases) else pick(["retry", "retry", "delivered", "delivered", "bounced",
                                                                "expired", "suppressed", "cancelled"])
            changed, unknown = "", int(self.chance(0.1) and kind != "release")
            held = model.flight.get(job_id)
            if held and (kind == "retry" or self.chance(0.3)):
                attempts, _, _, tail = held[2].parsed()
                changed = (f"{held[2].id}\t{held[2].to}\t" + record("", "", attempts + 1, unknown, "451 wait")[2:-1] + tail)
            self.serial += 1
            text = '{"event":%d}' % self.serial if kind != "release" else ""
            self.texts[text] = True
            acks.append((job_id, kind, unknown, model.now + pick([0, 10, 1000, 60000, 10000000]), changed, text))
            if kind not in ("release", "retry"):
                self.ended = (self.ended + [job_id])[-5:]
        flat = [text for job_id, kind, unknown, due, changed, text in acks
                for text in (job_id, job_id.rsplit("-", 1)[0], kind, unknown, due, changed, text)]
        epoch = self.epoch()
        expected = model.ack(epoch, acks)
        self.compare([self.script("ack", epoch, 1000000, KEEP_S, *flat)], expected,
                     lambda reply: reply if isinstance(reply, str) else [reply[0], *sorted(reply[1:])])

    def tick(self):
        most, room, epoch = self.random.choice([1, 2, 100]), self.random.choice([1, 3, 200]), self.epoch()
        last, told = self.notice
        expected = self.model.tick(epoch, most, room, told)
        reply = self.compare([self.script("tick", epoch, most, room, KEEP_S, last, 1000000)], expected,
                             lambda reply: reply if isinstance(reply, str) else
                             [reply[0], sorted(reply[1]), [list(pair) for pair in zip(reply[2][1::3], reply[2][2::3])], sorted(reply[3])])
        if reply != "STALE" and reply[2]:
            self.notice = (reply[2][-3], told + len(reply[2]) // 3)

    def some_filter(self):
        pick, order = self.random.choice, {}
        flow = pick(FLOWS)
        before = pick([sub.at for sub in self.model.submissions.values()] or [self.model.now]) + pick([0, 1])
        for name, value, share in (("class", pick(CLASSES), 0.2), ("tenant", flow.split("/")[0], 0.3),
                                   ("campaign", flow.split("/")[1], 0.2), ("before", before, 0.15),
                                   ("destination", pick([*DESTINATIONS, "*.test", "*.b.test"]), 0.3),
                                   ("site", pick(["mx1.test", "*.host.test"]), 0.1)):
            if self.chance(share):
                order[name] = value
        if self.model.submissions and self.chance(0.2):
            order["submission"] = pick(sorted(self.model.submissions))
        return order

    def order(self):
        model, pick = self.model, self.random.choice
        if model.orders and self.chance(0.5):
            name = pick(sorted(model.orders))
            if model.orders[name]["action"] != "move" and self.chance(0.3) and not model.orders[name].get("done"):
                model.orders[name]["done"] = True
                self.compare([("HSET", PREFIX + "a", name, dumps(model.orders[name]))], 0)
                self.begin("link", {})
                return
            del model.orders[name]
            self.call = f"HDEL a {name}"
            self.compare([("HDEL", PREFIX + "a", name)], 1)
            self.begin("link", {})
            return
        if len(model.orders) > 3:
            return
        self.last_order += 1
        action = pick(["suspend", "suspend", "cancel", "purge", "move", "move", "move"])
        order = {"id": f"o{self.last_order}", "action": action, "at": pick([1, -1]) * self.last_order + model.now * 1000,
                 **self.some_filter()}
        if action == "move":
            order["pool"] = f"pool{self.last_order}"
            order.pop("site", None)
        if self.chance(0.5):
            order["reason"] = "an operator's"
        if action == "suspend" and self.chance(0.4):
            flow = pick(FLOWS)
            order = {"id": "c:" + flow, "action": "suspend", "at": order["at"], "tenant": flow.split("/")[0],
                     "campaign": flow.split("/")[1]}
        new = order["id"] not in model.orders
        model.orders[order["id"]] = order
        self.call = f"HSET a {order}"
        self.compare([("HSET", PREFIX + "a", order["id"], dumps(order))], int(new))
        if action in ("cancel", "purge"):
            self.begin(action, order, True)

    # Walks: in the packed mode one slice per step, in the other to the end at once.

    def begin(self, action, order, placed=False):
        """`placed`: only as long as it's in force."""
        phases = {"count": ["x", "t", "i"], "link": ["x"]}.get(action, ["x", "t"])
        if self.packed:
            self.walks.append([action, dict(order), phases, "0", placed])
        else:
            self.walk_through(action, order, phases)

    def walk(self):
        if not self.walks:
            action = self.random.choice(["count", "count", "retry", "retry", "retry", "link", "cancel", "purge"])
            order = self.some_filter()
            if action in ("cancel", "purge"):
                if self.model.submissions:
                    order["submission"] = self.random.choice(sorted(self.model.submissions))
                self.last_order += 1
                order["id"] = f"o{self.last_order}"
            self.begin(action, order)
            if not self.packed:
                return
        walk = self.walks[0]
        action, order, phases, cursor, placed = walk
        room = self.random.choice([1, 3, 200])
        again, jobs, queues = self.model.walk(action, order, phases[0], room, placed)
        reply = self.compare([self.script("walk", action, dumps(order), phases[0], cursor, 500, room, 86400, KEEP_S,
                                          int(placed))],
                             [again, jobs, queues], lambda reply: [reply[0] != "0", *reply[1:]])
        walk[3] = reply[0]
        if not again:
            walk[2], walk[3] = phases[1:], "0"
            if not walk[2]:
                del self.walks[0]
                self.linked(action, order)

    def linked(self, action, order):
        """After a walk that links everything, nothing but its end, its time, its budget or an order keeps a queue."""
        if action == "link" and not order:
            subs = self.model.submissions
            self.model.limbo = {(dest, sid) for dest, sid in self.model.limbo
                                if subs[sid].expires <= self.model.now or self.model.held(dest, subs[sid])}

    def walk_through(self, action, order, phases):
        model, sums = self.model, [0, 0]
        expected_sums = [0, 0]
        fronts, trash = {}, len(model.trash.get(order.get("id"), []))
        for phase in phases:
            sizes = {queue: len(jobs) for queue, jobs in model.queues.items()}
            cursor = None
            while cursor != "0":
                count, room = self.random.choice([2, 5, 20]), self.random.choice([1, 20, 200])
                cursor, jobs, queues = self.redis(*self.script("walk", action, dumps(order), phase, cursor or "0",
                                                               count, room, 86400, KEEP_S))
                if phase != "i":
                    sums = [sums[0] + jobs, sums[1] + queues]
            _, jobs, queues = model.walk(action, order, phase, 1000000)
            if phase != "i":
                expected_sums = [expected_sums[0] + jobs, expected_sums[1] + queues]
            if phase == "t" and action == "retry":
                fronts = {queue: len(jobs) - sizes.get(queue, 0) for queue, jobs in model.queues.items()}
        # What was moved came in an unknown order: both sides are given the same one.
        fixes = []
        for (dest, sid), front in fronts.items():
            jobs = model.queues[dest, sid]
            if front > 1:
                jobs[:front] = sorted(jobs[:front], key=lambda job: job.record)
                key = f"{PREFIX}q:{dest} {sid}"
                real = self.redis("LRANGE", key, 0, -1)
                real[:front] = sorted(real[:front])
                fixes += [("DEL", key), ("RPUSH", key, *real)]
        if action in ("cancel", "purge") and model.trash.get(order["id"]):
            jobs = model.trash[order["id"]]
            jobs[trash:] = sorted(jobs[trash:])
            key = f"{PREFIX}z:{order['id']}"
            real = self.redis("LRANGE", key, 0, -1)
            real[trash:] = sorted(real[trash:], key=lambda text: tuple(text.split("\t", 1)))
            fixes += [("DEL", key), ("RPUSH", key, *real), ("EXPIRE", key, 86400)]
        self.redis.pipeline(fixes)
        if sums != expected_sums:
            raise AssertionError(f"{self.call}: {sums} jobs and queues, not {expected_sums}")
        self.compare_state(self.redis("EVALSHA", self.dump, 0), events_ordered=False)
        self.linked(action, order)

    def restore(self):
        if self.model.trash:
            name, most = self.random.choice(sorted(self.model.trash)), self.random.choice([1, 2, 10])
            self.compare([self.script("restore", name, most, KEEP_S)], self.model.restore(name, most))

    def suppress(self):
        pick, flow = self.random.choice, self.random.choice(FLOWS)
        address = f"{pick('uvw')}{pick('01')}@{pick(DESTINATIONS)}"
        tenant = flow.split("/")[0]
        scope = pick(["g", "t:" + tenant, f"s:{tenant}/{pick(STREAMS)}"])
        entry = {"reason": pick(["hard bounce", "asked for"])} if self.chance(0.8) else {}
        if self.chance(0.3):
            entry["until"] = self.model.now + pick([-1, 1000, 60000])
        if not entry or self.chance(0.5) or len(self.model.suppressions) > 6:
            entry = None
            if self.model.suppressions and self.chance(0.8):
                address = pick(sorted(self.model.suppressions))
                scope = pick(sorted(self.model.suppressions[address]))
        self.compare([self.script("suppress", address, scope, dumps(entry) if entry else "")],
                     self.model.suppress(address, scope, entry))

    def grant(self):
        pick = self.random.choice
        metered = sorted(flow for flow, fields in self.model.flows.items() if fields.get("metered"))
        flow = pick(metered) if metered and self.chance(0.7) else pick(FLOWS)
        on = self.chance(0.75)
        more, most, room = pick([-3, 0, 1, 2, 5, 50]), pick([1, 5, 50]), pick([0, 1, 3, 100])
        self.compare([self.script("grant", flow, "on" if on else "off", more, most, room)],
                     self.model.grant(flow, on, more, most, room))

    def acquire(self, first=False):
        """As after a crash: nothing is known here of what is in flight; some of it is swept back."""
        model = self.model
        if not first and self.chance(0.7):
            model.owner = None
            self.redis("DEL", PREFIX + "o")
        node = self.random.choice(NODES)
        holder = f"{node}/{self.random.choice('01')}/{self.random.choice('ab')}"
        self.compare([self.script("acquire", node, holder, 10 * DAY_MS, keys=("e", "o", "h"))],
                     model.acquire(node, holder))
        if not first and self.chance(0.8):
            swept = sorted(job_id for job_id, (head, _, _) in model.flight.items()
                           if not head.startswith(f"{model.epoch} "))
            if swept:
                self.ack(swept[:100], releases=1)

    def renew(self):
        epoch, lease_ms = self.epoch(), self.random.choice([0, DAY_MS, DAY_MS])
        holder = self.model.holder[0]
        self.compare([self.script("renew", epoch, holder, lease_ms, keys=("e", "o"))],
                     self.model.renew(epoch, holder, lease_ms))

    def forget(self):
        """What times to live do."""
        model, gone = self.model, []
        for sid, sub in list(model.submissions.items()):
            if sub.counts.get("open", 0) == 0 and self.chance(0.7):
                gone.append("g:" + sid)
                del model.submissions[sid]
        for tenant, key in list(model.keys):
            if self.chance(0.5):
                gone.append(f"y:{tenant}/{key}")
                del model.keys[tenant, key]
        for entry in list(model.parts):
            if entry not in self.entries:
                gone.append("m:" + entry)
                del model.parts[entry]
        if model.trash and self.chance(0.2):
            name = self.random.choice(sorted(model.trash))
            gone.append("z:" + name)
            del model.trash[name]
        if gone:
            self.call = f"DEL {gone}"
            self.compare([("DEL", *(PREFIX + key for key in gone))], len(gone))

    def settings(self):
        model, tenant, dest = self.model, self.random.choice(FLOWS).split("/")[0], self.random.choice(DESTINATIONS)
        model.weights[tenant] = self.random.choice(["1", "3", "0.5"])
        model.sites[dest] = self.random.choice(["mx1.test mx2.test", "a.host.test"])
        self.redis("HSET", PREFIX + "v", tenant, model.weights[tenant])
        self.redis("HSET", PREFIX + "l", dest, model.sites[dest])


def run(seed, steps):
    test = Run(seed)
    step = 0
    try:
        for step in range(1, steps + 1):
            test.step()
    except AssertionError as failure:
        print(f"EILPOST_TEST_SEED={seed} EILPOST_TEST_STEPS={step}: step {step} is wrong\n{failure}")
        return 1
    finally:
        test.server.stop()
    totals = " ".join(f"{name} {test.model.totals.get(name, 0)}" for name in GLOBAL_COUNTS)
    print(f"seed {seed}: {steps} steps as the model has them; {totals}")
    return 0


def main():
    steps = int(os.environ.get("EILPOST_TEST_STEPS", 100000))
    if "EILPOST_TEST_SEED" in os.environ:
        return run(int(os.environ["EILPOST_TEST_SEED"]), steps)
    seed = random.SystemRandom().randrange(1 << 30) * 2
    children = []
    for child in (seed, seed + 1):
        print(f"EILPOST_TEST_SEED={child} EILPOST_TEST_STEPS={steps // 2}", flush=True)
        environment = {**os.environ, "EILPOST_TEST_SEED": str(child), "EILPOST_TEST_STEPS": str(steps // 2)}
        children.append(subprocess.Popen([sys.executable, __file__], env=environment))
    return max([child.wait() for child in children])


if __name__ == "__main__":
    sys.exit(main())
