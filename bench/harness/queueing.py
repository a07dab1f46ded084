"""The queue without SMTP: bench-queue fills a Redis and drains it as the engine does."""
import json
import os
import subprocess

from .processes import Failure, Redis, run_folder, stopping

# Jobs measured in each cell, in slices: other work on the machine only ever adds to a slice, so that the lower quartile
# of many says more than their mean.
DRAINED, SLICES = 200000, 20
SIZES = {"10k": 10000, "1m": 1000000, "10m": 10000000}
DESTINATIONS = (1, 1000, 100000)
QUICK_DRAINED, QUICK_SLICES = 10000, 4


def _load(options, fsync, *arguments):
    """One run of bench-queue against a Redis of its own; its result."""
    program = os.path.join(options.build, "bench-queue")
    with run_folder(options.keep) as folder:
        # No rewrite of the append-only file in the middle: when one comes is chance.
        redis = Redis(folder, fsync, "--auto-aof-rewrite-percentage", "0")
        with stopping(redis):
            words = [program, "--redis", redis.url, *map(str, arguments)]
            done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder)
            if done.returncode != 0:
                raise Failure(f"{' '.join(words)}: {done.stderr.strip()}\n{redis.log_tail()}")
            return json.loads(done.stdout)


def _cell(options, jobs, destinations, fsync="everysec"):
    """Lists shorter than what is measured are queued and drained again and again."""
    drained, slices = (QUICK_DRAINED, QUICK_SLICES) if options.quick else (DRAINED, SLICES)
    if jobs > drained:
        shape = ["--drain", drained, "--slices", slices]
    else:
        shape = ["--rounds", max(1, drained // jobs) if jobs < drained else slices]
    return _load(options, fsync, "--jobs", jobs, "--destinations", min(jobs, destinations), *shape)


def queue(options):
    """Leases and ends of jobs: what they cost Redis, by the length of the queue and the number of destinations."""
    sizes = {"10k": SIZES["10k"]} if options.quick else SIZES
    figures, rows, costs, longest = {}, [], [], 0
    for name, jobs in sizes.items():
        for destinations in DESTINATIONS:
            if not options.quiet:
                print(f"queue: {jobs:,} jobs, {destinations:,} destinations …", flush=True)
            result = _cell(options, jobs, destinations)
            cell = f"{name}_{destinations}"
            slowest = max(result["longest_us"].values())
            costs.append(result["redis_cpu_us_per_job"])
            longest = max(longest, slowest)
            figures[f"redis_cpu_us_per_job_{cell}"] = result["redis_cpu_us_per_job"]
            figures[f"leases_per_second_{cell}"] = result["leases_per_second"]
            figures[f"queueing_cpu_us_per_job_{cell}"] = result["queueing_cpu_us_per_job"]
            figures[f"memory_bytes_per_job_{cell}"] = result["memory_bytes_per_job"]
            figures[f"longest_call_us_{cell}"] = slowest
            rows.append((f"{jobs:,} jobs, {destinations:,} destinations: Redis µs, leases/s, bytes, longest ms",
                         f"{result['redis_cpu_us_per_job']:.1f}, {result['leases_per_second']:,.0f}, "
                         f"{result['memory_bytes_per_job']:.0f}, {slowest / 1000:.1f}", ""))
    figures["flatness"] = max(costs) / min(costs)
    figures["longest_call_us"] = longest
    rows += [("dearest job / cheapest job", f"{figures['flatness']:.2f}", "<= 1.5"),
             ("longest call of all, ms", f"{longest / 1000:.1f}", "<= 20")]
    rows += _fsyncs(options, figures)
    return figures, rows


def _fsyncs(options, figures):
    """The same load with each write synced to disk before it's answered, and once a second; alternating, because the
    disk is shared too."""
    jobs = SIZES["10k"] if options.quick else SIZES["1m"]
    best = {"always": 0.0, "everysec": 0.0}
    for _ in range(1 if options.quick else 3):
        for fsync in best:
            if not options.quiet:
                print(f"queue: appendfsync {fsync} …", flush=True)
            best[fsync] = max(best[fsync], _cell(options, jobs, 1000, fsync)["leases_per_second_median"])
    figures.update({f"leases_per_second_{fsync}": best[fsync] for fsync in best})
    figures["always_over_everysec"] = best["always"] / best["everysec"]
    return [(f"leases per second, appendfsync {fsync}", f"{best[fsync]:,.0f}", "") for fsync in best] + [
        ("always / everysec", f"{figures['always_over_everysec']:.2f}", ">= 0.5")]
