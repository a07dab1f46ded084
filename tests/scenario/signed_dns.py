"""Zones that are signed, unsigned, bogus or gone, behind a validating resolver, all on loopback: Knot DNS serves them and unbound validates.

Zones are given as text, one record per line below the line of its zone:

    zone good.test signed
    @ MX 10 mx
    mx A 127.0.0.1
    _25._tcp.mx TLSA 3 1 1 0123…

Names are relative to the zone unless they end in a dot; `;` starts a comment. What a zone is like:
  signed      the resolver has its key: answers are secure
  unsigned    insecure
  bogus       the resolver has another key for it: SERVFAIL, whatever is asked
  servfail    its servers know nothing of it: SERVFAIL
  silent      its servers never answer: the asker's time-out is first
A zone may lie below another one without a delegation there: the resolver asks for it where it is. So one name can fail alone:
`zone _tcp.mx.good.test bogus` has TLSA records that can't be validated, below a host that can.

With SignedDns(text) as dns: dns.address is the resolver's, dns.update(zone, text) gives a zone other records.
As a program: reads zones from the file named, prints the resolver's address, ends when its input does."""
import os
import re
import socket
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from scenario import peers  # noqa: E402

TTL = 300
KINDS = ("signed", "unsigned", "bogus", "servfail", "silent")


def parse(text):
    """{zone: (kind, [record line])}"""
    zones = {}
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith(";"):
            continue
        words = line.split()
        if words[0] == "zone":
            if len(words) != 3 or words[2] not in KINDS or words[1] in zones:
                raise ValueError(f"not a zone: {line}")
            zone = words[1]
            zones[zone] = (words[2], [])
        else:
            zones[zone][1].append(line)
    return zones


def zone_file(zone, lines, serial=1):
    head = [f"$ORIGIN {zone}.", f"$TTL {TTL}", f"@ SOA ns.{zone}. hostmaster.{zone}. {serial} 3600 600 86400 60", "@ NS ns", "ns A 127.0.0.1"]
    return "\n".join(head + lines) + "\n"


class Knot(peers.Peer):
    """The authoritative server. Each zone but the unsigned ones has a key of its own, with which it's signed at the start."""

    def __init__(self, zones):
        super().__init__()
        self.port = peers.free_port()
        self.zones = {zone: (kind, list(lines)) for zone, (kind, lines) in zones.items() if kind not in ("servfail", "silent")}
        self.serials = dict.fromkeys(self.zones, 1)
        self.config = os.path.join(self.folder, "knot.conf")
        lines = ["server:", f"  rundir: {self.folder}", f"  listen: 127.0.0.1@{self.port}", "  udp-workers: 1", "  tcp-workers: 1",
                 "  background-workers: 1", "log:", "  - target: stdout", "    any: info",
                 "database:", f"  storage: {self.folder}", "  kasp-db-max-size: 10M", "  journal-db-max-size: 10M", "  timer-db-max-size: 1M",
                 "policy:", "  - id: own", "    manual: on", "    single-type-signing: on", "    algorithm: ecdsap256sha256",
                 "template:", "  - id: default", f"    storage: {self.folder}", "    zonefile-sync: -1", "    zonefile-load: difference-no-serial",
                 "    journal-content: all", "    serial-policy: increment", "    semantic-checks: off"]
        lines.append("zone:")
        for zone, (kind, _) in self.zones.items():
            lines.append(f"  - domain: {zone}")
            if kind != "unsigned":
                lines += ["    dnssec-signing: on", "    dnssec-policy: own"]
        self._write("knot.conf", "\n".join(lines) + "\n")
        for zone, (_, records) in self.zones.items():
            self._write(f"{zone}.zone", zone_file(zone, records))

    def _write(self, name, text):
        with open(os.path.join(self.folder, name), "w") as out:
            out.write(text)

    def keymgr(self, *words):
        return subprocess.run(["/usr/sbin/keymgr", "-c", self.config, *words], capture_output=True, text=True, check=True).stdout

    def anchors(self):
        """{zone: the DS record of its key}; makes the keys."""
        found = {}
        for zone, (kind, _) in self.zones.items():
            if kind == "unsigned":
                continue
            self.keymgr(zone, "generate", "algorithm=ECDSAP256SHA256", "ksk=yes", "zsk=yes")
            # key tag, algorithm 13, digest type 2 (SHA-256), digest
            found[zone] = re.search(r" DS (\d+ 13 2 [0-9a-f]+)", self.keymgr(zone, "ds")).group(1)
        return found

    def command(self):
        return ["/usr/sbin/knotd", "-c", self.config]

    def serving(self):
        return all(self.has(zone) for zone in self.zones)

    def has(self, zone):
        """Whether it answers with authority for the zone."""
        name = b"".join(bytes([len(label)]) + label.encode() for label in zone.split(".")) + b"\0"
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.settimeout(0.5)
            try:
                client.connect(("127.0.0.1", self.port))
                client.send(b"\x12\x34\0\0\0\1\0\0\0\0\0\0" + name + b"\0\x06\0\1")
                answer = client.recv(4096)
            except OSError:
                return False
            return len(answer) > 12 and answer[3] & 15 == 0 and answer[2] & 4 == 4

    def update(self, zone, records):
        """Gives a zone other records and waits until they're served, signed."""
        self.serials[zone] += 1
        self.zones[zone] = (self.zones[zone][0], list(records))
        self._write(f"{zone}.zone", zone_file(zone, records, self.serials[zone]))
        subprocess.run(["/usr/sbin/knotc", "-c", self.config, "-b", "zone-reload", zone], capture_output=True, text=True, check=True)


