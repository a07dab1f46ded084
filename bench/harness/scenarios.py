"""What is measured. Each scenario is a function that takes the run's options and returns its figures (a dict, units in
the names) and the rows of its table: (what, value, what is asked or "")."""
import os
import statistics
import time

from . import campaign
from .postfix import postfix
from .processes import Failure, Sink, blast, run_folder, stopping, wait_for_success, wait_until
from .queueing import queue
from .stage import Stage, head_of, note, wait_for_delivery
from .rendering import render
from .transport import tls

DOMAINS = 200
MESSAGE_BYTES = 4096


# ---- e2e ----

def _deliver(options, folder, chunking):
    """One campaign through Redis, engine and sink; a dict of what was measured."""
    sink_arguments = [] if chunking else ["--no-chunking"]
    stage = Stage(options, folder, sink_arguments, {"workers": options.workers})
    with stopping(stage):
        count = options.messages or 200000
        rows = campaign.write_list(os.path.join(folder, "list.csv"), count, DOMAINS)
        template, _ = campaign.template_of_size(folder, stage.engine, head_of(rows, folder), MESSAGE_BYTES)
        cpu_before, start = stage.cpu(), time.monotonic()
        submission = stage.engine.submit(rows, template)
        submit_cpu = wait_for_success(submission)
        submitted = time.monotonic()
        wait_for_delivery(stage, count, options.patience_s)
        end, cpu_after = time.monotonic(), stage.cpu()
        report = stage.sink.report()
        stats = stage.engine.stats()
        result = {
            "messages": count,
            "messages_per_second": count / (end - start),
            "submit_seconds": submitted - start,
            "seconds": end - start,
            "submit_cpu_us_per_message": submit_cpu * 1e6 / count,
            "engine_peak_rss_bytes": stage.engine.memory_bytes("VmHWM"),
            "redis_peak_rss_bytes": stage.redis.memory_bytes("VmHWM"),
            "message_bytes": report["bytes"] / max(report["messages"], 1),
            "lost": count - report["unique"],
            "duplicated": report["duplicates"],
            "sessions_peak": report["sessions_peak"],
            "bdat_share": report["bdat"] / max(report["messages"], 1),
            "violations": report["protocol_errors"] + report["pipelining_violations"] + report["bare_lf_commands"],
            "latency_p50_ms": stats["latency_ms"]["total"]["p50"],
            "latency_p99_ms": stats["latency_ms"]["total"]["p99"],
        }
        for name in cpu_before:
            result[f"{name}_cpu_us_per_message"] = (cpu_after[name] - cpu_before[name]) * 1e6 / count
    return result


def _blast_same(options, folder, shape, flight, connections, count):
    """The bare blaster against a fresh sink with the same settings."""
    sink = Sink(options.build, folder, *([] if shape == "bdat" else ["--no-chunking"]), name=f"sink-{shape}{flight}")
    with stopping(sink):
        before = sink.cpu_seconds()
        result = blast(options.build, sink, ["--shape", shape, "--flight", str(flight), "--connections", str(connections),
                                             "--messages", str(count), "--size", str(MESSAGE_BYTES), "--to-domains", str(DOMAINS)])
        result["sink_cpu_us_per_message"] = (sink.cpu_seconds() - before) * 1e6 / count
        report = sink.report()
        if report["unique"] != count or report["duplicates"]:
            raise Failure(f"the blaster's run lost or doubled mail: {report}")
    return result


