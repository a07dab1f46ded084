"""How mail is secured, as a table: the policy in force, what the DNS says and what the receiver offers give what must happen, with the
section that asks for it. Receivers are a Postfix (OpenSSL) and an Exim (GnuTLS), each on an address per kind of certificate; zones are
signed and validated by real servers, MTA-STS policies come over HTTPS. The judges are the receivers: what they took, and how."""
import json
import sys
import tempfile

from fault import faults
from scenario import campaign, certificates, peers, signed_dns
from scenario.certificates import tlsa_of
from scenario.policy_server import PolicyServer, policy

HTTPS = "127.0.6.42"
CONTENT = {"headers": {"From": "shop@engine.test", "Subject": "Hello"}, "text": "Dear customer\n"}
SERVERS = {"postfix": "127.0.5.1{}", "exim": "127.0.5.2{}"}  # their addresses, by kind of certificate

# What a receiver has: a certificate of a trusted authority for its name, one that expired, one for another name, one that is signed by
# itself; no STARTTLS at all.
KINDS = ("right", "expired", "other", "self", "none")

# What must happen: over TLS, in clear, or a wait whose reason says so.
TLS, CLEAR = True, False
OFFERED = "TLS is required"
TRUST = {"expired": "certificate has expired", "other": "it isn't for", "self": "self-signed"}
MISFIT = "no matching DANE TLSA records"
LOST = "TLSA records can't be looked up"
USELESS = "no usable TLSA records"
INSECURE = "isn't signed"


def verified(**kinds):
    """What the checks of RFC 6125 and 5280 let through; the rest waits."""
    return {"right": TLS, **TRUST, "none": OFFERED, **kinds}


def whoever(none):
    """TLS with whatever certificate."""
    return {**dict.fromkeys(KINDS, TLS), "none": none}


def nobody(why):
    return dict.fromkeys(KINDS, why)


MISMATCHED = {**nobody(MISFIT), "none": OFFERED}
# A chain that is trusted by a record, but whose end has expired or is for another name.
ANCHORED = {"right": TLS, "expired": "certificate has expired", "other": TRUST["other"], "self": MISFIT, "none": OFFERED}

# policy, TLSA records of the host (None: its zone isn't signed), mode of the domain's MTA-STS policy, what must happen, why
USUAL = [
    ("off", None, None, nobody(CLEAR), "RFC 3207 4: STARTTLS is the client's choice"),
    ("off", "fit", None, nobody(CLEAR), "RFC 7672 2.2: DANE is for clients that use TLS"),
    ("opportunistic", None, None, whoever(CLEAR), "RFC 7435 3: some security most of the time"),
    ("required", None, None, whoever(OFFERED), "RFC 3207 4.1: clients may insist"),
    ("verified", None, None, verified(), "RFC 7817 3, RFC 6125 6"),
    ("dane", None, None, nobody(INSECURE), "RFC 7672 6: mandatory DANE"),
    ("opportunistic", "fit", None, whoever(OFFERED), "RFC 7672 3.1.1: DANE-EE(3) ignores names and dates; 2.2: no downgrade"),
    ("opportunistic", "anchor", None, ANCHORED, "RFC 7672 3.1.2: DANE-TA(2) checks both"),
    ("opportunistic", "wrong", None, MISMATCHED, "RFC 7672 2.2: fail closed"),
    ("opportunistic", "unusable", None, whoever(OFFERED), "RFC 7672 2.2: TLS is mandatory, authentication isn't possible"),
    ("opportunistic", "absent", None, whoever(CLEAR), "RFC 7672 2.2: secure denial is no DANE"),
    ("opportunistic", "bogus", None, nobody(LOST), "RFC 7672 2.1.1: a failed look-up isn't a denial"),
    ("opportunistic", "servfail", None, nobody(LOST), "RFC 7672 2.1.1: a failed look-up isn't a denial"),
    ("required", "fit", None, whoever(OFFERED), "RFC 7672 2.2"),
    ("required", "wrong", None, MISMATCHED, "RFC 7672 2.2"),
    ("required", "absent", None, whoever(OFFERED), "RFC 7672 2.2, RFC 3207 4.1"),
    ("verified", "wrong", None, verified(), "RFC 7817 3: names are checked in place of records"),
    ("dane", "fit", None, whoever(OFFERED), "RFC 7672 3.1.1, 6"),
    ("dane", "anchor", None, ANCHORED, "RFC 7672 3.1.2, 6"),
    ("dane", "wrong", None, MISMATCHED, "RFC 7672 2.2, 6"),
    ("dane", "unusable", None, nobody(USELESS), "RFC 7672 6: mandatory DANE needs usable records"),
    ("dane", "absent", None, nobody(USELESS), "RFC 7672 6"),
    ("dane", "bogus", None, nobody(LOST), "RFC 7672 2.1.1, 6"),
    ("opportunistic", None, "enforce", verified(), "RFC 8461 4.1, 4.2"),
    ("opportunistic", None, "testing", whoever(CLEAR), "RFC 8461 5: testing only reports"),
    ("opportunistic", None, "none", whoever(CLEAR), "RFC 8461 5: none is no policy"),
    ("required", None, "enforce", verified(), "RFC 8461 4.2"),
    ("required", None, "testing", whoever(OFFERED), "RFC 8461 5; RFC 3207 4.1: what is local stays"),
    ("off", None, "enforce", nobody(CLEAR), "RFC 8461 4: for clients that honour it"),
    ("opportunistic", "fit", "enforce", whoever(OFFERED), "RFC 8461 2: DANE takes precedence"),
    ("opportunistic", "wrong", "enforce", MISMATCHED, "RFC 8461 2: MTA-STS never overrides DANE's failure"),
    ("opportunistic", "absent", "enforce", verified(), "RFC 8461 2: without records the policy holds"),
    ("opportunistic", "bogus", "enforce", nobody(LOST), "RFC 8461 2, RFC 7672 2.1.1"),
]

