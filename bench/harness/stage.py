"""Redis, sink and engine together, and what every campaign through them needs."""
import os
import time

from .processes import Engine, Failure, Redis, Sink


def note(options, text):
    if not options.quiet:
        print(text, flush=True)


class Stage:
    """Redis, sink and engine of one measurement."""

    def __init__(self, options, folder, sink_arguments, settings):
        self.redis = Redis(folder)
        self.sink = self.engine = None
        try:
            self.sink = Sink(options.build, folder, *sink_arguments)
            self.engine = Engine(options.build, folder, self.redis, self.sink, {**settings, **options.set})
        except BaseException:
            self.stop()
            raise

    def stop(self):
        for process in (self.engine, self.sink, self.redis):
            if process:
                process.stop()

    def cpu(self):
        return {name: process.cpu_seconds() for name, process in
                (("engine", self.engine), ("redis", self.redis), ("sink", self.sink))}

    def check_alive(self):
        for process in (self.engine, self.sink, self.redis):
            process.check_alive()


def head_of(rows, folder):
    """The list's first rows, so that the size of a message is found without reading all of it."""
    path = os.path.join(folder, "head.csv")
    with open(rows, encoding="ascii") as source, open(path, "w", encoding="ascii") as head:
        for _, line in zip(range(3), source):
            head.write(line)
    return path


def wait_for_delivery(stage, count, patience_s):
    """Until all is in the sink and recorded; a Failure when nothing has moved for `patience_s`."""
    last, moved = -1, time.monotonic()
    while True:
        stage.check_alive()
        unique = stage.sink.report()["unique"]
        if unique >= count and stage.engine.settled() and stage.engine.delivered() >= count:
            return
        if unique != last:
            last, moved = unique, time.monotonic()
        elif time.monotonic() - moved > patience_s:
            raise Failure(f"stuck at {unique} of {count} messages; the engine's log ends with\n"
                          f"{stage.engine.log_tail()}")
        time.sleep(0.05)