class Validator(peers.Unbound):
    """The resolver: no root, no Internet, a trust anchor for each zone that is signed."""

    def __init__(self, zones, anchors, authority, silent):
        super().__init__({})
        lines = ["server:", " interface: 127.0.0.1", f" port: {self.port}", " do-daemonize: no", ' chroot: ""', ' username: ""',
                 f' directory: "{self.folder}"', " use-syslog: no", ' pidfile: ""', ' module-config: "validator iterator"',
                 " do-not-query-localhost: no", " edns-buffer-size: 1232", " num-threads: 1", ' local-zone: "test." nodefault',
                 ' local-zone: "invalid." nodefault', " trust-anchor-signaling: no", " root-key-sentinel: no", " qname-minimisation: no",
                 " do-ip6: no", " aggressive-nsec: no", " val-log-level: 2", " val-bogus-ttl: 1", " cache-max-negative-ttl: 60", " infra-cache-min-rtt: 50"]
        lines += [f' trust-anchor: "{zone}. DS {ds}"' for zone, ds in anchors.items()]
        lines += ["remote-control:", " control-enable: yes", " control-use-cert: no", f" control-interface: {self.folder}/control"]
        for zone, (kind, _) in zones.items():
            lines += ["stub-zone:", f' name: "{zone}."', f" stub-addr: 127.0.0.1@{silent if kind == 'silent' else authority}", " stub-prime: no"]
        lines += ["stub-zone:", ' name: "."', f" stub-addr: 127.0.0.1@{authority}", " stub-prime: no"]
        with open(self.config, "w") as out:
            out.write("\n".join(lines) + "\n")

    def flush(self, zone):
        """Forgets what it knows of a zone."""
        subprocess.run(["/usr/sbin/unbound-control", "-c", self.config, "flush_zone", zone], capture_output=True, text=True, check=True)


def wrong(ds):
    """The DS record of a key that nobody has."""
    return ds[:-1] + ("1" if ds[-1] == "0" else "0")


class SignedDns:
    """All of it together, from __enter__ to __exit__."""

    def __init__(self, text):
        self.zones = parse(text)
        self.knot = self.resolver = self.silent = None

    def __enter__(self):
        # A port with somebody who never answers.
        self.silent = socket.socket(type=socket.SOCK_DGRAM)
        self.silent.bind(("127.0.0.1", 0))
        self.knot = Knot(self.zones)
        anchors = {zone: wrong(ds) if self.zones[zone][0] == "bogus" else ds for zone, ds in self.knot.anchors().items()}
        self.knot.start()
        self.resolver = Validator(self.zones, anchors, self.knot.port, self.silent.getsockname()[1])
        try:
            self.resolver.start()
        except BaseException:
            self.knot.stop()
            raise
        return self

    def __exit__(self, *unused):
        self.resolver.stop()
        self.knot.stop()
        self.silent.close()

    @property
    def address(self):
        return self.resolver.address

    def update(self, zone, text):
        """Gives a zone other records, one per line."""
        self.knot.update(zone, [line.strip() for line in text.splitlines() if line.strip()])
        self.resolver.flush(zone)


def main():
    with open(sys.argv[1]) as file:
        text = file.read()
    with SignedDns(text) as dns:
        print(dns.address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
