"""TLS reports (RFC 8460): sessions to a Postfix with right and wrong certificates, under MTA-STS, DANE and no policy, are counted for
the domains that ask for it; the reports arrive by mail at a Postfix, though its own TLS is broken, and by HTTPS, and say what happened."""
import contextlib
import datetime
import email
import email.policy
import gzip
import http.server
import json
import ssl
import sys
import tempfile
import threading

import jsonschema

from fault import faults
from scenario import campaign, certificates, peers, signed_dns
from scenario.certificates import tlsa_of
from scenario.policy_server import PolicyServer, policy

HTTPS, COLLECTOR = "127.0.6.44", "127.0.6.45"
RECEIVERS = {"right": "127.0.5.71", "expired": "127.0.5.72", "other": "127.0.5.73", "none": "127.0.5.74"}
CONTENT = {"headers": {"From": "shop@engine.test", "Subject": "Hello"}, "text": "Dear customer\n"}

# label: zone, what the receiver has, MTA-STS (True: enforced, 404: announced, but not to be had), TLSA records, {policy: (sessions that
# went well, results of the others)}; None: the domain doesn't ask for reports
CASES = {
    "plain": ("unsigned", "right", None, None, {"no-policy-found": (1, [])}),
    "clear": ("unsigned", "none", None, None, {"no-policy-found": (0, ["starttls-not-supported"])}),
    "sts": ("unsigned", "right", True, None, {"sts": (1, [])}),
    "sts-old": ("unsigned", "expired", True, None, {"sts": (0, ["certificate-expired"])}),
    "sts-name": ("unsigned", "other", True, None, {"sts": (0, ["certificate-host-mismatch"])}),
    "sts-bare": ("unsigned", "none", True, None, {"sts": (0, ["starttls-not-supported"])}),
    "sts-gone": ("unsigned", "right", 404, None, {"sts": (0, ["sts-policy-fetch-error"]), "no-policy-found": (1, [])}),
    "dane": ("signed", "right", None, "fit", {"tlsa": (1, [])}),
    "dane-wrong": ("signed", "right", None, "wrong", {"tlsa": (0, ["validation-failure"])}),
    "dane-lost": ("signed", "right", None, "lost", {"tlsa": (0, ["dnssec-invalid"])}),
    "quiet": ("unsigned", "right", None, None, None),
}

TEXT, COUNT = {"type": "string", "minLength": 1}, {"type": "integer", "minimum": 0}
TEXTS = {"type": "array", "items": TEXT}


def thing(required, **optional):
    return {"type": "object", "required": list(required), "properties": {**required, **optional}, "additionalProperties": False}


RESULTS = ["starttls-not-supported", "certificate-host-mismatch", "certificate-expired", "certificate-not-trusted", "validation-failure",
           "tlsa-invalid", "dnssec-invalid", "dane-required", "sts-policy-fetch-error", "sts-policy-invalid", "sts-webpki-invalid"]
TIME = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"}
SCHEMA = thing({  # RFC 8460, 4.4
    "organization-name": TEXT, "date-range": thing({"start-datetime": TIME, "end-datetime": TIME}), "contact-info": TEXT, "report-id": TEXT,
    "policies": {"type": "array", "minItems": 1, "items": thing({
        "policy": thing({"policy-type": {"enum": ["tlsa", "sts", "no-policy-found"]}, "policy-domain": TEXT},
                        **{"policy-string": TEXTS, "mx-host": TEXTS}),
        "summary": thing({"total-successful-session-count": COUNT, "total-failure-session-count": COUNT}),
    }, **{"failure-details": {"type": "array", "items": thing({"result-type": {"enum": RESULTS}, "failed-session-count": COUNT}, **{
        name: TEXT for name in ("sending-mta-ip", "receiving-mx-hostname", "receiving-mx-helo", "receiving-ip", "additional-information",
                                "failure-reason-code")})}})},
})


