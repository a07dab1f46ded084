"""The processes of a run: each in a temporary folder, watched through /proc, ended by its pid whatever happens."""
import contextlib
import ctypes
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class Failure(Exception):
    """A measurement that could not be made; its text says why."""


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_until(what, condition, seconds=60.0, pause=0.02):
    """Polls; a Failure naming `what` when the time is over."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(pause)


def free_port():
    """A port of 127.0.0.1 that is free now, below those that outgoing connections get."""
    while True:
        port = random.SystemRandom().randrange(10000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Process:
    """One child with its output in a file of the run's folder."""

    def __init__(self, name, arguments, folder):
        self.name = name
        self.log_path = os.path.join(folder, f"{name}.log")
        with open(self.log_path, "ab") as log:
            self.child = subprocess.Popen(arguments, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                          cwd=folder, preexec_fn=_die_with_parent)

    @property
    def pid(self):
        return self.child.pid

    def check_alive(self):
        if self.child.poll() is not None:
            raise Failure(f"{self.name} ended with {self.child.returncode}:\n{self.log_tail()}")
        return True

    def log_tail(self, size=2000):
        with open(self.log_path, "rb") as log:
            log.seek(max(0, os.path.getsize(self.log_path) - size))
            return log.read().decode(errors="replace")

    def cpu_seconds(self):
        """User and system time of all threads, from /proc/PID/stat; ticks of 10 ms."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii", errors="replace") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS

    def memory_bytes(self, key):
        """VmRSS or VmHWM."""
        with open(f"/proc/{self.pid}/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith(key + ":"):
                    return int(line.split()[1]) * 1024
        raise Failure(f"{self.name} has no {key}")

    def stop(self, seconds=15):
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()


class Redis(Process):
    """On a Unix socket, each write synced to disk before it is answered unless asked otherwise; else as the engine's
    private one."""

    def __init__(self, folder, fsync="always", *arguments):
        directory = os.path.join(folder, "redis")
        os.mkdir(directory)
        self.socket_path = os.path.join(directory, "redis.sock")
        super().__init__("redis-server", [
            "redis-server", "--port", "0", "--unixsocket", self.socket_path, "--dir", directory,
            "--appendonly", "yes", "--appendfsync", fsync, "--save", "", "--maxmemory-policy", "noeviction",
            "--loglevel", "warning", *arguments], folder)
        wait_until("Redis", lambda: self.check_alive() and self._pings(), 20)

    @property
    def url(self):
        return f"unix://{self.socket_path}"

    def _pings(self):
        with contextlib.suppress(OSError):
            return self.command("PING") == "PONG"
        return False

    def command(self, *words):
        """One command on a connection of its own; simple strings, integers and bulk strings only."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self.socket_path)
            request = f"*{len(words)}\r\n".encode()
            for word in words:
                request += b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode())
            connection.sendall(request)
            with connection.makefile("rb") as answers:
                head = answers.readline().decode().rstrip()
                if head.startswith("$"):
                    return answers.read(int(head[1:]) + 2)[:-2].decode(errors="replace")
                if head.startswith("-"):
                    raise Failure(f"Redis: {head[1:]}")
                return head[1:]

    def info(self, section):
        lines = self.command("INFO", section).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def used_memory(self):
        return int(self.info("memory")["used_memory"])


