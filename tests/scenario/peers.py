"""Real peers for scenario and fault tests, each a process of its own on loopback, in a temporary folder of its own, ended by its pid."""
import glob
import json
import os
import pwd
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request


def become_root():
    """Starts the program over through sudo unless it's root already: Postfix needs that, as always."""
    if os.getuid() == 0:
        return
    kept = {name: value for name, value in os.environ.items()
            if name.startswith("EILPOST") or name in ("PATH", "PYTHONPATH", "SEED", "ASAN_OPTIONS", "UBSAN_OPTIONS")}
    settings = [f"{name}={value}" for name, value in kept.items()]
    # No compiled modules of root's in the source tree.
    os.execvp("sudo", ["sudo", "env", "PYTHONDONTWRITEBYTECODE=1", *settings, sys.executable, *sys.argv])


def free_port(address="127.0.0.1"):
    """A port that is free now for TCP and UDP on the address, below those that outgoing connections get, so that no
    client of another test takes it before the server does."""
    while True:
        port = random.SystemRandom().randrange(10000, 32000)
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind((address, port))
                udp.bind((address, port))
            except OSError:
                continue
            return port


def children_of(pid, name):
    """Pids of the children of `pid` whose program is `name`."""
    found = []
    for stat in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(stat) as file:
                text = file.read()
        except OSError:
            continue
        fields = text.rpartition(")")[2].split()
        if int(fields[1]) == pid and f"({name})" in text and fields[0] != "Z":
            found.append(int(text.split()[0]))
    return found


def key_of(certificate):
    """The path of the key that belongs to NAME.pem: NAME.key."""
    return os.path.splitext(certificate)[0] + ".key"


class Peer:
    """A program: start() waits until it serves, stop() ends it."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="eilpost-")
        self.process = None

    def command(self):
        raise NotImplementedError

    def serving(self):
        """Whether it answers by now."""
        raise NotImplementedError

    def start(self):
        with open(os.path.join(self.folder, "output"), "ab") as output:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                            cwd=self.folder)
        while not self.serving():
            if self.process.poll() is not None:
                raise AssertionError(f"{self.command()[0]} ended with {self.process.returncode}: {self.output()}")
            time.sleep(0.02)  # none of these programs tells otherwise that it serves
        return self

    def output(self):
        with open(os.path.join(self.folder, "output"), errors="replace") as file:
            return file.read()

    @property
    def pid(self):
        return self.process.pid

    def _end(self, how):
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
        if self.process:
            self.process.wait()

    def kill9(self):
        self._end(signal.SIGKILL)

    def stop(self):
        self._end(signal.SIGTERM)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self.start() if self.process is None else self

    def __exit__(self, *unused):
        self.stop()


def answers_tcp(address, port):
    try:
        with socket.create_connection((address, port), 1):
            return True
    except OSError:
        return False


def answers_redis(path):
    """Whether a Redis on the Unix socket answers, its data loaded."""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
    except OSError:
        return False


class Redis(Peer):
    """A redis-server on a Unix socket that syncs each write."""

    def __init__(self):
        super().__init__()
        self.socket = os.path.join(self.folder, "redis.sock")
        self.url = f"unix://{self.socket}"

    def command(self):
        return ["redis-server", "--port", "0", "--unixsocket", self.socket, "--dir", self.folder, "--appendonly", "yes",
                "--appendfsync", "always", "--save", "", "--maxmemory-policy", "noeviction"]

    def serving(self):
        return answers_redis(self.socket)


class Unbound(Peer):
    """A real resolver that serves zones: {"zone": {"name or empty for the apex": [("MX", "10 host"), …]}}."""

    def __init__(self, zones):
        super().__init__()
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        lines = ["server:", " interface: 127.0.0.1", f" port: {self.port}", " do-daemonize: no", ' chroot: ""', ' username: ""',
                 f' directory: "{self.folder}"', " use-syslog: no", ' pidfile: ""', " module-config: iterator",
                 " do-not-query-localhost: no", " edns-buffer-size: 1232", " num-threads: 1"]
        for zone, names in zones.items():
            lines.append(f' local-zone: "{zone}." static')
            lines.append(f' local-data: "{zone}. 60 IN SOA ns.{zone}. root.{zone}. 1 60 60 60 30"')
            for name, records in names.items():
                owner = f"{name}.{zone}." if name else f"{zone}."
                for kind, data in records:
                    lines.append(f" local-data: '{owner} 60 IN {kind} {data}'")
        self.config = os.path.join(self.folder, "unbound.conf")
        with open(self.config, "w") as out:
            out.write("\n".join(lines) + "\n")

    def command(self):
        return ["/usr/sbin/unbound", "-d", "-c", self.config]

    def serving(self):
        query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07version\x04bind\x00\x00\x10\x00\x03"
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            try:
                client.connect(("127.0.0.1", self.port))
                client.send(query)
                return bool(select.select([client], [], [], 0.2)[0]) and len(client.recv(512)) > 0
            except OSError:
                return False


class SmtpSink(Peer):
    """Debian's smtp-sink with its fault flags, e.g. ["-f", "RCPT"]. Started at once."""

    def __init__(self, flags, address, port):
        super().__init__()
        self.flags, self.address, self.port = list(flags), address, port
        self.start()

    def command(self):
        user = ["-u", "nobody"] if os.getuid() == 0 else []
        address = f"[{self.address}]" if ":" in self.address else self.address
        return ["/usr/sbin/smtp-sink", *user, "-m", "4000", *self.flags, f"{address}:{self.port}", "512"]

    def serving(self):
        # Looks without connecting: a connection would take part in the sink's faults.
        v6 = ":" in self.address
        packed = socket.inet_pton(socket.AF_INET6 if v6 else socket.AF_INET, self.address)
        words = [packed[i:i + 4][::-1].hex().upper() for i in range(0, len(packed), 4)]
        needle = f"{''.join(words)}:{self.port:04X}"
        with open("/proc/net/tcp6" if v6 else "/proc/net/tcp") as table:
            return any(line.split()[1] == needle and line.split()[3] == "0A" for line in table.readlines()[1:])


