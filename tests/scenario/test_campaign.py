"""Campaigns under the engine's control, as the receiver sees them: rates, canaries, ETA, counts that always add up."""
import sys
import threading
import time

from scenario import campaign, operators

RATE, WINDOW_S = 50, 1.0
# What may be saved up (300 ms' worth, and one), and how much later than it was granted the last one of it may arrive.
SAVED, LATE_S = RATE * 3 // 10 + 1, 0.3
DOMAINS = [f"d{i}.test" for i in range(20)]


def most_within(times, seconds):
    times, most, first = sorted(times), 0, 0
    for last, at in enumerate(times):
        while at - times[first] >= seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


class Counting(threading.Thread):
    """Looks at a campaign's counts all the time that it runs."""

    def __init__(self, stage, flow):
        super().__init__(daemon=True)
        self.stage, self.flow, self.wrong, self.looks, self.over = stage, flow, [], 0, False

    def run(self):
        while not self.over:
            totals = self.stage.run("campaign", "show", self.flow)["totals"]
            self.looks += 1
            if not operators.adds_up(totals):
                self.wrong.append(totals)

    def end(self):
        self.over = True
        self.join()


def a_rate_holds_on_two_nodes(checks):
    with operators.Stage(nodes=2) as stage:
        stage.run("campaign", "rate", "acme/june", str(RATE))
        sent = operators.addresses("user", 400, DOMAINS)
        stage.submit("june", sent, tenant="acme", campaign="june")
        stage.until_taken_in(len(sent))
        counting = Counting(stage, "acme/june")
        counting.start()
        stage.ledger.until(150)
        shown = stage.run("campaign", "show", "acme/june")
        checks.that(shown["eta_s"] is None or shown["eta_s"] > 0, f"an ETA while it goes: {shown['eta_s']}")
        stage.ledger.until(250)
        limited = [at for times in stage.ledger.times.values() for at in times]
        stage.run("campaign", "rate", "acme/june", "off")
        stage.until_ended(len(sent))
        counting.end()
        most = most_within(limited, WINDOW_S)
        took = max(limited) - min(limited)
        print(f"rate {RATE}: {len(limited)} messages in {took:.1f} s, at most {most} in a second")
        checks.that(most <= RATE * (WINDOW_S + LATE_S) + SAVED, f"messages in a second: {most}")
        checks.that(all(len(times) == 1 for times in stage.ledger.refresh().times.values()), "nobody twice")
        checks.equal(len(stage.ledger.times), len(sent), "served in the end")
        checks.that(counting.looks > 3 and not counting.wrong, f"{counting.looks} looks at the counts, wrong: {counting.wrong[:3]}")


def a_canary_that_fails_stops_the_campaign(checks):
    with operators.Stage("recipient=bad-* rcpt=550 5.1.1 no such user\n") as stage:
        stage.run("campaign", "canary", "acme/july", "--first", "40", "--max-bounce", "10%")
        sent = [f"{'bad' if i % 4 == 0 else 'good'}-{i}@{DOMAINS[i % len(DOMAINS)]}" for i in range(400)]
        stage.submit("july", sent, tenant="acme", campaign="july")
        stage.until_taken_in(len(sent))
        stage.wait(lambda: stage.run("campaign", "show", "acme/july")["state"] == "stopped", "the canary's end")
        shown = stage.run("campaign", "show", "acme/july")
        checks.that(shown["reason"].startswith("canary: ") and "% bounced of" in shown["reason"], f"the reason: {shown['reason']}")
        checks.equal(shown["canary"]["state"], "failed", "the canary's state")
        totals = shown["totals"]
        checks.that(totals["delivered"] + totals["bounced"] <= 40, f"sent before the stop: {totals}")
        time.sleep(1)  # what must not happen can't be awaited
        checks.equal(stage.run("campaign", "show", "acme/july")["totals"], totals, "counts a second later")
        told = stage.run("queue", "explain", "july.0-1" if totals["open"] else "july.0-0")
        checks.that(any("c:acme/july" in line or "canary" in line for line in told.get("why", [])) or told["state"] == "ended",
                    f"why not yet: {told}")
        stage.run("campaign", "resume", "acme/july")
        stage.until_ended(len(sent))
        done = stage.run("campaign", "show", "acme/july")["totals"]
        checks.equal((done["delivered"], done["bounced"]), (300, 100), "in the end, as the operator wanted it")


def a_canary_that_passes_lets_the_rest_go(checks):
    with operators.Stage() as stage:
        stage.run("campaign", "canary", "acme/august", "--percent", "10%", "--max-bounce", "10%", "--max-deferral", "50%")
        sent = operators.addresses("user", 400, DOMAINS)
        stage.submit("august", sent, tenant="acme", campaign="august")
        stage.until_ended(len(sent))
        checks.equal(stage.run("campaign", "show", "acme/august")["canary"]["state"], "passed", "the canary's state")
        checks.equal(len(stage.ledger.refresh().times), len(sent), "served")


def main():
    checks = campaign.Checks()
    chosen = sys.argv[1:]
    for test in (a_rate_holds_on_two_nodes, a_canary_that_fails_stops_the_campaign, a_canary_that_passes_lets_the_rest_go):
        if not chosen or test.__name__ in chosen:
            test(checks)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
