"""The disk with the append-only file fills up under load (a small tmpfs; needs root to mount it). With appendfsync always Redis ends at
the first write that it can't sync; after room is made and it's back, nothing that it had confirmed is missing. With everysec it stays
and refuses writes; the engine sends nothing that it can't record, and goes on when there is room."""
import json
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager

from fault import faults
from scenario import campaign, peers

DISK = 48 << 20       # below the size at which Redis rewrites its file
BALLAST = 42 << 20    # what is freed: enough for all that the load causes
PER_ENTRY = 50
FILLER = "x" * 200


@contextmanager
def small_disk():
    """The path of a tmpfs of its own."""
    with tempfile.TemporaryDirectory(prefix="eilpost-") as folder:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=700", "tmpfs", folder], capture_output=True, text=True)
        if done.returncode != 0:
            faults.skip(f"a tmpfs can't be mounted here: {done.stderr.strip()}")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


class RedisOnDisk(peers.Redis):
    """Its data is on the small disk, its socket isn't."""

    def __init__(self, disk, fsync):
        super().__init__()
        self.disk, self.fsync = disk, fsync

    def command(self):
        words = super().command()
        words[words.index("--dir") + 1] = self.disk
        words[words.index("--appendfsync") + 1] = self.fsync
        return words

    def gone(self):
        return self.process.poll() is not None


class Load:
    """Submissions by XADD until one is refused or not answered; that one is perhaps in."""

    def __init__(self, world):
        self.world, self.perhaps = world, []

    def add(self):
        """Whether it was confirmed."""
        chosen = self.world.fresh(PER_ENTRY)
        submission = {"from": "bounce@engine.test", "content": {"headers": {"From": "shop@engine.test"}, "text": "{{filler}}\n"},
                      "recipients": [{"to": to, "data": {"filler": FILLER}} for to in chosen]}
        try:
            self.world.store.once("XADD", f"{faults.SPACE}:submit", "*", "json", json.dumps(submission))
        except OSError:
            self.perhaps += chosen
            return False
        except faults.RedisError as error:
            if not str(error).startswith("MISCONF"):
                raise
            return False
        self.world.accepted += chosen
        return True


def run(io, fsync, checks):
    with small_disk() as disk, RedisOnDisk(disk, fsync) as redis, faults.World(redis.url, faults.store_of(redis), io=io) as world:
        ballast = os.path.join(disk, "ballast")
        with open(ballast, "wb") as file:
            file.write(bytes(BALLAST))
        engine = world.node("a")
        load = Load(world)
        while load.add():
            pass
        if fsync == "always":
            faults.wait_until(redis.gone, "the end of Redis", engine)
            checks.that("AOF write error" in redis.output(), f"Redis ended for want of room: {redis.output()[-500:]}")
        faults.wait_until(lambda: not engine.healthy(), "the engine to notice that it can't record", engine)
        os.unlink(ballast)
        if fsync == "always":
            redis.start()
        faults.wait_until(engine.healthy, "the engine to go on", engine, redis)
        world.submit(200)
        world.until_ended(redis)
        faults.Judge(world, checks, f"disk full, {fsync}, {io}", load.perhaps).check()


def main():
    peers.become_root()
    checks = campaign.Checks()
    run("io_uring", "always", checks)
    run("epoll", "always", checks)
    run("io_uring", "everysec", checks)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