class BenchSink(Peer):
    """The project's own sink with its resolver. `dns` and `port` serve an engine's configuration, `ledger` is the judge's file."""

    def __init__(self, *flags, addresses="127.0.0.1-127.0.0.20", ledger=None):
        super().__init__()
        self.flags = flags
        self.addresses = addresses
        self.first = addresses.split("-")[0]
        self.port = free_port(self.first)
        self.dns = f"127.0.0.1:{free_port()}"
        self.ledger = ledger or os.path.join(self.folder, "ledger")
        self.report_path = os.path.join(self.folder, "report")

    def command(self):
        return [os.path.join(os.environ["EILPOST_BUILD"], "bench-sink"), "--listen", f"{self.addresses}:{self.port}",
                "--dns", self.dns, "--ledger", self.ledger, "--report", self.report_path, *self.flags]

    def serving(self):
        return answers_tcp(self.first, self.port)

    def report(self):
        """Ends the sink and returns what it counted."""
        self._end(signal.SIGTERM)
        with open(self.report_path) as file:
            return json.load(file)


POSTFIX_MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
meta_directory = /etc/postfix
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.postfix.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
relay_domains =
alias_maps =
alias_database =
local_transport = error:none
virtual_mailbox_domains = {domains}
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = static:all/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 1
virtual_mailbox_limit = 0
message_size_limit = 67108864
smtpd_recipient_restrictions = permit_mynetworks, reject
smtpd_discard_ehlo_keywords = {discard}
smtpd_tls_security_level = {tls}
smtpd_tls_cert_file = {folder}/certificate.pem
smtpd_tls_key_file = {folder}/key.pem
smtpd_tls_session_cache_database =
smtputf8_enable = yes
"""

POSTFIX_MASTER = """
{address}:{port} inet n - n - - smtpd
{services}
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
"""


class Postfix(Peer):
    """A private Postfix (root needed, as always) that delivers all of its domains' mail into one Maildir. `services` are further
    addresses that it listens on: {address: its certificate, whose key is beside it, or None: no STARTTLS}."""

    def __init__(self, domains, starttls=False, discard_keywords=(), services={}):
        super().__init__()
        os.chmod(self.folder, 0o755)
        self.address, self.port = "127.0.5.1", free_port("127.0.5.1")
        owner = pwd.getpwnam("postfix")
        values = {"folder": self.folder, "address": self.address, "port": self.port, "domains": " ".join(domains),
                  "uid": owner.pw_uid, "gid": owner.pw_gid, "discard": " ".join(discard_keywords),
                  "tls": "may" if starttls else "none"}
        options = {address: f"-o smtpd_tls_security_level=may -o smtpd_tls_cert_file={certificate} -o smtpd_tls_key_file={key_of(certificate)}"
                   if certificate else "-o smtpd_tls_security_level=none" for address, certificate in services.items()}
        values["services"] = "\n".join(f"{address}:{self.port} inet n - n - - smtpd {words}" for address, words in options.items())
        for name in ("spool", "data", "mail", "config"):
            os.mkdir(os.path.join(self.folder, name))
        for name in ("data", "mail"):
            shutil.chown(os.path.join(self.folder, name), "postfix", "postfix")
        self.config = os.path.join(self.folder, "config")
        for name, text in (("main.cf", POSTFIX_MAIN), ("master.cf", POSTFIX_MASTER)):
            with open(os.path.join(self.config, name), "w") as out:
                out.write(text.format(**values))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=mx.postfix.test",
                        "-keyout", f"{self.folder}/key.pem", "-out", f"{self.folder}/certificate.pem"],
                       check=True, capture_output=True)
        self._postfix("check")

    def _postfix(self, verb):
        done = subprocess.run(["/usr/sbin/postfix", "-c", self.config, verb], capture_output=True, text=True,
                              env={**os.environ, "MAIL_CONFIG": self.config})
        if done.returncode != 0:
            raise AssertionError(f"postfix {verb}: {done.stderr}{done.stdout}")

    def command(self):
        return ["/usr/lib/postfix/sbin/master", "-c", self.config, "-s"]

    def serving(self):
        return answers_tcp(self.address, self.port)

    def messages(self):
        """The delivered messages as bytes, without the headers that the delivery added in front."""
        found = []
        for path in sorted(glob.glob(os.path.join(self.folder, "mail/all/new/*"))):
            with open(path, "rb") as file:
                found.append(file.read())
        return found

    def received(self):
        """{recipient: whether the message came over TLS}, by the headers that it added."""
        found = {}
        for message in self.messages():
            head = message.partition(b"\n\n")[0].decode()
            found[re.search(r"^X-Original-To: (.*)$", head, re.M).group(1)] = " with ESMTPS " in head
        return found

    def await_messages(self, count):
        """The Maildir is filled by another process than the one that answered: waits until `count` are there."""
        while len(glob.glob(os.path.join(self.folder, "mail/all/new/*"))) < count:
            if self.process.poll() is not None:
                raise AssertionError(f"postfix ended: {self.output()}")
            time.sleep(0.02)


EXIM_CONFIG = """
primary_hostname = mx.exim.test
spool_directory = {folder}/spool
log_file_path = {folder}/spool/%slog
pid_file_path = {folder}/spool/exim.pid
local_interfaces = {addresses}
daemon_smtp_ports = {port}
domainlist local_domains = *
acl_smtp_rcpt = all
acl_smtp_data = all
queue_only
smtp_accept_max = 0
tls_advertise_hosts = ${{if exists{{{folder}/$received_ip_address.pem}}{{*}}}}
tls_certificate = {folder}/$received_ip_address.pem
tls_privatekey = {folder}/$received_ip_address.key
log_selector = +received_recipients
host_lookup =
rfc1413_query_timeout = 0s
keep_environment =
begin acl
all:
  accept