class Collector:
    """An HTTPS server that takes reports; its certificate is nobody's business (RFC 8460, 3). `taken` has (type, body)."""

    def __init__(self, certificate, key):
        self.taken = taken = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                taken.append((self.headers["Content-Type"], self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(201)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *unused):
                pass

        self._server = http.server.ThreadingHTTPServer((COLLECTOR, 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


def zones_of(port, tlsa, collector):
    found = {"signed": ["zone signed.test signed"], "unsigned": ["zone unsigned.test unsigned"]}
    for label, (zone, receiver, sts, records, expected) in CASES.items():
        lines = found[zone]
        lines += [f"{label} MX 10 mx-{label}", f"mx-{label} A {RECEIVERS[receiver]}"]
        if sts:
            lines += [f"mta-sts.{label} A {HTTPS}", f'_mta-sts.{label} TXT "v=STSv1; id=1;"']
        if records in tlsa:
            lines.append(f"_{port}._tcp.mx-{label} TLSA {tlsa[records]}")
        elif records == "lost":
            lines.append(f"_{port}._tcp.mx-{label} CNAME {label}.lost.test.")
        if expected:
            rua = "mailto:tls%2Dreports@reports.unsigned.test"
            if label == "sts-old":
                rua += f",https://collect.unsigned.test:{collector.port}/tls"
            lines.append(f'_smtp._tls.{label} TXT "v=TLSRPTv1; rua={rua}"')
    # Reports must come through where the policy would keep all other mail out.
    found["unsigned"] += ["reports MX 10 mx-reports", f"mx-reports A {RECEIVERS['expired']}", f"mta-sts.reports A {HTTPS}",
                          '_mta-sts.reports TXT "v=STSv1; id=1;"', f"collect A {COLLECTOR}"]
    return "\n".join([*found["signed"], *found["unsigned"], "zone lost.test servfail"])


def domain_of(label):
    return f"{label}.{CASES[label][0]}.test"


def reports_of(config, days):
    found = {}
    for day in days:
        for line in campaign.eilpost("tls-report", "--config", config, "--day", day, "--json").stdout.splitlines():
            report = json.loads(line)
            found[report["policies"][0]["policy"]["policy-domain"]] = report
    return found


def today():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")


def judge(reports, io, checks):
    asking = {domain_of(label): case[4] for label, case in CASES.items() if case[4]}
    checks.equal(set(reports), set(asking), f"{io}: domains with reports")
    for domain, report in reports.items():
        jsonschema.validate(report, SCHEMA)
        found = {}
        for entry in report["policies"]:
            details = entry.get("failure-details", [])
            failed = sum(detail["failed-session-count"] for detail in details)
            checks.equal(entry["summary"]["total-failure-session-count"], failed, f"{io}: {domain}: failures add up")
            checks.equal(entry["policy"]["policy-domain"], domain, f"{io}: {domain}: policy's domain")
            found[entry["policy"]["policy-type"]] = (entry["summary"]["total-successful-session-count"],
                                                     sorted(detail["result-type"] for detail in details))
        checks.equal(found, asking.get(domain), f"{io}: {domain}")
    dane = reports[domain_of("dane")]["policies"][0]["policy"]
    checks.that(dane["policy-string"][0].startswith("3 1 1 "), f"{io}: TLSA records in {dane}")
    sts = reports[domain_of("sts")]["policies"][0]["policy"]
    checks.that("mode: enforce" in sts["policy-string"] and sts["mx-host"] == ["mx-sts.unsigned.test"], f"{io}: policy in {sts}")


def judge_mail(messages, reports, io, checks):
    seen = {}
    for message in messages:
        mail = email.message_from_bytes(message, policy=email.policy.default)
        checks.equal((mail.get_content_type(), mail["Content-Type"].params.get("report-type")), ("multipart/report", "tlsrpt"),
                     f"{io}: type of {mail['Subject']}")
        domain = mail["TLS-Report-Domain"]
        part = list(mail.iter_parts())[1]
        checks.equal((part.get_content_type(), mail["TLS-Required"], mail["TLS-Report-Submitter"]),
                     ("application/tlsrpt+gzip", "No", "engine.test"), f"{io}: {domain}: headers")
        checks.that(part.get_filename().startswith(f"engine.test!{domain}!"), f"{io}: {domain}: {part.get_filename()}")
        checks.that(f"Report Domain: {domain} Submitter: engine.test Report-ID: <" in mail["Subject"], f"{io}: {mail['Subject']}")
        seen[domain] = json.loads(gzip.decompress(part.get_content()))
    checks.equal(len(seen), len(messages), f"{io}: one report each")
    checks.equal(seen, reports, f"{io}: reports that came by mail")


def run(io, checks):
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="eilpost-"))
        redis = stack.enter_context(peers.Redis())
        authority = certificates.Authority(folder)
        names = ["*.signed.test", "*.unsigned.test"]
        certificate = {"right": authority.issue("right", names), "expired": authority.issue("expired", names, expired=True),
                       "other": authority.issue("other", ["mx.elsewhere.test"]), "none": None}
        authority.issue("https", [f"mta-sts.{domain_of(label)}" for label in CASES] + ["mta-sts.reports.unsigned.test"])
        unknown = authority.self_signed("collector", ["elsewhere.test"])
        collector = Collector(unknown, authority.path("collector.key"))
        stack.callback(collector.stop)
        answers = {domain_of(label): 404 if case[2] == 404 else policy("enforce", f"mx-{label}.{case[0]}.test")
                   for label, case in CASES.items() if case[2]}
        answers["reports.unsigned.test"] = policy("enforce", "mx-reports.unsigned.test")
        https = stack.enter_context(PolicyServer(HTTPS, authority.path("https.pem"), authority.path("https.key"), answers))
        postfix = stack.enter_context(peers.Postfix(domains=[*map(domain_of, CASES), "reports.unsigned.test"],
                                                    services={RECEIVERS[kind]: path for kind, path in certificate.items()}))
        tlsa = {"fit": tlsa_of(certificate["right"]), "wrong": tlsa_of(certificate["right"], spoil=True)}
        resolver = stack.enter_context(signed_dns.SignedDns(zones_of(postfix.port, tlsa, collector)))
        settings = {"io": io, "workers": 2, "redis": {"url": redis.url}, "dns": {"servers": resolver.address, "trusted": True},
                    "smtp": {"port": postfix.port, "ehlo_name": "engine.test"},
                    "tls": {"ca_file": authority.certificate, "mta_sts_port": https.port},
                    "tls_reports": {"from": "postmaster@engine.test", "organization": "Engine, Inc."}}
        store = faults.store_of(redis)
        days = {today()}
        # Its end takes what was counted to Redis.
        with peers.Engine(settings) as engine, campaign.Follower(engine.config) as follower:
            for label in CASES:
                store.once("XADD", "e:submit", "*", "json", json.dumps({
                    "id": label, "from": "bounce@engine.test", "content": CONTENT, "recipients": [{"to": f"user@{domain_of(label)}"}]}))
            follower.until_first(len(CASES))
            before = len(CASES) - sum(1 for its in follower.events if its["type"] == "deferred")
        days.add(today())
        reports = {}
        with peers.Engine(settings) as engine, campaign.Follower(engine.config) as follower:
            reports = reports_of(engine.config, days)
            judge(reports, io, checks)
            sent = [campaign.eilpost("tls-report", "--config", engine.config, "--day", day, "--send").stdout for day in sorted(days)]
            checks.equal([text for text in sent if text.startswith(f"{len(reports)} sent, 0 ")], sent[:1] if len(days) == 1 else sent,
                         f"{io}: what sending says")
            again = [campaign.eilpost("tls-report", "--config", engine.config, "--day", day, "--send").stdout for day in sorted(days)]
            checks.equal({text.split(",")[0] for text in again}, {"0 sent"}, f"{io}: nothing is sent twice")
            postfix.await_messages(before + len(reports))
            mails = [message for message in postfix.messages() if b"\nTLS-Report-Domain: " in message]
            judge_mail(mails, reports, io, checks)
        store.close()
        checks.equal([kind for kind, _ in collector.taken], ["application/tlsrpt+gzip"], f"{io}: posted")
        checks.equal([json.loads(gzip.decompress(body)) for _, body in collector.taken], [reports[domain_of("sts-old")]],
                     f"{io}: reports that were posted")


def main():
    peers.become_root()
    checks = campaign.Checks()
    for io in ("io_uring", "epoll"):
        run(io, checks)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