# The same for messages that demand something of TLS themselves. Neither server knows REQUIRETLS: what is needed bounces, if not for one
# thing then for another; only what can't be looked up now waits.
UNKNOWN = "doesn't offer it"
UNVOUCHED = "vouches for the domain's mail exchangers"
DEMANDS = [
    ("needed", "opportunistic", None, None, nobody(UNVOUCHED), "RFC 8689 4.2.1, 2: the hosts must be certain"),
    ("needed", "opportunistic", None, "testing", nobody(UNVOUCHED), "RFC 8689 4.2.1, 2; RFC 8461 5"),
    ("needed", "opportunistic", None, "enforce", {**verified(), "right": UNKNOWN}, "RFC 8689 4.2.1, 4 and 5"),
    ("needed", "opportunistic", "absent", None, {**verified(), "right": UNKNOWN}, "RFC 8689 4.2.1, 4 and 5"),
    ("needed", "opportunistic", "unusable", None, {**verified(), "right": UNKNOWN}, "RFC 8689 4.2.1, 4: authenticated all the same"),
    ("needed", "opportunistic", "fit", None, {**nobody(UNKNOWN), "none": OFFERED}, "RFC 8689 4.2.1, 4 (RFC 7672) and 5"),
    ("needed", "opportunistic", "wrong", None, MISMATCHED, "RFC 8689 4.2.1, 4"),
    ("needed", "opportunistic", "bogus", None, nobody(LOST), "RFC 7672 2.1.1: not known now, so it waits"),
    ("needed", "off", "absent", None, nobody("says to send without TLS"), "RFC 8689 4.2.1, 4"),
    ("waived", "opportunistic", "wrong", None, whoever(CLEAR), "RFC 8689 5: DANE isn't insisted on"),
    ("waived", "opportunistic", "bogus", None, whoever(CLEAR), "RFC 8689 5"),
    ("waived", "opportunistic", None, "enforce", whoever(CLEAR), "RFC 8689 5: nor is MTA-STS"),
    ("waived", "required", "wrong", "enforce", whoever(OFFERED), "RFC 8689 5 speaks of the recipient's policies, not of ours"),
    ("waived", "verified", None, None, verified(), "RFC 8689 5: likewise"),
    ("waived", "dane", "wrong", None, MISMATCHED, "RFC 8689 5: likewise"),
]
ROWS = [*((None, *row) for row in USUAL), *DEMANDS]


class Row:
    """One row with one receiver: its domain and what its names have."""

    def __init__(self, number, row, server, kind):
        self.demand, self.policy, self.records, self.sts, expected, self.section = row
        self.server, self.kind, self.expected = server, kind, expected[kind]
        zone = "signed.test" if self.records else "unsigned.test"
        self.label, self.host = f"{server}-{kind}-{number}", f"mx-{server}-{kind}-{number}.{zone}"
        self.domain = f"{self.label}.{zone}"
        self.recipient = f"user@{self.domain}"
        self.address = SERVERS[server].format(KINDS.index(kind))

    def __str__(self):
        return (f"{self.demand + ' ' if self.demand else ''}{self.policy}, {self.records + ' TLSA' if self.records else 'unsigned'}, MTA-STS {self.sts}, "
                f"{self.server} with {self.kind} ({self.section})")

    def submission(self):
        headers = {**CONTENT["headers"], **({"TLS-Required": "No"} if self.demand == "waived" else {})}
        return {"id": self.label, "from": "bounce@engine.test", "content": {**CONTENT, "headers": headers},
                "recipients": [{"to": self.recipient}], "require_tls": self.demand == "needed"}

    def failure(self):
        """How it ends, or doesn't yet, when it can't be delivered: the event's type, and the code that bounces it."""
        if self.demand != "needed" or self.expected == LOST:
            return "deferred", None
        return "bounced", "5.7.30" if self.expected in (UNKNOWN, UNVOUCHED) or self.policy == "off" else "5.7.10"

    def lines(self, port, data):
        label = self.host.partition(".")[0]
        found = [f"{self.label} MX 10 {label}", f"{label} A {self.address}"]
        if self.records in ("bogus", "servfail"):
            found.append(f"_{port}._tcp.{label} CNAME {label}.{self.records}.test.")
        elif self.records in data:
            found.append(f"_{port}._tcp.{label} TLSA {data[self.records][self.server, self.kind]}")
        if self.sts:
            found += [f"mta-sts.{self.label} A {HTTPS}", f'_mta-sts.{self.label} TXT "v=STSv1; id=1;"']
        return found


