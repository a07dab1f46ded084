"""What scenario and fault tests do with an engine: submit, await each job's end, compare. Nothing here sleeps: ends are awaited on
the events that `eilpost events --follow` prints."""
import csv
import json
import os
import subprocess
import threading

TERMINAL = {"delivered", "bounced", "expired", "suppressed", "cancelled"}


def eilpost(*arguments, check=True):
    """Runs a command of the binary under test; returns the finished process with text output."""
    done = subprocess.run([os.environ["EILPOST"], *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if check and done.returncode != 0:
        raise AssertionError(f"eilpost {' '.join(arguments)} exited {done.returncode}: {done.stderr}{done.stdout}")
    return done


def write_list(path, rows):
    """Writes dicts as CSV; returns the path."""
    with open(path, "w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_text(path, text):
    with open(path, "wb") as out:
        out.write(text if isinstance(text, bytes) else text.encode())
    return path


def submit(config, sender, *options):
    """`eilpost send` with the options; returns the submission's id."""
    done = eilpost("send", "--config", config, "--from", sender, "--json", *options)
    return json.loads(done.stdout)["submission"]


def totals(config, submission):
    done = eilpost("status", "--config", config, "--json", submission)
    return json.loads(done.stdout)


class Follower:
    """Collects events in a thread of its own; `until` waits for a condition on them."""

    def __init__(self, config):
        self.events = []
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            [os.environ["EILPOST"], "events", "--config", config, "--follow"], stdout=subprocess.PIPE, text=True)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        for line in self._process.stdout:
            with self._changed:
                self.events.append(json.loads(line))
                self._changed.notify_all()
        with self._changed:
            self._process = None
            self._changed.notify_all()

    def until(self, done):
        """Waits until done(events) is true; fails when the follower ends first."""
        with self._changed:
            while not done(self.events):
                if self._process is None:
                    raise AssertionError("`eilpost events` ended while events were awaited")
                self._changed.wait()
            return list(self.events)

    def until_first(self, count):
        """Waits until `count` jobs have had an event of any kind; returns {recipient: [events]}."""
        return by_recipient(self.until(lambda events: len({e["job"] for e in events}) >= count))

    def until_ended(self, count):
        """Waits until `count` jobs have ended; returns {recipient: [events]}."""
        return by_recipient(self.until(
            lambda events: len({e["job"] for e in events if e["type"] in TERMINAL}) >= count))

    def close(self):
        process = self._process
        if process:
            process.terminate()
            process.wait()
        self._thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()


def by_recipient(events):
    found = {}
    for event in events:
        found.setdefault(event["to"], []).append(event)
    return found


class Checks:
    """Counts checks and failures, so that one run shows all that is wrong."""

    def __init__(self):
        self.done, self.failed = 0, 0

    def that(self, good, what):
        self.done += 1
        if not good:
            self.failed += 1
            print(f"FAILED: {what}", flush=True)

    def equal(self, found, expected, what):
        self.that(found == expected, f"{what}: expected {expected!r}, found {found!r}")

    def exit_code(self):
        print(f"{self.done} checks, {self.failed} failed")
        return 1 if self.failed or not self.done else 0