"""


class Exim(Peer):
    """A private Exim (root needed) that takes all mail and keeps it in its spool. `services` as Postfix's."""

    PROGRAM, NSS_WRAPPER = "packages/usr/sbin/exim4", "libnss_wrapper.so"

    def __init__(self, services, port):
        super().__init__()
        os.chmod(self.folder, 0o755)
        self.services, self.port = services, port
        self.program = os.path.join(os.environ["EILPOST_BUILD"], self.PROGRAM)
        if not os.path.exists(self.program):
            raise AssertionError(f"there's no {self.program}: run deploy/install-packages --unpack {os.environ['EILPOST_BUILD']}/packages unpack")
        os.mkdir(os.path.join(self.folder, "spool"))
        shutil.chown(os.path.join(self.folder, "spool"), "nobody", "nogroup")
        for address, certificate in services.items():
            if certificate:
                shutil.copy(certificate, os.path.join(self.folder, f"{address}.pem"))
                shutil.copy(key_of(certificate), os.path.join(self.folder, f"{address}.key"))
                shutil.chown(os.path.join(self.folder, f"{address}.key"), "nobody", "nogroup")
        nobody = pwd.getpwnam("nobody")
        # It insists on its own user, whom its package would have made.
        for name, line in (("passwd", f"Debian-exim:x:{nobody.pw_uid}:{nobody.pw_gid}::/nonexistent:/usr/sbin/nologin\n"),
                           ("group", f"Debian-exim:x:{nobody.pw_gid}:\n")):
            with open(f"/etc/{name}") as file, open(os.path.join(self.folder, name), "w") as out:
                out.write(file.read() + line)
        with open(os.path.join(self.folder, "exim.conf"), "w") as out:
            out.write(EXIM_CONFIG.format(folder=self.folder, port=port, addresses=" : ".join(services)))

    def command(self):
        return ["env", f"LD_PRELOAD={self.NSS_WRAPPER}", f"NSS_WRAPPER_PASSWD={self.folder}/passwd", f"NSS_WRAPPER_GROUP={self.folder}/group",
                self.program, "-C", f"{self.folder}/exim.conf", "-bdf"]

    def serving(self):
        return all(answers_tcp(address, self.port) for address in self.services)

    def received(self):
        """{recipient: whether the message came over TLS}, by its own log."""
        with open(os.path.join(self.folder, "spool/mainlog")) as log:
            lines = [line for line in log if " <= " in line]
        return {line.split(" for ")[1].strip(): " P=esmtps" in line for line in lines}