def made(authority):
    """{(server, kind): certificate}"""
    found, names = {}, ["*.signed.test", "*.unsigned.test"]
    for server in SERVERS:
        found[server, "right"] = authority.issue(f"{server}-right", names)
        found[server, "expired"] = authority.issue(f"{server}-expired", names, expired=True)
        found[server, "other"] = authority.issue(f"{server}-other", ["mx.elsewhere.test"])
        found[server, "self"] = authority.self_signed(f"{server}-self", names)
        found[server, "none"] = None
    return found


def records_of(certificate, authority):
    """{kind of records: {receiver: data}}"""
    data = {"fit": {}, "wrong": {}, "unusable": {}, "anchor": {}}
    for key, path in certificate.items():
        path = path or authority.certificate
        data["fit"][key] = tlsa_of(path)
        data["wrong"][key] = tlsa_of(path, spoil=True)
        data["unusable"][key] = tlsa_of(path, usage=1)
        data["anchor"][key] = tlsa_of(authority.certificate, usage=2)
    return data


def zones_of(rows, port, data):
    found = {"signed.test": ["zone signed.test signed"], "unsigned.test": ["zone unsigned.test unsigned"]}
    for row in rows:
        found[row.domain.partition(".")[2]] += row.lines(port, data)
    return "\n".join([*found["signed.test"], *found["unsigned.test"], "zone bogus.test bogus", "* TLSA 3 1 1 " + "00" * 32,
                      "zone servfail.test servfail"])


def routes_of(rows):
    modes = sorted({row.policy for row in rows} - {"opportunistic"})
    return [{"destinations": [row.domain for row in rows if row.policy == mode], "tls": mode} for mode in modes]


def judge(rows, events, received, io, checks):
    for row in rows:
        first = events[row.recipient][0]
        text = first.get("text", "")
        if isinstance(row.expected, bool):
            checks.equal((first["type"], bool(first.get("tls"))), ("delivered", row.expected), f"{io}: {row}: {text}")
            checks.equal(received[row.server].get(row.recipient), row.expected, f"{io}: {row}: as received")
        else:
            how, code = row.failure()
            checks.that(first["type"] == how and row.expected in text, f"{io}: {row}: {first['type']} {text}")
            if code:
                checks.equal(first.get("status"), code, f"{io}: {row}: code")
            checks.equal(received[row.server].get(row.recipient), None, f"{io}: {row}: as received")


def run(io, checks):
    rows = [Row(number, row, server, kind) for number, row in enumerate(ROWS) for server in SERVERS for kind in KINDS]
    with tempfile.TemporaryDirectory(prefix="eilpost-") as folder, peers.Redis() as redis:
        authority = certificates.Authority(folder)
        certificate = made(authority)
        authority.issue("https", [f"mta-sts.{row.domain}" for row in rows if row.sts])
        policies = {row.domain: policy(row.sts, row.host) for row in rows if row.sts}
        services = {server: {SERVERS[server].format(KINDS.index(kind)): certificate[server, kind] for kind in KINDS} for server in SERVERS}
        with peers.Postfix(domains=["signed.test", "unsigned.test", *(row.domain for row in rows if row.server == "postfix")],
                           services=services["postfix"]) as postfix, \
                peers.Exim(services["exim"], postfix.port) as exim, \
                PolicyServer(HTTPS, authority.path("https.pem"), authority.path("https.key"), policies) as https, \
                signed_dns.SignedDns(zones_of(rows, postfix.port, records_of(certificate, authority))) as resolver, \
                peers.Engine({"io": io, "workers": 2, "redis": {"url": redis.url}, "dns": {"servers": resolver.address, "trusted": True},
                              "smtp": {"port": postfix.port, "ehlo_name": "engine.test"},
                              "tls": {"ca_file": authority.certificate, "mta_sts_port": https.port},
                              "routes": routes_of(rows)}) as engine, \
                campaign.Follower(engine.config) as follower:
            store = faults.store_of(redis)
            for row in rows:
                store.once("XADD", "e:submit", "*", "json", json.dumps(row.submission()))
            events = follower.until_first(len(rows))
            store.close()
            postfix.await_messages(sum(row.server == "postfix" and isinstance(row.expected, bool) for row in rows))
            received = {"postfix": postfix.received(), "exim": exim.received()}
    judge(rows, events, received, io, checks)


def main():
    peers.become_root()
    checks = campaign.Checks()
    for io in ("io_uring", "epoll"):
        run(io, checks)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
