"""`eilpost demo`, small, on both bodies of the event loop: it judges itself by the sink's script and ledger, its exit code says so."""
import sys

from scenario import campaign


def main():
    checks = campaign.Checks()
    for io in ("io_uring", "epoll"):
        done = campaign.eilpost("demo", "--recipients", "2000", "--io", io, check=False)
        checks.equal(done.returncode, 0, f"demo on {io}: {done.stdout}{done.stderr}")
        checks.that("delivered" in done.stdout and "p99" in done.stdout, f"demo on {io} prints its summary")
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
