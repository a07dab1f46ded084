"""DKIM signatures: what a Postfix received, in chunks and as data, is verified by python3-dkim and by OpenDKIM. RSA and Ed25519, relaxed and
simple bodies, templates and raw messages; which keys sign what; the records that the command line prints are those the verifiers use."""
import datetime
import json
import os
import re
import subprocess
import sys
import tempfile

from fault import faults
from scenario import campaign, peers

VERIFIER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "dkim_verifier.py")
TODAY = datetime.datetime.now(datetime.timezone.utc).date()


def day(offset):
    return (TODAY + datetime.timedelta(days=offset)).isoformat()


# domain, selector, kind of key, what else
KEYS = [
    ("shop.test", "rsa", 2048, {}),
    ("shop.test", "ed", "ed25519", {}),
    ("simple.test", "plain", 2048, {"body": "simple", "expires_s": 86400}),
    ("deep.simple.test", "deep", 1024, {"body": "relaxed"}),
    ("tenant.test", "hers", "ed25519", {"tenants": ["anna"]}),
    ("tenant.test", "his", "ed25519", {"tenants": ["bert"]}),
    ("rotated.test", "old", 2048, {"not_after": day(-2)}),
    ("rotated.test", "now", 2048, {"not_before": day(-2), "not_after": day(2)}),
    ("rotated.test", "next", 2048, {"not_before": day(3)}),
]

LONG = "many words  with   blanks\tand tabs " * 40
HTML = "<p>Grüße, {{name}}</p>\n\n\n"
RAW = ("From: Shop <a@shop.test>\r\nTo: you@dkim.test\r\nSubject:  folded\r\n   subject \t here\r\nX-Other: 1\r\nReceived: one\r\n"
       "Received: two\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n")


def template(sender, text="Dear {{name}}\n", html=None, **headers):
    content = {"headers": {"From": sender, "Subject": "Hello {{name}}", **headers}, "text": text}
    return {**content, "html": html} if html else content


# name, content, tenant, the selectors that sign it
CASES = [
    ("both", template("Shop <a@shop.test>"), None, ["ed", "rsa"]),
    ("below", template("a@news.shop.test"), None, ["ed", "rsa"]),
    ("nobody", template("a@elsewhere.test"), None, []),
    ("lookalike", template("a@otshop.test"), None, []),
    ("name-with-at", template('"b@simple.test" <a@shop.test>'), None, ["ed", "rsa"]),
    ("same-body", template("a@shop.test", text="For everybody\n \n\n\n"), None, ["ed", "rsa"]),
    ("simple", template("a@simple.test", text=LONG + "\n\n\n"), None, ["plain"]),
    ("nearest", template("a@x.deep.simple.test", text=LONG), None, ["deep"]),
    ("html", template("Größe <a@shop.test>", html=HTML, **{"Reply-To": "b@shop.test", "List-Unsubscribe": "<https://shop.test/u>"}), None,
     ["ed", "rsa"]),
    ("empty", template("a@shop.test", text=""), None, ["ed", "rsa"]),
    ("hers", template("a@tenant.test"), "anna", ["hers"]),
    ("his", template("a@tenant.test"), "bert", ["his"]),
    ("nobodys", template("a@tenant.test"), None, []),
    ("rotated", template("a@rotated.test"), None, ["now"]),
    ("raw", {"raw": RAW + "..\r\n.\r\n. dots\r\nblanks   \t\r\nmore\tblanks  here \r\n\r\n\r\n"}, None, ["ed", "rsa"]),
    ("raw-simple", {"raw": RAW.replace("a@shop.test", "a@simple.test") + "..\r\nblanks   \r\nGrüße\r\n\r\n\r\n"}, None, ["plain"]),
    ("raw-empty", {"raw": RAW}, None, ["ed", "rsa"]),
    ("raw-many", {"raw": "".join(f"Cc: c{i}@dkim.test\r\n" if i == 0 else f"X-Field-{i}: {i}\r\n" for i in range(100)) + RAW +
                  "x" * 900 + "\r\n" + "line\r\n" * 5000}, None, ["ed", "rsa"]),
    ("raw-stamped", {"raw": RAW.replace("MIME-Version", "Date: Tue, 01 Jul 2025 12:34:56 +0000\r\nMessage-ID: <x@shop.test>\r\nMIME-Version")
                     + "text\r\n"}, None, ["ed", "rsa"]),
]


