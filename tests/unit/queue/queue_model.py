"""What the queue's scripts should do, written down a second time: in terms of jobs and queues, in Python, without Redis.
Each method is one call of a script; it changes the model and returns the reply that the script should give.
`state()` is all of Redis' keys as they should be then.

A queue is named (destination, submission). The index (linked, vtimes, ready, waiting, starved) is modelled as exactly as
the jobs are."""

import json
import re

CLASSES = "tdb"
GLOBAL_COUNTS = ("accepted", "delivered", "bounced", "expired", "suppressed", "cancelled", "deferred", "unknown",
                 "rejected", "repeated")
ENDS = ("delivered", "bounced", "expired", "suppressed", "cancelled")
FLOWS_SERVED, QUANTUM = 16, 8
INFINITE = float("inf")


def number(value):
    return "%.17g" % value


class Job:
    """`record` is the job's bytes; the rest is read out of them."""

    __slots__ = ("record", "id", "sid", "to")

    def __init__(self, record):
        self.record = record
        self.id, self.to = record.split("\t")[:2]
        self.sid = self.id.rsplit("-", 1)[0]

    def number_at(self, at):
        n, scale = 0, 1
        while ord(self.record[at]) >= 128:
            n, scale, at = n + (ord(self.record[at]) - 128) * scale, scale * 128, at + 1
        return n + ord(self.record[at]) * scale, at + 1

    def parsed(self):
        """attempts, flags, reply, what follows"""
        attempts, at = self.number_at(len(self.id) + len(self.to) + 2)
        flags, at = self.number_at(at)
        size, at = self.number_at(at)
        return attempts, flags, self.record[at:at + size], self.record[at + size:]


class Submission:
    def __init__(self, sid, fields):
        self.sid, self.fields = sid, {("at" if name == "accepted" else name): value for name, value in fields.items()}
        self.counts = {}
        self.letter = fields.get("class", "b")
        self.flow = fields.get("flow", "/")
        self.tenant, self.campaign = self.flow.split("/", 1)
        self.at, self.expires = int(fields.get("accepted", 0)), int(fields.get("expires", 0))
        self.start = int(fields.get("start", 0))
        self.windows = [tuple(map(int, pair.split("-"))) for pair in fields.get("windows", "").split()]
        self.pool, self.stream = fields.get("pool", ""), fields.get("stream", "")
        self.forgotten = not fields
        self.order = self.expires if self.letter == "d" else self.at

    def opens(self, now):
        at = max(now, self.start)
        if not self.windows:
            return at
        return next((max(at, start) for start, end in self.windows if end > at), self.expires)


