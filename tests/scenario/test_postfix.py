"""A real Postfix receives: with and without STARTTLS, with BDAT and with DATA, over io_uring and over epoll. What it delivered is parsed with
Python's email and compared with what was submitted."""
import email
import email.policy
import os
import random
import sys
import tempfile

from scenario import campaign, peers

ZONE = "postfix.test"


def body_lines(text):
    """A body as a receiver should see it: LF line ends, one at the end, unless it's empty."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text if not text or text.endswith("\n") else text + "\n"


def bodies(chance):
    """(name, body) of raw messages; bare CR and LF are mended to line ends, so what arrives is known."""
    words = ["mail", "Grüße", "перевод", "順番", "🙂", ".", "..", "=20", "From here", "a" * 60]
    long_text = "\n".join(" ".join(chance.choice(words) for _ in range(12)) for _ in range(500))
    return [
        ("plain", "Hello\nworld\n"),
        ("long-lines", ("x" * 998 + "\n") * 3 + "y" * 900 + "\n"),
        ("leading-dots", ".\n..\n...\n.x\n\n.\nend\n.\n"),
        ("eight-bit", "Grüße aus Köln\nпривет\n"),
        ("bare-cr-lf", "one\rtwo\nthree\r\nfour\r.\rfive\n.\r\nsix\n"),
        ("empty", ""),
        ("no-line-end", "the last line has no end"),
        ("50-kib", (long_text * 3)[:50 * 1024].replace("\r", " ")),
        ("5-mib", "\n".join("%06d %s" % (i, "z" * 60) for i in range(5 * 1024 * 1024 // 68)) + "\n"),
    ]


def submit_raw(engine, folder, name, body):
    head = (f"From: Shop <shop@sender.test>\r\nTo: {name}@{ZONE}\r\nSubject: raw {name}\r\nX-Case: {name}\r\n"
            "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n")
    path = campaign.write_text(os.path.join(folder, f"{name}.eml"), (head + body).encode())
    campaign.submit(engine.config, "bounce@sender.test", "--to", f"{name}@{ZONE}", "--raw", path)


def submit_template(engine, folder, people):
    template = campaign.write_text(
        os.path.join(folder, "template.txt"),
        "From: Grüße <shop@sender.test>\nTo: {{name}} <{{email}}>\nSubject: Für {{name}}: {{offer}}\nX-Case: template\n\n"
        "Dear {{name}},\n.a line with a dot in front\n" + "A rather long line. " * 30 + "\n{{offer}}\n")
    html = campaign.write_text(os.path.join(folder, "template.html"),
                               "<html><body><p>Dear {{name}}</p>\n<p class=\"x\">{{offer}}</p></body></html>\n")
    listed = campaign.write_list(os.path.join(folder, "people.csv"), people)
    campaign.submit(engine.config, "bounce@sender.test", "--list", listed, "--template", template, "--html", html)


def check_template(message, person, checks):
    what = f"template for {person['email']}"
    name, offer = person["name"], person["offer"]
    checks.equal(str(message["Subject"]), " ".join(f"Für {name}: {offer}".split()), f"{what}: Subject")
    to = message["To"].addresses
    checks.equal([(a.display_name, a.addr_spec) for a in to], [(name, person["email"])], f"{what}: To")
    text = message.get_body(("plain",)).get_content()
    html = message.get_body(("html",)).get_content()
    checks.that(text.startswith(f"Dear {name},\n.a line with a dot"), f"{what}: text begins {text[:80]!r}")
    checks.that(f"\n{offer}\n" in text, f"{what}: text has the offer: {text[-200:]!r}")
    escaped = offer.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    checks.that(f">{escaped}</p>" in html.replace("&#39;", "'"), f"{what}: HTML has the escaped offer: {html!r}")


def check_delivered(postfix, raw, people, checks, label):
    found, addressed = {}, {}
    for message_bytes in postfix.messages():
        message = email.message_from_bytes(message_bytes, policy=email.policy.default)
        if message["X-Case"] == "template":
            addressed.setdefault(message["To"].addresses[0].addr_spec, []).append(message)
        else:
            found.setdefault(str(message["X-Case"]), []).append(message)
    for name, body in raw:
        its = found.get(name, [])
        checks.equal(len(its), 1, f"{label}: raw {name} delivered once")
        for message in its:
            same = message.get_content() == body_lines(body)
            checks.that(same, f"{label}: raw {name}: content {message.get_content()[:200]!r}")
            checks.that(message["Message-ID"] and message["Date"], f"{label}: raw {name} has Message-ID and Date")
            checks.equal(message.defects, [], f"{label}: raw {name} defects")
    for person in people:
        its = addressed.get(person["email"], [])
        checks.equal(len(its), 1, f"{label}: {person['email']} delivered once")
        for message in its:
            check_template(message, person, checks)


def run(io, starttls, chunking, checks, chance):
    label = f"{io}{' STARTTLS' if starttls else ''}{' BDAT' if chunking else ' DATA'}"
    print(f"== {label}", flush=True)
    raw = bodies(chance)
    people = [{"email": f"person{i}@{ZONE}", "name": name, "offer": offer} for i, (name, offer) in enumerate([
        ("Ann", "plain words"), ("Müller, \"Max\"", "50 % < 60 % & more"), ("Иван", "скидка 🙂"), ("O'Hara", ".dot = 20"),
        ("陳", "x" * 500)])]
    with tempfile.TemporaryDirectory() as folder, \
            peers.Postfix(domains=[ZONE], starttls=starttls, discard_keywords=[] if chunking else ["chunking"]) as postfix, \
            peers.Unbound({ZONE: {"": [("MX", f"10 mx.{ZONE}")], "mx": [("A", postfix.address)]}}) as resolver, \
            peers.Redis() as redis, \
            peers.Engine({"io": io, "workers": 1, "redis": {"url": redis.url},
                          "smtp": {"port": postfix.port, "ehlo_name": "engine.test"},
                          "dns": {"servers": resolver.address}}) as engine:
        for name, body in raw:
            submit_raw(engine, folder, name, body)
        submit_template(engine, folder, people)
        with campaign.Follower(engine.config) as follower:
            events = follower.until_ended(len(raw) + len(people))
        for to, its in events.items():
            checks.equal([e["type"] for e in its], ["delivered"], f"{label}: events of {to}: {its}")
            checks.equal(bool(its[-1].get("tls")), starttls, f"{label}: TLS used for {to}")
        postfix.await_messages(len(raw) + len(people))
        check_delivered(postfix, raw, people, checks, label)


def main():
    peers.become_root()
    seed = int(os.environ.get("SEED", random.randrange(1 << 32)))
    print(f"seed {seed}")
    chance = random.Random(seed)
    checks = campaign.Checks()
    for io in ("io_uring", "epoll"):
        for starttls in (False, True):
            for chunking in (False, True):
                run(io, starttls, chunking, checks, chance)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
