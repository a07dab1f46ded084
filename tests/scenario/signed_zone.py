"""A zone that is signed with DNSSEC, behind an unbound that validates it, and one beside it that isn't."""
import glob
import os
import subprocess

from scenario import peers


class SignedZones(peers.Peer):
    """`signed` and `unsigned`: {"zone": {"name or empty for the apex": [("MX", "10 host"), …]}}. `spoiled`: (owner, type) of signed
    records whose signature is broken: looking them up fails."""

    def __init__(self, signed, unsigned=None, spoiled=()):
        super().__init__()
        os.chmod(self.folder, 0o755)
        self.port = peers.free_port()
        self.address = f"127.0.0.1:{self.port}"
        lines = ["server:", " interface: 127.0.0.1", f" port: {self.port}", " do-daemonize: no", ' chroot: ""', ' username: ""',
                 f' directory: "{self.folder}"', " use-syslog: no", ' pidfile: ""', ' module-config: "validator iterator"',
                 " do-not-query-localhost: no", " num-threads: 1", " val-log-level: 2", ' local-zone: "test." nodefault']
        zones = []
        for zone, names in signed.items():
            path, anchors = self._sign(zone, self._write(zone, names), spoiled)
            lines += [f' trust-anchor-file: "{anchor}"' for anchor in anchors]
            zones.append((zone, path))
        for zone, names in (unsigned or {}).items():
            lines.append(f' domain-insecure: "{zone}"')
            zones.append((zone, self._write(zone, names)))
        for zone, path in zones:
            lines += ["auth-zone:", f' name: "{zone}"', f' zonefile: "{path}"', " for-downstream: no", " for-upstream: yes",
                      " fallback-enabled: no"]
        self.config = os.path.join(self.folder, "unbound.conf")
        with open(self.config, "w") as out:
            out.write("\n".join(lines) + "\n")

    def _write(self, zone, names):
        path = os.path.join(self.folder, zone)
        with open(path, "w") as out:
            out.write(f"$ORIGIN {zone}.\n$TTL 60\n@ SOA ns root 1 60 60 60 30\n@ NS ns\nns A 127.0.0.1\n")
            for name, records in names.items():
                for kind, data in records:
                    out.write(f"{name or '@'} {kind} {data}\n")
        return path

    def _sign(self, zone, path, spoiled):
        for flags in ([], ["-f", "KSK"]):
            subprocess.run(["dnssec-keygen", "-q", "-a", "ECDSAP256SHA256", *flags, "-K", self.folder, zone], check=True,
                           capture_output=True, cwd=self.folder)
        keys = glob.glob(os.path.join(self.folder, f"K{zone}.*.key"))
        with open(path, "a") as out:
            for key in keys:
                with open(key) as file:
                    out.write(file.read())
        subprocess.run(["dnssec-signzone", "-S", "-K", self.folder, "-o", zone, "-O", "full", "-f", path + ".signed", path], check=True,
                       capture_output=True, cwd=self.folder)
        with open(path + ".signed") as file:
            lines = file.read().splitlines()
        for i, line in enumerate(lines):
            fields = line.split()
            if len(fields) > 4 and fields[3] == "RRSIG" and any(
                    fields[0] == f"{owner}.{zone}." and fields[4] == kind for owner, kind in spoiled):
                lines[i] = line[:-8] + "".join("AB"[c != "B"] if c.isalpha() else c for c in line[-8:])
        with open(path + ".signed", "w") as out:
            out.write("\n".join(lines) + "\n")
        return path + ".signed", [key for key in keys if "257 3" in open(key).read()]

    def command(self):
        return ["/usr/sbin/unbound", "-d", "-c", self.config]

    serving = peers.Unbound.serving


def tlsa_of(certificate, usage=3, spoil=False):
    """A TLSA record's data of a PEM file's public key: "3 1 1 …"."""
    key = subprocess.run(["openssl", "x509", "-in", certificate, "-pubkey", "-noout"], check=True, capture_output=True).stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=key, check=True, capture_output=True).stdout
    digest = subprocess.run(["openssl", "dgst", "-sha256", "-r"], input=der, check=True, capture_output=True).stdout.split()[0].decode()
    return f"{usage} 1 1 {digest[:-2] + ('00' if digest[-2:] != '00' else '11') if spoil else digest}"