def e2e(options):
    """A campaign of 4 KiB messages to 200 domains, with CHUNKING offered and without, and the bare blaster
    against the same sinks."""
    figures, rows = {}, []
    for chunking, shape in ((True, "bdat"), (False, "pipe")):
        offered = "CHUNKING offered" if chunking else "no CHUNKING"
        note(options, f"e2e, {offered}: engine …")
        with run_folder(options.keep) as folder:
            engine = _deliver(options, folder, chunking)
            connections = max(1, engine["sessions_peak"])
            note(options, f"e2e, {offered}: blaster, {shape}, {connections} connections …")
            blaster = _blast_same(options, folder, shape, 1, connections, engine["messages"])
            if chunking:
                flights = _blast_same(options, folder, shape, 4, connections, engine["messages"])
                engine["blaster_flight4_cpu_us_per_message"] = flights["cpu_us_per_message"]
        ratio = engine["engine_cpu_us_per_message"] / blaster["cpu_us_per_message"]
        engine["blaster_cpu_us_per_message"] = blaster["cpu_us_per_message"]
        engine["blaster_messages_per_second"] = blaster["messages_per_second"]
        engine["engine_to_blaster_cpu_ratio"] = ratio
        rows += _e2e_rows(offered, shape, engine, blaster)
        if chunking:
            figures.update(engine)
        figures.update({f"{name}_{shape}": value for name, value in engine.items()})
    figures["lost"] = figures["lost_bdat"] + figures["lost_pipe"]
    figures["duplicated"] = figures["duplicated_bdat"] + figures["duplicated_pipe"]
    return figures, rows


def _e2e_rows(offered, shape, engine, blaster):
    return [
        (f"-- {offered}", "", ""),
        ("messages per second, end to end", f"{engine['messages_per_second']:,.0f}", ">= 20,000"),
        ("engine CPU µs per message", f"{engine['engine_cpu_us_per_message']:.1f}", ""),
        ("redis CPU µs per message", f"{engine['redis_cpu_us_per_message']:.1f}", ""),
        ("sink CPU µs per message", f"{engine['sink_cpu_us_per_message']:.1f}", ""),
        ("submission CPU µs per message", f"{engine['submit_cpu_us_per_message']:.1f}", ""),
        (f"blaster CPU µs per message, {shape}", f"{blaster['cpu_us_per_message']:.1f}", ""),
        (f"blaster messages per second, {shape}", f"{blaster['messages_per_second']:,.0f}", ""),
        *([("blaster CPU µs per message, bdat, flights of 4",
            f"{engine['blaster_flight4_cpu_us_per_message']:.1f}", "")] if shape == "bdat" else []),
        ("engine CPU / blaster CPU", f"{engine['engine_to_blaster_cpu_ratio']:.2f}", "<= 2.5"),
        ("engine peak RSS MiB", f"{engine['engine_peak_rss_bytes'] / 2**20:.1f}", ""),
        ("sessions, peak", f"{engine['sessions_peak']}", ""),
        ("message bytes", f"{engine['message_bytes']:.0f}", ""),
        ("submission seconds of all seconds", f"{engine['submit_seconds']:.2f} of {engine['seconds']:.2f}", ""),
        ("lost, duplicated, violations",
         f"{engine['lost']}, {engine['duplicated']}, {engine['violations']}", "0, 0, 0"),
    ]


# ---- sessions ----

SESSIONS = 5000


