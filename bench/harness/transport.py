"""What TLS and DNS cost: handshakes against bare OpenSSL, and a campaign in which no two messages share a domain."""
import json
import os
import subprocess
import time

from . import campaign
from .processes import Failure, run_folder, stopping, wait_for_success
from .stage import Stage, note, wait_for_delivery

HANDSHAKES, SLICES = 2000, 7
LONG_TAIL = 100000


def _handshakes(options, at_once):
    words = [os.path.join(options.build, "bench-tls"), "--count", str(HANDSHAKES), "--slices", str(SLICES),
             "--at-once", str(at_once)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failure(done.stderr.strip())
    return json.loads(done.stdout)


def _long_tail(options, *sink_arguments):
    """One message to each of many domains, each with an MX host of its own name."""
    count = options.messages or LONG_TAIL
    with run_folder(options.keep) as folder:
        stage = Stage(options, folder, list(sink_arguments), {"workers": options.workers})
        with stopping(stage):
            rows = campaign.write_list(os.path.join(folder, "list.csv"), count, count)
            template = campaign.write_template(os.path.join(folder, "template.txt"), 1)
            cpu_before, start = stage.cpu(), time.monotonic()
            wait_for_success(stage.engine.submit(rows, template))
            wait_for_delivery(stage, count, options.patience_s)
            seconds, cpu_after = time.monotonic() - start, stage.cpu()
            report, counters = stage.sink.report(), stage.engine.stats()["counters"]
            result = {
                "messages_per_second": count / seconds,
                "lookups_per_message": counters["dns_lookups"] / count,
                "cache_hits_per_message": counters["dns_cache_hits"] / count,
                "engine_peak_rss_bytes": stage.engine.memory_bytes("VmHWM"),
                "sessions_peak": report["sessions_peak"],
                "lost": count - report["unique"],
                "duplicated": report["duplicates"],
            }
            for name in cpu_before:
                result[f"{name}_cpu_us_per_message"] = (cpu_after[name] - cpu_before[name]) * 1e6 / count
    return result


def tls(options):
    """Handshakes per second and core beside bare OpenSSL's, and 100,000 domains that get one message each."""
    figures, rows = {}, []
    for at_once, suffix in ((1, ""), (32, "_32")):
        note(options, f"tls: handshakes, {at_once} at once …")
        spent = _handshakes(options, at_once)
        for kind in ("full", "resumed"):
            bare, ours = spent[f"{kind}_bare_us"], spent[f"{kind}_ours_us"]
            figures[f"{kind}_handshake_ratio{suffix}"] = bare / ours
            figures[f"{kind}_handshakes_per_second{suffix}"] = 1e6 / ours
            figures[f"{kind}_handshakes_per_second_bare{suffix}"] = 1e6 / bare
            rows.append((f"{kind} handshakes per second and core, {at_once} at once; bare OpenSSL",
                         f"{1e6 / ours:,.0f}; {1e6 / bare:,.0f}", ""))
            rows.append(("  ours / bare", f"{bare / ours:.2f}", ">= 0.80"))
        figures[f"resumed_share{suffix}"] = spent["resumed_ours_resumed"]
    figures["lost"] = figures["duplicated"] = 0
    for name, arguments in (("clear", []), ("tls", ["--starttls"])):
        note(options, f"tls: long tail, {name} …")
        result = _long_tail(options, *arguments)
        figures.update({f"long_tail_{name}_{key}": value for key, value in result.items()})
        figures["lost"] += result["lost"]
        figures["duplicated"] += result["duplicated"]
        rows += [
            (f"long tail, {name}: messages per second", f"{result['messages_per_second']:,.0f}", ""),
            ("  look-ups, answers from the cache per message",
             f"{result['lookups_per_message']:.2f}, {result['cache_hits_per_message']:.2f}", ""),
            ("  CPU µs per message of engine, Redis, sink",
             ", ".join(f"{result[f'{who}_cpu_us_per_message']:.0f}" for who in ("engine", "redis", "sink")), ""),
            ("  engine peak RSS MiB, sessions at most",
             f"{result['engine_peak_rss_bytes'] / 2**20:.0f}, {result['sessions_peak']:,}", ""),
            ("  lost, duplicated", f"{result['lost']}, {result['duplicated']}", "0, 0"),
        ]
    return figures, rows