def http_json(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise Failure(f"GET {path}: {response.status}")
        return json.loads(body)
    finally:
        connection.close()


class Sink(Process):
    """bench-sink on many addresses, with its DNS and its report over HTTP."""

    LISTEN = "127.0.0.1-127.0.0.200"

    def __init__(self, build, folder, *arguments, name="sink"):
        super().__init__(name, [
            os.path.join(build, "bench-sink"), "--listen", f"{self.LISTEN}:0", "--dns", "127.0.0.1:0",
            "--stats", "127.0.0.1:0", "--report", os.path.join(folder, f"{name}.json"), *arguments], folder)
        self.ports = wait_until("the sink", lambda: self.check_alive() and self._ports(), 20)

    def _ports(self):
        with open(self.log_path, encoding="utf-8") as log:
            line = log.readline()
        return json.loads(line) if line.endswith("\n") else None

    @property
    def to(self):
        return f"{self.LISTEN}:{self.ports['smtp_port']}"

    def report(self):
        return http_json(self.ports["stats_port"], "/report")


class Engine(Process):
    """`eilpost run`. All that this harness knows of the engine's configuration and statistics is here."""

    def __init__(self, build, folder, redis, sink, settings):
        self.program = os.path.join(build, "eilpost")
        self.folder = folder
        self.api_port = free_port()
        self.config_path = os.path.join(folder, "eilpost.yaml")
        state = os.path.join(folder, "state")
        os.mkdir(state)
        sections = {
            "redis": {"url": f'"{redis.url}"'},
            "smtp": {"port": sink.ports["smtp_port"], "ehlo_name": '"engine.test"'},
            "dns": {"servers": f'"127.0.0.1:{sink.ports["dns_port"]}"', "ipv6": "false", "refused": "[]"},
            "api": {"listen": f'"127.0.0.1:{self.api_port}"'},
        }
        scalars = {"state_dir": f'"{state}"'}
        for key, value in settings.items():
            section, _, name = key.rpartition(".")
            if section:
                sections.setdefault(section, {})[name] = value
            else:
                scalars[name] = value
        with open(self.config_path, "w", encoding="utf-8") as config:
            for name, value in scalars.items():
                config.write(f"{name}: {value}\n")
            for section, values in sections.items():
                config.write(f"{section}:\n")
                for name, value in values.items():
                    config.write(f"  {name}: {value}\n")
        super().__init__("engine", [self.program, "run", "--config", self.config_path], folder)
        wait_until("the engine", lambda: self.check_alive() and self._healthy(), 30)

    def _healthy(self):
        with contextlib.suppress(OSError, Failure):
            return self.stats()["recordable"]
        return False

    def stats(self):
        return http_json(self.api_port, "/v1/stats")

    def delivered(self):
        return self.stats()["counters"]["delivered"]

    def settled(self):
        """No job held and no outcome on its way to Redis."""
        gauges = self.stats()["gauges"]
        return gauges["jobs_held"] == 0 and gauges["acks_pending"] == 0

    def queue_status(self):
        done = subprocess.run([self.program, "status", "--config", self.config_path, "--json"],
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failure(f"eilpost status: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def send_arguments(self, list_path, template_path):
        return [self.program, "send", "--config", self.config_path, "--from", "b@blaster.test", "--list", list_path,
                "--template", template_path]

    def first_message(self, list_path, template_path):
        done = subprocess.run([*self.send_arguments(list_path, template_path), "--dry-run"], capture_output=True,
                              check=False)
        if done.returncode != 0:
            raise Failure(f"eilpost send --dry-run: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout

    def submit(self, list_path, template_path):
        return Process("send", self.send_arguments(list_path, template_path), self.folder)


def wait_for_success(process):
    """Waits for a child's end; its CPU seconds. (Popen.wait would reap it without them.)"""
    _, status, usage = os.wait4(process.pid, 0)
    process.child.returncode = os.waitstatus_to_exitcode(status)
    if process.child.returncode != 0:
        raise Failure(f"{process.name} ended with {process.child.returncode}:\n{process.log_tail()}")
    return usage.ru_utime + usage.ru_stime


def blast(build, sink, arguments):
    """One run of the bare blaster; its JSON."""
    done = subprocess.run([os.path.join(build, "bench-blaster"), "--to", sink.to, *arguments], capture_output=True,
                          text=True, check=False, preexec_fn=_die_with_parent)
    if done.returncode != 0:
        raise Failure(f"bench-blaster: {done.stderr.strip() or done.stdout.strip()}")
    return json.loads(done.stdout)


@contextlib.contextmanager
def run_folder(keep):
    folder = tempfile.mkdtemp(prefix="eilpost-bench-")
    try:
        yield folder
    finally:
        if keep:
            print(f"kept {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def stopping(*processes):
    """Ends the processes in the order given when the block is left."""
    try:
        yield
    finally:
        for process in processes:
            process.stop()