def sessions(options):
    """5,000 sessions at once against a sink that answers everything after 100 ms.

    The sink offers neither PIPELINING nor CHUNKING, so that a message takes four answers: with fewer, this machine's
    CPU and not the wait would decide how many sessions have something to do."""
    per_site = SESSIONS // DOMAINS
    count = options.messages or 200000
    settings = {
        "workers": options.workers,
        "pool.connections_per_site": per_site,
        "pool.connect_concurrency_per_site": per_site,
        "queue.jobs_in_flight": SESSIONS,
        "queue.per_destination": per_site * 2,
    }
    with run_folder(options.keep) as folder:
        stage = Stage(options, folder, ["--delay-ms", "100", "--no-pipelining", "--no-chunking"], settings)
        with stopping(stage):
            rows = campaign.write_list(os.path.join(folder, "list.csv"), count, DOMAINS)
            template, _ = campaign.template_of_size(folder, stage.engine, head_of(rows, folder), MESSAGE_BYTES)
            rss_before = stage.engine.memory_bytes("VmRSS")
            note(options, "sessions: submitting …")
            submission = stage.engine.submit(rows, template)
            samples = _sample_sessions(stage, submission, count, options.patience_s)
            report = stage.sink.report()
            failed = stage.engine.stats()["sessions"]["failed_total"]
    steady = _plateau(samples)
    open_sessions = statistics.median(sample["open"] for sample in steady)
    rss = max(sample["rss"] for sample in steady)
    seconds = steady[-1]["at"] - steady[0]["at"]
    figures = {
        "sessions": open_sessions,
        "sessions_min": min(sample["open"] for sample in steady),
        "sessions_max": max(sample["open"] for sample in steady),
        "engine_bytes_per_session": (rss - rss_before) / open_sessions,
        "engine_rss_before_bytes": rss_before,
        "engine_rss_bytes": rss,
        "engine_render_bytes": max(sample["render_bytes"] for sample in steady),
        "jobs_held": max(sample["jobs_held"] for sample in steady),
        "steady_seconds": seconds,
        "messages_per_second": (steady[-1]["messages"] - steady[0]["messages"]) / seconds if seconds else 0.0,
        "sessions_failed": failed,
        "lost": count - report["unique"],
        "duplicated": report["duplicates"],
    }
    return figures, [
        ("sessions open at once, median", f"{open_sessions:,.0f}", f"{SESSIONS:,}"),
        ("sessions, least and most while steady", f"{figures['sessions_min']:,} … {figures['sessions_max']:,}", ""),
        ("engine bytes per session", f"{figures['engine_bytes_per_session']:,.0f}", "<= 16,384"),
        ("engine RSS MiB before, with sessions", f"{rss_before / 2**20:.1f}, {rss / 2**20:.1f}", ""),
        ("of it rendered messages MiB", f"{figures['engine_render_bytes'] / 2**20:.1f}", ""),
        ("jobs held, most", f"{figures['jobs_held']:,}", ""),
        ("steady for seconds", f"{seconds:.1f}", ""),
        ("messages per second while steady", f"{figures['messages_per_second']:,.0f}", ""),
        ("sessions failed", f"{failed}", "0"),
        ("lost, duplicated", f"{figures['lost']}, {figures['duplicated']}", "0, 0"),
    ]


def _sample_sessions(stage, submission, count, patience_s):
    """Sessions, memory and messages five times a second until all are delivered."""
    samples, last, moved = [], -1, time.monotonic()
    while True:
        stage.check_alive()
        report = stage.sink.report()
        gauges = stage.engine.stats()["gauges"]
        samples.append({"at": time.monotonic(), "open": report["sessions_open"], "messages": report["messages"],
                        "rss": stage.engine.memory_bytes("VmRSS"), "render_bytes": gauges["render_bytes"],
                        "jobs_held": gauges["jobs_held"]})
        if submission.child.poll() not in (None, 0):
            raise Failure(f"submission failed:\n{submission.log_tail()}")
        if report["unique"] >= count and stage.engine.settled():
            return samples
        if report["messages"] != last:
            last, moved = report["messages"], time.monotonic()
        elif time.monotonic() - moved > patience_s:
            raise Failure(f"stuck at {report['unique']} of {count} messages; the engine's log ends with\n"
                          f"{stage.engine.log_tail()}")
        time.sleep(0.2)


def _plateau(samples):
    """The samples from the first to the last with 95 % of the most sessions: opening and closing left out."""
    most = max(sample["open"] for sample in samples)
    high = [i for i, sample in enumerate(samples) if sample["open"] >= most * 0.95]
    if most == 0:
        raise Failure("no session was ever open")
    return samples[high[0]:high[-1] + 1]


# ---- backlog ----

