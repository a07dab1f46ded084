"""What a message costs to render and to sign, beside what `openssl speed` says that a signature costs."""
import json
import os
import statistics
import subprocess

from .processes import Failure
from .stage import note

SLICES = 7


def _run(words):
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failure(done.stderr.strip())
    return done.stdout


def _signatures_per_second(algorithm):
    """`openssl speed -mr` ends a row of results with signatures and verifications per second."""
    rows = [line for line in _run(["openssl", "speed", "-mr", "-seconds", "1", algorithm]).splitlines() if line.startswith("+F")]
    return float(rows[-1].split(":")[-2])


def render(options):
    """Messages per second and core, and signed ones per signature of OpenSSL's; in turn, the median of each."""
    slices = []
    for number in range(SLICES):
        note(options, f"render: {number + 1} of {SLICES} …")
        spent = json.loads(_run([os.path.join(options.build, "bench-render")]))
        for kind, algorithm in (("rsa", "rsa2048"), ("ed25519", "ed25519")):
            spent[f"openssl_{kind}"] = _signatures_per_second(algorithm)
            for size in ("4k", "4k_common", "50k", "50k_common"):
                if f"{kind}_{size}_us" in spent:
                    spent[f"dkim_{kind}_ratio_{size}"] = 1e6 / spent[f"{kind}_{size}_us"] / spent[f"openssl_{kind}"]
        slices.append(spent)
    median = {key: statistics.median(spent[key] for spent in slices) for key in slices[0]}
    figures = {"openssl_rsa2048_signatures_per_second": median["openssl_rsa"],
               "openssl_ed25519_signatures_per_second": median["openssl_ed25519"],
               "dkim_rsa_ratio": median["dkim_rsa_ratio_4k"], "dkim_ed25519_ratio": median["dkim_ed25519_ratio_4k"]}
    rows = []
    for key, value in median.items():
        if key.endswith("_us"):
            name = key[:-3]
            figures[f"{name}_messages_per_second"] = 1e6 / value
            figures[f"{name}_allocations_per_message"] = median[f"{name}_allocations"]
            rows.append((f"{name}: messages per second and core; µs; allocations",
                         f"{1e6 / value:,.0f}; {value:.2f}; {median[f'{name}_allocations']:.1f}", ""))
        elif key.startswith("dkim_"):
            figures[key] = value
            rows.append((f"  {key}", f"{value:.2f}", ">= 0.85" if "_rsa_" in key else ">= 0.60"))
    return figures, rows