def make_keys(folder):
    """The configuration's rows, and what the command line says is to be published: {name: record}."""
    rows, dns = [], {}
    for domain, selector, kind, more in KEYS:
        path = os.path.join(folder, f"{selector}.pem")
        words = ["--ed25519"] if kind == "ed25519" else ["--bits", str(kind)]
        record = campaign.eilpost("dkim", "keygen", *words, path).stdout.strip()
        dns[f"{selector}._domainkey.{domain}"] = record
        rows.append({"domain": domain, "selector": selector, "key_file": path, **more})
    return rows, dns


def python_verdicts(paths, dns):
    done = subprocess.run(["/usr/bin/python3", VERIFIER], input=json.dumps({"dns": dns, "messages": paths}), capture_output=True, text=True,
                          check=True)
    return json.loads(done.stdout)


def opendkim_verdicts(folder, paths, dns):
    """For each message the selectors that OpenDKIM found right."""
    data, conf = os.path.join(folder, "dns"), os.path.join(folder, "opendkim.conf")
    with open(data, "w") as out:
        out.writelines(f"{name} {record}\n" for name, record in dns.items())
    with open(conf, "w") as out:
        out.write(f"Mode v\nTestDNSData file:{data}\nSyslog no\nLogResults yes\nMinimumKeyBits 1024\nUserID root\nOn-Security nothing\n"
                  .replace("On-Security nothing\n", ""))
    found = []
    for path in paths:
        done = subprocess.run(["/usr/sbin/opendkim", "-x", conf, "-vvv", "-t", path], capture_output=True, text=True)
        found.append(done.stdout + done.stderr)
    return found


def run(io, chunking, checks):
    with tempfile.TemporaryDirectory(prefix="eilpost-") as folder, peers.Redis() as redis, \
            peers.Postfix(domains=["dkim.test"], discard_keywords=() if chunking else ("chunking",)) as postfix:
        rows, dns = make_keys(folder)
        zone = {"dkim.test": {"": [("MX", "10 mx.dkim.test")], "mx": [("A", postfix.address)]}}
        store = faults.store_of(redis)
        with peers.Unbound(zone) as resolver, \
                peers.Engine({"io": io, "workers": 2, "redis": {"url": redis.url}, "dns": {"servers": resolver.address},
                              "smtp": {"port": postfix.port, "ehlo_name": "engine.test"}, "dkim": rows}) as engine, \
                campaign.Follower(engine.config) as follower:
            for name, content, tenant, _ in CASES:
                submission = {"id": name, "from": "bounce@engine.test", "content": content,
                              "recipients": [{"to": f"{name}-{i}@dkim.test", **({} if "raw" in content else {"data": {"name": "Ånn  B."}})}
                                             for i in range(2)]}
                store.once("XADD", "e:submit", "*", "json", json.dumps({**submission, **({"tenant": tenant} if tenant else {})}))
            events = follower.until_ended(2 * len(CASES))
            checks.equal({its[-1]["type"] for its in events.values()}, {"delivered"}, f"{io}: ends")
            postfix.await_messages(2 * len(CASES))
            shown = campaign.eilpost("dkim", "show-dns", "--config", engine.config).stdout
            for record in dns.values():
                checks.that(record in re.sub(r'" "', "", shown), f"{io}: show-dns has {record[:60]}")
        store.close()
        paths, names = [], []
        for number, message in enumerate(postfix.messages()):
            names.append(re.search(rb"^X-Original-To: (.*)-\d@", message, re.M).group(1).decode())
            paths.append(os.path.join(folder, f"{number}.eml"))
            with open(paths[-1], "wb") as out:
                out.write(message.replace(b"\n", b"\r\n"))
        expected = {name: selectors for name, _, _, selectors in CASES}
        for name, found in zip(names, python_verdicts(paths, dns)):
            checks.equal(sorted((selector, good) for _, selector, good in found), [(selector, True) for selector in expected[name]],
                         f"{io}, chunking {chunking}: {name}: python3-dkim")
        for name, text in zip(names, opendkim_verdicts(folder, paths, dns)):
            good = sorted(re.findall(r"s=(\S+?)[,;)]? .*succeeded", text))
            print(name, good, text[:500]) if os.environ.get("SHOW") else None
            checks.that("fail" not in text.lower() and (bool(good) or not expected[name]), f"{io}, chunking {chunking}: {name}: OpenDKIM: {text}")


def main():
    peers.become_root()
    checks = campaign.Checks()
    for io, chunking in (("io_uring", True), ("epoll", False)):
        run(io, chunking, checks)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