def backlog(options):
    """A long list in the queue of an engine that gets nowhere: what a waiting recipient costs in Redis."""
    count = options.messages or 1000000
    with run_folder(options.keep) as folder:
        script = os.path.join(folder, "silence.script")
        with open(script, "w", encoding="ascii") as out:
            out.write("phase=greeting silence\n")
        stage = Stage(options, folder, ["--script", script], {"workers": options.workers})
        with stopping(stage):
            rows = campaign.write_list(os.path.join(folder, "list.csv"), count, DOMAINS, data_bytes=60)
            template = campaign.write_template(os.path.join(folder, "template.txt"), 1)
            before = stage.redis.used_memory()
            note(options, "backlog: submitting …")
            start = time.monotonic()
            submit_cpu = wait_for_success(stage.engine.submit(rows, template))
            wait_until("the list to be in the queue", lambda: _queued(stage, count), options.patience_s * 10, 0.2)
            seconds = time.monotonic() - start
            used = stage.redis.used_memory() - before
            held = stage.engine.stats()["gauges"]["jobs_held"]
            figures = {
                "redis_bytes_per_recipient": used / count,
                "recipients": count,
                "seconds_until_queued": seconds,
                "recipients_per_second": count / seconds,
                "submit_cpu_us_per_recipient": submit_cpu * 1e6 / count,
                "redis_cpu_us_per_recipient": stage.redis.cpu_seconds() * 1e6 / count,
                "redis_peak_rss_bytes": stage.redis.memory_bytes("VmHWM"),
                "engine_peak_rss_bytes": stage.engine.memory_bytes("VmHWM"),
                "jobs_held": held,
            }
    return figures, [
        ("redis bytes per queued recipient", f"{figures['redis_bytes_per_recipient']:.1f}", "<= 250"),
        ("recipients", f"{count:,}", ""),
        ("seconds until all are queued", f"{seconds:.1f}", ""),
        ("recipients queued per second", f"{figures['recipients_per_second']:,.0f}", ""),
        ("submission CPU µs per recipient", f"{figures['submit_cpu_us_per_recipient']:.1f}", ""),
        ("redis CPU µs per recipient", f"{figures['redis_cpu_us_per_recipient']:.1f}", ""),
        ("engine peak RSS MiB", f"{figures['engine_peak_rss_bytes'] / 2**20:.1f}", ""),
        ("jobs the engine holds meanwhile", f"{held:,}", ""),
    ]


def _queued(stage, count):
    stage.check_alive()
    status = stage.engine.queue_status()
    return status["totals"]["accepted"] >= count and status["now"]["submit_entries"] == 0


# ---- blaster ----

def blaster(options):
    """The bare blaster alone, every shape: the limit of this machine."""
    figures, rows = {}, []
    count = options.messages or 200000
    with run_folder(options.keep) as folder:
        for connections in (64, 1000):
            for shape, flight in (("pipe", 1), ("dotpipe", 1), ("bdat", 1), ("bdat", 4), ("bdat", 8)):
                name = f"{shape}{flight if flight > 1 else ''}_c{connections}"
                sink = Sink(options.build, folder, name=f"sink-{name}")
                with stopping(sink):
                    before = sink.cpu_seconds()
                    result = blast(options.build, sink, ["--shape", shape, "--flight", str(flight), "--connections",
                                                         str(connections), "--messages", str(count)])
                    sink_us = (sink.cpu_seconds() - before) * 1e6 / count
                figures[f"blaster_cpu_us_per_message_{name}"] = result["cpu_us_per_message"]
                figures[f"sink_cpu_us_per_message_{name}"] = sink_us
                figures[f"messages_per_second_{name}"] = result["messages_per_second"]
                rows.append((f"{name}: messages/s, blaster µs, sink µs",
                             f"{result['messages_per_second']:,.0f}, {result['cpu_us_per_message']:.1f}, {sink_us:.1f}", ""))
    return figures, rows


SCENARIOS = {"e2e": e2e, "sessions": sessions, "backlog": backlog, "queue": queue, "blaster": blaster,
             "tls": tls, "render": render, "postfix": postfix}