def to_yaml(value, indent=0):
    """Dicts, lists of plain values, and plain values: enough for a configuration."""
    pad = " " * indent
    lines = []
    for key, item in value.items():
        if isinstance(item, dict):
            lines += [f"{pad}{key}:", to_yaml(item, indent + 2)]
        else:
            lines.append(f"{pad}{key}: {json.dumps(item)}")
    return "\n".join(lines)


class Engine(Peer):
    """`eilpost run` with a configuration given as a dict; state directory and stats port are made here unless given."""

    def __init__(self, settings):
        super().__init__()
        self.state = os.path.join(self.folder, "state")
        settings = {"state_dir": self.state, **settings}
        settings["dns"] = {"refused": [], **settings.get("dns", {})}  # all peers are on the loopback interface
        settings.setdefault("api", {"listen": f"127.0.0.1:{free_port()}"})
        self.stats_address = settings["api"]["listen"]
        self.config = os.path.join(self.folder, "eilpost.yaml")
        with open(self.config, "w") as out:
            out.write(to_yaml(settings) + "\n")

    def command(self):
        return [os.environ["EILPOST"], "run", "--config", self.config]

    def get(self, path):
        """(status, body) of the stats endpoint."""
        try:
            with urllib.request.urlopen(f"http://{self.stats_address}{path}") as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def serving(self):
        try:
            return self.get("/healthz")[0] == 200
        except OSError:
            return False

    def stop(self):
        """Ends it in order; an engine that doesn't exit with 0, or that a sanitizer complained of, fails the test."""
        running = self.process and self.process.poll() is None
        self._end(signal.SIGTERM)
        output = self.output()
        code = self.process.returncode if self.process else 0
        shutil.rmtree(self.folder, ignore_errors=True)
        if re.search(r"Sanitizer|runtime error:", output) or (running and code != 0):
            raise AssertionError(f"the engine ended with {code}: {output[-6000:]}")