class Model:
    def __init__(self, now):
        self.now, self.epoch = now, 0
        self.queues, self.registry = {}, {}  # (dest, sid) -> [Job], and -> when it expires
        self.retries, self.flight = {}, {}  # (dest, record) -> due; id -> (head, dest, Job)
        self.submissions, self.flows, self.totals = {}, {}, {}
        self.shared = set()  # (letter, dest) that have, or had until they were empty, several queues
        self.linked, self.vtimes, self.ready = {}, {}, {letter: {} for letter in CLASSES}
        self.waiting, self.starved, self.parked = {}, {}, {}
        self.orders, self.suppressions, self.notices, self.keys = {}, {}, [], {}
        self.parts, self.trash, self.finished, self.sites, self.weights = {}, {}, set(), {}, {}
        self.owner = self.holder = None
        self.events = []  # of the call at hand: dicts, or the text that an ack brought
        self.limbo = set()  # taken out of the index for a reason that may have passed
        self.counted = {}

    # ---- what is known

    def submission(self, sid):
        return self.submissions.get(sid) or Submission(sid, {})

    def matches(self, order, dest, sub):
        def named(pattern, names):
            return any(name.endswith(pattern[1:]) if pattern[0] == "*" else name == pattern for name in names)

        wanted = {"class": sub.letter, "tenant": sub.tenant, "campaign": sub.campaign, "submission": sub.sid}
        return (all(order[name] == value for name, value in wanted.items() if name in order)
                and ("before" not in order or sub.at < order["before"])
                and ("destination" not in order or named(order["destination"], [dest]))
                and ("site" not in order or named(order["site"], self.sites.get(dest, "").split())))

    def in_force(self, dest, sub):
        return [order for order in self.orders.values() if not order.get("done") and self.matches(order, dest, sub)]

    def held(self, dest, sub):
        return any(order["action"] != "move" for order in self.in_force(dest, sub))

    def pool(self, dest, sub):
        moves = [order for order in self.in_force(dest, sub) if order["action"] == "move"]
        return max(moves, key=lambda order: order["at"])["pool"] if moves else sub.pool

    def suppression(self, job, sub):
        entry = self.suppressions.get(job.to.lower(), {})
        found = None
        for scope in ("g", "t:" + sub.tenant, f"s:{sub.tenant}/{sub.stream}"):
            if scope in entry and entry[scope].get("until", INFINITE) > self.now:
                found = entry[scope].get("reason", "suppressed")
        return found

    # ---- counters and events

    def count(self, sub, name, n, opened=0):
        sums = self.counted.setdefault(sub.sid, [sub, {}, 0])
        sums[1][name] = sums[1].get(name, 0) + n
        sums[2] += opened

    def count_flow(self, flow, name, n):
        if n:
            fields = self.flows.setdefault(flow, {})
            fields[name] = fields.get(name, 0) + n

    def counts_written(self):
        done = []
        for sub, sums, opened in self.counted.values():
            for name, n in sums.items():
                if n:
                    self.totals[name] = self.totals.get(name, 0) + n
                    if not sub.forgotten:
                        self.count_flow(sub.flow, name, n)
                        sub.counts[name] = sub.counts.get(name, 0) + n
            if not sub.forgotten:
                sub.counts["open"] = sub.counts.get("open", 0) + opened
                if sub.counts["open"] == 0 and sub.counts.get("kept", 0) == 0:
                    done.append(sub.sid)
        self.counted = {}
        return sorted(done)

    def event(self, kind, job, sub, text=None):
        attempts, flags, reply, _ = job.parsed()
        text = re.sub(r"[^ -~]", "?", reply if text is None else text)
        event = {"type": kind, "job": job.id, "submission": sub.sid, "to": job.to, "at": self.now, "attempt": attempts}
        for name, value in (("tenant", sub.tenant), ("campaign", sub.campaign), ("text", text)):
            if value:
                event[name] = value
        if flags & 1:
            event["maybe_duplicate"] = True
        self.events.append(event)

    # ---- queues and their index

    def link(self, dest, sub):
        opens = sub.opens(self.now)
        if opens > self.now:
            self.waiting[dest, sub.sid] = opens
        elif sub.expires > self.now:
            self.limbo.discard((dest, sub.sid))
            self.linked[dest, sub.sid] = sub.order
            flows = self.vtimes.setdefault((sub.letter, dest), {})
            if sub.flow not in flows:
                flows[sub.flow] = min(flows.values(), default=0.0)
            if len(self.linked_at(sub.letter, dest)) > 1:
                self.shared.add((sub.letter, dest))
            if dest not in self.ready[sub.letter]:
                self.ready[sub.letter][dest] = max(self.now, self.until(dest))
        else:
            self.limbo.add((dest, sub.sid))

    def until(self, dest):
        """When a park ends; one that has is forgotten."""
        until = self.parked.get(dest, 0)
        if until <= self.now:
            self.parked.pop(dest, None)
        return until

    def unlink(self, dest, sub):
        if self.linked.pop((dest, sub.sid), None) is None:
            return
        flows = self.vtimes[sub.letter, dest]
        if not self.of_flow(sub.letter, dest, sub.flow):
            del flows[sub.flow]
            if not flows:
                del self.vtimes[sub.letter, dest]
                self.shared.discard((sub.letter, dest))

    def linked_at(self, letter, dest):
        return [sid for at, sid in self.linked if at == dest and self.submission(sid).letter == letter]

    def of_flow(self, letter, dest, flow):
        """SIDs in their order."""
        found = []
        for (at, sid), order in self.linked.items():
            sub = self.submission(sid)
            if at == dest and sub.letter == letter and sub.flow == flow:
                found.append((order, sid))
        return [sid for _, sid in sorted(found)]

    def put(self, dest, sub, jobs, front=False):
        queue = self.queues.setdefault((dest, sub.sid), [])
        was_empty = not queue
        queue[0 if front else len(queue):0 if front else len(queue)] = jobs
        if was_empty:
            self.registry[dest, sub.sid] = sub.expires
            self.link(dest, sub)

    def drained(self, dest, sub):
        self.emptied(dest, sub)
        self.unlink(dest, sub)

    def emptied(self, dest, sub):
        del self.queues[dest, sub.sid], self.registry[dest, sub.sid]
        self.limbo.discard((dest, sub.sid))

    # ---- scripts

    def acquire(self, node, holder):
        if self.owner and self.owner != holder:
            its_node, _, its_instance = self.owner.split("/")
            if its_node != node or its_instance == holder.split("/")[2]:
                return ["TAKEN", self.owner]
        self.epoch = max(self.now * 1000, self.epoch + 1)
        who, since = self.holder or ("", 0)
        self.holder = (holder, since if who == holder else self.epoch)
        self.owner = holder
        return ["OK", str(self.epoch), str(self.holder[1])]

    def renew(self, epoch, holder, lease_ms):
        if epoch != self.epoch:
            return "STALE"
        self.owner = None if lease_ms == 0 else self.owner or holder
        return "OK"

    def enqueue(self, entry, part, sid, rejected, fields, weight, groups):
        """groups: (dest, [(key, Job)])"""
        taken = self.parts.get(entry, 0)
        if part != taken:
            return ["SEEN" if part < taken else "GAP"]
        sub = self.submissions.setdefault(sid, Submission(sid, fields))
        repeated = blocked = 0
        for dest, jobs in groups:
            rest = []
            for key, job in jobs:
                if key and (sub.tenant, key) in self.keys:
                    repeated += 1
                    continue
                if key:
                    self.keys[sub.tenant, key] = job.id
                self.count(sub, "accepted", 1, 1)
                reason = self.suppression(job, sub)
                if reason:
                    self.event("suppressed", job, sub, reason)
                    self.count(sub, "suppressed", 1, -1)
                    blocked += 1
                else:
                    rest.append(job)
            if rest:
                self.put(dest, sub, rest)
        self.count(sub, "rejected", rejected)
        self.count(sub, "repeated", repeated)
        if weight:
            self.flows.setdefault(sub.flow, {})["weight"] = weight
        self.counts_written()
        self.parts[entry] = part + 1
        return ["OK", repeated, blocked]

    def lease(self, epoch, node, lease_ms, parks, requests, discoveries):
        if epoch != self.epoch:
            return "STALE"
        out = [str(self.now)]
        head = f"{epoch} {node} {self.now + lease_ms} "
        for dest, until in parks:
            if until > self.now:
                self.parked[dest] = until
            else:
                self.parked.pop(dest, None)
            for letter in CLASSES:
                if dest in self.ready[letter]:
                    self.ready[letter][dest] = max(until, self.now)
        due = {}
        for letter, dest, jobs, again in requests:
            if jobs:
                _, due[letter, dest] = self.visit(out, head, letter, dest, jobs, again)
            elif (letter, dest) in due:
                due[letter, dest] = due[letter, dest] and max(due[letter, dest], self.now + again)
            elif dest in self.ready[letter]:
                self.ready[letter][dest] = max(self.ready[letter][dest], self.now + again)
        self.offered(due)
        due = {}
        for letter, room, each, again in discoveries:
            found = sorted((at, dest) for dest, at in self.ready[letter].items() if at <= self.now)
            for _, dest in found[:min(room, 100)]:
                if room > 0:
                    taken, due[letter, dest] = self.visit(out, head, letter, dest, min(room, each), again)
                    room -= taken
        self.offered(due)
        self.finished |= set(self.counts_written())
        return out

    def visit(self, out, head, letter, dest, jobs, again):
        """Returns how many were taken, and when the destination is to be offered next (None: nothing is left)."""
        groups, taken, left = self.take(head, letter, dest, jobs)
        out += [letter, dest, left, len(groups)]
        for sub, pool, records in groups:
            out += [sub.sid, sub.flow, sub.stream, pool, str(sub.at), len(records), *records]
        return taken, max(self.until(dest), self.now + again) if left else None

    def offered(self, due):
        for (letter, dest), at in due.items():
            if at is None:
                self.ready[letter].pop(dest, None)
            else:
                self.ready[letter][dest] = at

    def take(self, head, letter, dest, jobs):
        """Weighted fair queueing between the flows with the least virtual times."""
        flows = self.vtimes.get((letter, dest), {})
        row = [flow for _, flow in sorted((vtime, flow) for flow, vtime in flows.items())[:FLOWS_SERVED]]
        weight = {flow: float(self.flows.get(flow, {}).get("weight", 1)) for flow in row}
        groups, taken = [], 0
        share = {}
        for flow in row:
            tenant = flow.split("/")[0]
            whole = sum(weight[other] for other in row if other.split("/")[0] == tenant)
            share[flow] = (whole, float(self.weights.get(tenant, 1)) * weight[flow])
        vtime = {flow: flows[flow] for flow in row}
        left = {flow: 1 for flow in row}
        quantum = max(QUANTUM, jobs // len(row) // 2) if len(row) > 1 else jobs
        while taken < jobs and row:
            flow = min(row, key=lambda name: (vtime[name], row.index(name)))
            want = min(quantum, jobs - taken)
            n, left[flow] = self.serve(groups, head, letter, dest, flow, want)
            taken += n
            vtime[flow] = vtime[flow] + n * share[flow][0] / share[flow][1]
            if (letter, dest) in self.shared and flow in self.vtimes[letter, dest]:
                self.vtimes[letter, dest][flow] = vtime[flow]
            if n < want or left[flow] == 0:
                row.remove(flow)
        return groups, taken, sum(left.values())

    def serve(self, groups, head, letter, dest, flow, jobs):
        taken = left = 0
        while taken < jobs:
            sids = self.of_flow(letter, dest, flow)[:min(jobs - taken, 32)]
            if not sids:
                return taken, 0
            gone = []
            for sid in sids:
                sub = self.submission(sid)
                n, left = self.pop(groups, head, dest, sub, jobs - taken)
                taken += n
                if left == 0:
                    gone.append(sub)
                if taken == jobs:
                    break
            for sub in gone:
                self.unlink(dest, sub)
        return taken, max(left, 1) if self.of_flow(letter, dest, flow) else 0

    def pop(self, groups, head, dest, sub, jobs):
        """Jobs of one queue: how many; how many are left, 0 if it leaves the index."""
        fields = self.flows.get(sub.flow, {})
        metered = fields.get("metered") == 1
        if self.held(dest, sub) or sub.expires <= self.now:
            self.limbo.add((dest, sub.sid))
            return 0, 0
        if sub.opens(self.now) > self.now:
            self.waiting[dest, sub.sid] = sub.opens(self.now)
            return 0, 0
        if metered and fields.get("budget", 0) < 1:
            self.starved.setdefault(sub.flow, {}).setdefault((dest, sub.sid), sub.order)
            return 0, 0
        queue = self.queues[dest, sub.sid]
        most = min(jobs, fields["budget"]) if metered else jobs
        jobs, queue[:most] = queue[:most], []
        records = []
        for job in jobs:
            reason = self.suppression(job, sub)
            if reason:
                self.event("suppressed", job, sub, reason)
                self.count(sub, "suppressed", 1, -1)
                continue
            self.flight[job.id] = (head, dest, job)
            records.append(job.record)
        if records:
            groups.append((sub, self.pool(dest, sub), records))
        if metered and records:
            self.count_flow(sub.flow, "budget", -len(records))
            self.count_flow(sub.flow, "leased", len(records))
        if not queue:
            self.emptied(dest, sub)
        return len(records), len(queue)

    def ack(self, epoch, acks):
        """acks: (id, kind, unknown, due, record, event)"""
        if epoch != self.epoch:
            return "STALE"
        ended = 0
        for job_id, kind, unknown, due, record, event in acks:
            if job_id not in self.flight:
                continue
            _, dest, job = self.flight.pop(job_id)
            sub = self.submission(job.sid)
            job = Job(record) if record else job
            ended += 1
            if kind == "retry":
                self.retries[dest, job.record] = min(due, sub.expires)
                self.count(sub, "deferred", 1)
            elif kind == "release":
                self.put(dest, sub, [job], front=True)
                fields = self.flows.get(sub.flow, {})
                if fields.get("metered") == 1 and fields.get("leased", 0) > 0:
                    self.count_flow(sub.flow, "budget", 1)
                    self.count_flow(sub.flow, "leased", -1)
                continue
            else:
                self.count(sub, kind, 1, -1)
            if self.flows.get(sub.flow, {}).get("metered") == 1:
                self.count_flow(sub.flow, "answered", 1)
            if unknown:
                self.count(sub, "unknown", 1)
            self.events.append(event)
        return [ended, *self.counts_written()]

    def expire(self, job, sub):
        self.event("expired", job, sub)
        self.count(sub, "expired", 1, -1)

    def tick(self, epoch, most, room, last):
        if epoch != self.epoch:
            return "STALE"
        now = self.now
        due = sorted((at, f"{dest}\t{record}", dest, record) for (dest, record), at in self.retries.items() if at <= now)
        over = sorted((at, f"{dest} {sid}", dest, sid) for (dest, sid), at in self.registry.items() if at <= now)
        opened = sorted((at, f"{dest} {sid}", dest, sid) for (dest, sid), at in self.waiting.items() if at <= now)
        due, opened, more = due[:most], opened[:most], 0
        for _, _, dest, sid in over:
            sub, queue = self.submission(sid), self.queues[dest, sid]
            for job in queue[:max(room, 0)]:
                self.expire(job, sub)
                room -= 1
                queue.remove(job)
            if not queue:
                self.drained(dest, sub)
            more = 1 if room <= 0 else more
        for _, _, dest, record in reversed(due):
            del self.retries[dest, record]
            job = Job(record)
            sub = self.submission(job.sid)
            if sub.expires <= now:
                self.expire(job, sub)
            else:
                self.put(dest, sub, [job], front=True)
        for _, _, dest, sid in opened:
            del self.waiting[dest, sid]
            if (dest, sid) in self.queues:
                self.link(dest, self.submission(sid))
        told = sorted(set(self.counts_written()) | self.finished)
        self.finished = set()
        more = 1 if len(due) == most or len(opened) == most else more
        return [more, sorted(map(dumps, self.orders.values())), self.notices[last:], told]

    # ---- orders, suppressions, budgets

    def ordered_away(self, action, order, dest, sub, jobs):
        for job in jobs:
            if action == "cancel":
                self.event("cancelled", job, sub, order.get("reason"))
            self.trash.setdefault(order["id"], []).append((dest, job.record))
        if jobs:
            self.count(sub, "cancelled", len(jobs), -len(jobs))
            if not sub.forgotten:
                sub.counts["kept"] = sub.counts.get("kept", 0) + len(jobs)

    def walk(self, action, order, phase, room, placed=False):
        """One slice that holds everything. Returns (whether there's more, jobs, queues)."""
        if placed and self.orders.get(order["id"]) != order:
            return False, -1, 0
        jobs = queues = 0
        again = False
        if phase == "i":
            return False, sum(self.matches(order, dest, self.submission(job.sid))
                              for _, dest, job in self.flight.values()), 0
        if phase == "x":
            for _, _, dest, sid in sorted((at, f"{dest} {sid}", dest, sid)
                                          for (dest, sid), at in self.registry.items()):
                sub, queue = self.submission(sid), self.queues[dest, sid]
                if not self.matches(order, dest, sub):
                    continue
                if action in ("cancel", "purge"):
                    moved, queue[:max(room, 0)] = queue[:max(room, 0)], []
                    room, jobs = room - len(moved), jobs + len(moved)
                    self.ordered_away(action, order, dest, sub, moved)
                    if queue:
                        again = True
                        continue
                    self.drained(dest, sub)
                else:
                    jobs += len(queue)
                    if action == "retry":
                        self.parked.pop(dest, None)
                    if action != "count" and not self.held(dest, sub):
                        self.link(dest, sub)
                        until = self.until(dest)
                        if dest in self.ready[sub.letter]:
                            self.ready[sub.letter][dest] = max(until, self.now)
                queues += 1
        if phase == "t":
            for _, _, dest, record in sorted((at, f"{dest}\t{record}", dest, record)
                                             for (dest, record), at in self.retries.items()):
                job = Job(record)
                sub = self.submission(job.sid)
                if not self.matches(order, dest, sub):
                    continue
                jobs += 1
                if action != "count" and action != "link":
                    del self.retries[dest, record]
                if action in ("cancel", "purge"):
                    self.ordered_away(action, order, dest, sub, [job])
                elif action == "retry":
                    self.parked.pop(dest, None)
                    self.put(dest, sub, [job], front=True)
        self.counts_written()
        return again, jobs, queues

    def restore(self, order_id, most):
        trash = self.trash.get(order_id, [])
        back = gone = 0
        for dest, record in trash[:most]:
            job = Job(record)
            sub = self.submission(job.sid)
            if sub.forgotten:
                gone += 1
                continue
            self.put(dest, sub, [job])
            self.event("restored", job, sub, "")
            self.count(sub, "cancelled", -1, 1)
            sub.counts["kept"] = sub.counts.get("kept", 0) - 1
            back += 1
        del trash[:most]
        if not trash:
            self.trash.pop(order_id, None)
        self.counts_written()
        return [back, gone, len(trash)]

    def suppress(self, address, scope, entry):
        scopes = self.suppressions.get(address, {})
        if entry is None and scope not in scopes:
            return 0
        if entry is None:
            del scopes[scope]
        else:
            scopes[scope] = entry
            self.notices.append([address, scope])
        self.suppressions[address] = scopes
        if not scopes:
            del self.suppressions[address]
        return 1

    def grant(self, flow, on, more, most, room):
        fields = self.flows.setdefault(flow, {})
        if on:
            had = fields.get("budget", 0)
            fields["budget"] = max(0, min(had + more, max(had, most)))
            fields["metered"] = 1
            room = min(room, fields["budget"])
        else:
            for name in ("metered", "budget", "leased", "answered"):
                fields.pop(name, None)
        members = sorted((order, f"{dest} {sid}", dest, sid)
                         for (dest, sid), order in self.starved.get(flow, {}).items())
        for _, _, dest, sid in members[:max(room, 0)]:
            del self.starved[flow][dest, sid]
            if (dest, sid) in self.queues:
                self.link(dest, self.submission(sid))
        counts = [fields.get(name, 0) for name in ("budget", "leased", *"accepted delivered bounced expired suppressed "
                                                   "cancelled deferred answered".split())]
        if not self.starved.get(flow):
            self.starved.pop(flow, None)
        if not fields:
            del self.flows[flow]
        return [*counts[:2], len(self.starved.get(flow, {})), *counts[2:]]

    # ---- the whole state

    def state(self):
        """Key (behind the partition's prefix) -> its value as text."""
        keys = {}

        def zset(name, scores):
            rows = sorted((score, member) for member, score in scores)
            if rows:
                keys[name] = "\x1e".join([f"{member}\x1e{number(score)}" for score, member in rows])

        def fields(name, values):
            rows = sorted([f"{field}\x1e{value}" for field, value in values])
            if rows:
                keys[name] = "\x1e".join(rows)

        keys["e"] = str(self.epoch)
        if self.owner:
            keys["o"] = self.owner
        keys["h"] = "%s %d" % self.holder
        for (dest, sid), jobs in self.queues.items():
            keys[f"q:{dest} {sid}"] = "\x1e".join([job.record for job in jobs])
        zset("x", ((f"{dest} {sid}", at) for (dest, sid), at in self.registry.items()))
        zset("t", ((f"{dest}\t{record}", at) for (dest, record), at in self.retries.items()))
        fields("i", ((job_id, f"{head}{dest}\t{job.record}") for job_id, (head, dest, job) in self.flight.items()))
        zset("w", ((f"{dest} {sid}", at) for (dest, sid), at in self.waiting.items()))
        by_flow, soles = {}, {}
        for (dest, sid), order in self.linked.items():
            sub = self.submission(sid)
            shared = (sub.letter, dest) in self.shared
            soles.setdefault(sub.letter, {})[dest] = "*" if shared else sid
            if shared:
                by_flow.setdefault((sub.letter, dest, sub.flow), []).append((sid, order))
        for (letter, dest, flow), sids in by_flow.items():
            zset(f"f:{letter}:{dest} {flow}", sids)
        for letter, dests in soles.items():
            fields(f"s:{letter}", dests.items())
        for letter, dest in self.shared:
            zset(f"d:{letter}:{dest}", self.vtimes[letter, dest].items())
        for letter in CLASSES:
            zset(f"r:{letter}", self.ready[letter].items())
        for flow, members in self.starved.items():
            zset(f"b:{flow}", ((f"{dest} {sid}", order) for (dest, sid), order in members.items()))
        fields("k", self.parked.items())
        for sid, sub in self.submissions.items():
            fields(f"g:{sid}", [*sub.fields.items(), *sub.counts.items()])
        for flow, values in self.flows.items():
            fields(f"c:{flow}", values.items())
        fields("n", self.totals.items())
        fields("a", ((name, dumps(order)) for name, order in self.orders.items()))
        fields("u", ((address, dumps(scopes)) for address, scopes in self.suppressions.items()))
        fields("v", self.weights.items())
        fields("l", self.sites.items())
        for (tenant, key), job_id in self.keys.items():
            keys[f"y:{tenant}/{key}"] = job_id
        for entry, part in self.parts.items():
            keys[f"m:{entry}"] = str(part)
        for order_id, jobs in self.trash.items():
            keys[f"z:{order_id}"] = "\x1e".join([f"{dest}\t{record}" for dest, record in jobs])
        if self.finished:
            keys["fin"] = "\x1e".join(sorted(self.finished))
        return keys

    # ---- what must hold at any time

    def check(self):
        """Returns what is wrong, or None."""
        held, places = {}, 0
        for jobs in self.queues.values():
            places += len(jobs)
            for job in jobs:
                held[job.id] = job.sid
        for _, record in self.retries:
            job = Job(record)
            held[job.id] = job.sid
        held.update((job_id, job.sid) for job_id, (_, _, job) in self.flight.items())
        if len(held) != places + len(self.retries) + len(self.flight):
            return "a job is in two places"
        ended = sum(self.totals.get(name, 0) for name in ENDS)
        if self.totals.get("accepted", 0) != ended + len(held):
            return "accepted is not ended and open"
        opened = {}
        for sid in held.values():
            opened[sid] = opened.get(sid, 0) + 1
        for sid, sub in self.submissions.items():
            if sub.counts.get("open", 0) != opened.get(sid, 0):
                return f"the open jobs of {sid}"
            if sub.counts.get("accepted", 0) != sum(sub.counts.get(name, 0) for name in ENDS) + opened.get(sid, 0):
                return f"the counters of {sid} don't add up"
        for dest, sid in self.queues:
            queue, sub = (dest, sid), self.submission(sid)
            if not (queue in self.linked or queue in self.waiting or queue in self.starved.get(sub.flow, ())
                    or queue in self.limbo or sub.expires <= self.now or self.held(dest, sub)):
                return f"{dest} {sid} is lost to the index"
        for letter, dest in self.vtimes:
            if dest not in self.ready[letter]:
                return f"{dest} is never offered in class {letter}"
        return None


def dumps(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
