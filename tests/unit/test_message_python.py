"""Python's `email` as the judge of what the renderer makes: headers decode to the text that was given, bodies are equal,
and the wire's rules hold, for languages, emoji, right-to-left text, long lines, leading dots, empty parts and random values.

The renderer answers through tests/unit/engine/message/test_render_cases.c."""

import base64
import email
import email.header
import email.policy
import email.utils
import json
import os
import random
import re
import subprocess
import sys
import unittest

PROGRAM = os.path.join(os.environ["EILPOST_BUILD"], "tests", "engine_message_test_render_cases")

TEXTS = {
    "english": "Dear Anna,\n\nyour order is on its way.\n",
    "german": "Grüße aus Köln, schöne Straße – „Übergröße“ für 5 €\n",
    "greek": "Καλημέρα κόσμε, τι κάνεις; Ελπίζω να είσαι καλά σήμερα.\n" * 3,
    "russian": "Съешь же ещё этих мягких французских булок, да выпей чаю\n",
    "chinese": "人人生而自由,在尊严和权利上一律平等。" * 12 + "\n",
    "japanese": "すべての人間は、生まれながらにして自由であり\nかつ、尊厳と権利とについて平等である。\n",
    "korean": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.\n",
    "thai": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกัน\n",
    "hindi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता\n",
    "hebrew": "כל בני האדם נולדו בני חורין \u200f(ושווים) בערכם\n",
    "arabic": "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق ١٢٣\n",
    "emoji": "🎉👩‍👩‍👧‍👦🏳️‍🌈" * 30 + "\n",
    "combining": "e\u0301" * 200 + "\n",
    "long line": "word " * 3000 + "\n",
    "long word": "x" * 5000 + "\n",
    "dots": ".\n..\n.a\n\n.\r\n" + "." * 300 + "\n",
    "trailing blanks": "a \nb\t\n \n\t\n  \nc   ",
    "no final newline": "end",
    "only newlines": "\n\n\n",
    "from": "From me\nFrom\n>From you\nFrom: x\n",
    "equals": "=\n==\n=3D\n=\r\n" + "=" * 200 + "\n",
    "boundary": "--=_\n\n--=_0123456789abcdef--\n",
    "html": '<p style="color: red">a & b &amp; \'c\'</p>\n',
    "controls": "a\x01b\x1b[31mc\x7f\n",
    "blank line ends": "x" * 74 + " \n" + "x" * 75 + " \n" + "x" * 76 + " \n",
    "empty": "",
}

HEADERS = [re.sub(r"\s+", " ", text).strip() for text in TEXTS.values() if "\x01" not in text and len(text) < 4000]
HEADERS += ["=?utf-8?q?encoded?=", "a" * 200, "a" * 950, "two  blanks   inside", '"quoted"', "semi; colon, (x)", "x =? y ?= z"]


class Renderer:
    def __init__(self):
        self.process = subprocess.Popen([PROGRAM, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, content, values=None, address="anna@example.org", transfer="data", block_bytes=0):
        encoded = {name: base64.b64encode(value if isinstance(value, bytes) else value.encode()).decode()
                   for name, value in (values or {}).items()}
        job = {"content": content, "address": address, "values_base64": encoded, "transfer": transfer,
               "block_bytes": block_bytes}
        self.process.stdin.write(json.dumps(job).encode() + b"\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if answer.startswith(b"error "):
            raise ValueError(answer[6:].decode(errors="replace").strip())
        size, estimate = map(int, answer.split()[1:])
        message = self.process.stdout.read(size)
        assert len(message) == size
        if not any(key.startswith("raw") for key in content):  # for SIZE=, which doesn't count the stuffed dots
            assert size <= estimate, (size, estimate)
        return message

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        assert self.process.wait() == 0


def newlines(text):
    """What the renderer promises for line ends: each of CRLF, CR and LF is one."""
    return re.sub("\r\n|\r|\n", "\n", text)


def clean_header(text):
    return re.sub(r"[\x00-\x1f\x7f]", " ", text.replace("\r\n", "  ")).strip(" ")


class MessageTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.render = Renderer()

    @classmethod
    def tearDownClass(cls):
        cls.render.close()

    def check_wire(self, raw, seven_bit=True):
        self.assertTrue(raw.endswith(b"\r\n"))
        self.assertNotIn(b"\n", raw.replace(b"\r\n", b""))
        self.assertNotIn(b"\r", raw.replace(b"\r\n", b""))
        self.assertNotIn(b"\0", raw)
        if seven_bit:
            self.assertTrue(raw.isascii())
        head, _, body = raw.partition(b"\r\n\r\n")
        for line in head.split(b"\r\n"):
            self.assertLessEqual(len(line), 998)
            for word in re.findall(rb"=\?[^?]*\?[^?]*\?[^?]*\?=", line):
                self.assertLessEqual(len(word), 75)
                self.assertLessEqual(len(line), 76)
        for line in body.split(b"\r\n"):
            self.assertLessEqual(len(line), 76)
            self.assertFalse(line.startswith(b"."))
            self.assertFalse(line.startswith(b"From "))
            self.assertFalse(line.endswith((b" ", b"\t")))

    def parse(self, raw):
        message = email.message_from_bytes(raw, policy=email.policy.SMTP)
        self.assertEqual(message.defects, [])
        for part in message.walk():
            self.assertEqual(part.defects, [])
        return message

    def body(self, part):
        return newlines(part.get_payload(decode=True).decode("utf-8"))

    def check_body(self, message, text, html):
        if text is not None and html is not None:
            self.assertEqual(message.get_content_type(), "multipart/alternative")
            parts = list(message.iter_parts())
            self.assertEqual([part.get_content_type() for part in parts], ["text/plain", "text/html"])
            self.assertEqual([self.body(part) for part in parts], [newlines(text), newlines(html)])
            return
        only = newlines(text if html is None else html)
        if only and not only.endswith("\n"):
            only += "\n"  # a message ends at the end of a line
        self.assertEqual(message.get_content_type(), "text/plain" if html is None else "text/html")
        self.assertEqual(self.body(message), only)

    def test_static_bodies_are_what_was_given(self):
        for name, text in TEXTS.items():
            for parts in ({"text": text}, {"html": text}, {"text": text, "html": text[::-1]}):
                with self.subTest(name, parts=sorted(parts)):
                    raw = self.render({"headers": {"From": "s@x.example"}, **parts})
                    self.check_wire(raw)
                    self.check_body(self.parse(raw), parts.get("text"), parts.get("html"))

    def test_values_in_bodies_are_what_was_given(self):
        import html as html_module
        template = "{{a}}\n.{{b}} {{a}}{{b}}\n\n{{a}} \n{{b}}.\n"
        texts = list(TEXTS.items())
        for i, (name, a) in enumerate(texts):
            b = texts[(i * 7 + 3) % len(texts)][1]
            filled = template.replace("{{a}}", "\0a").replace("{{b}}", "\0b")
            text = re.sub("\0(.)", lambda m: {"a": a, "b": b}[m[1]], filled)
            escaped = {"a": html_module.escape(a), "b": html_module.escape(b)}
            html = re.sub("\0(.)", lambda m: escaped[m[1]], filled)
            with self.subTest(name):
                raw = self.render({"headers": {"From": "s@x.example"}, "text": template, "html": template},
                                  {"a": a, "b": b}, block_bytes=1024 + 64 * i)
                self.check_wire(raw)
                message = self.parse(raw)
                parts = list(message.iter_parts())
                # A CR at the end of a value and a LF behind it are two line ends; the texts above have none there.
                self.assertEqual(self.body(parts[0]), newlines(text))
                self.assertEqual(html_module.unescape(self.body(parts[1])), html_module.unescape(newlines(html)))

    def test_subjects_decode_to_the_text(self):
        for text in HEADERS:
            for template, values, expected in (
                (text, {}, text),
                ("{{v}}", {"v": text}, text),
                ("Hallo {{v}}: {{v}}", {"v": text}, f"Hallo {text}: {text}"),
                ("Grüße, {{v}}!", {"v": text}, f"Grüße, {text}!"),
            ):
                with self.subTest(template[:30], value=text[:30]):
                    raw = self.render({"headers": {"From": "s@x.example", "Subject": template, "X-Long-Header-Name": template},
                                       "text": ""}, values)
                    self.check_wire(raw)
                    message = self.parse(raw)
                    expected = expected.strip()
                    self.assertEqual(str(message["Subject"]), expected)
                    self.assertEqual(str(message["X-Long-Header-Name"]), expected)
                    self.assertEqual(len(message.keys()), 9)

    def test_a_name_never_changes_the_mailboxes(self):
        names = HEADERS + ['Müller, "X" <evil@x>', "evil@x.example", "a, b", "<>", "\\", '\\"', '"', "@", ";", ":", "(c)", "a.b",
                           " x ", "a  b", "x" * 61, "=?utf-8?q?x?="]
        for name in names:
            for template in ("{{n}} <{{email}}>, Other <o@x.example>", '"{{n}}" <{{email}}>, "O, P" <o@x.example>'):
                with self.subTest(name[:40], template=template):
                    raw = self.render({"headers": {"From": "s@x.example", "To": template}, "text": ""}, {"n": name})
                    self.check_wire(raw)
                    addresses = self.parse(raw)["To"].addresses
                    self.assertEqual([a.addr_spec for a in addresses], ["anna@example.org", "o@x.example"])
                    # Not addresses[0].display_name: there Python keeps the blanks between encoded words (RFC 2047, 6.2).
                    header = email.message_from_bytes(raw)["To"]
                    first = email.utils.getaddresses([header])[0][0]
                    decoded = str(email.header.make_header(email.header.decode_header(re.sub(r"\r\n", "", first))))
                    self.assertEqual(decoded, name.strip())

    def test_quoted_and_international_addresses_stay(self):
        for address, seen in (('"a@b"@c.example', '"a@b"@c.example'), ("a@bücher.example", "a@xn--bcher-kva.example"),
                              ("o'brien+x@c.example", "o'brien+x@c.example"), ("jörg@c.example", "jörg@c.example")):
            with self.subTest(address):
                raw = self.render({"headers": {"From": "s@x.example", "To": "N {{n}} <{{email}}>"}, "text": ""},
                                  {"n": "ü"}, address=address)
                self.check_wire(raw, seven_bit=seen.isascii())
                message = email.message_from_string(raw.decode(), policy=email.policy.SMTPUTF8)
                self.assertIn(f"<{seen}>".encode(), raw)
                if '"' not in seen:  # Python's Address takes the quotation marks off
                    self.assertEqual([a.addr_spec for a in message["To"].addresses], [seen])

    def test_many_recipients_are_folded(self):
        people = [f"Person Nummer {i} ü <person{i}@example.org>" for i in range(200)]
        raw = self.render({"headers": {"From": "s@x.example", "Cc": ", ".join(people)}, "text": ""})
        self.check_wire(raw)
        addresses = self.parse(raw)["Cc"].addresses
        self.assertEqual([f"{a.display_name} <{a.addr_spec}>" for a in addresses], people)
        self.assertLessEqual(max(len(line) for line in raw.split(b"\r\n")), 78)

    def test_a_hundred_headers_keep_their_order(self):
        headers = [["From", "s@x.example"]] + [[f"X-H{i}", f"v{i} {{{{n}}}}" if i % 2 else f"wert ü {i}"] for i in range(100)]
        message = self.parse(self.render({"headers": headers, "text": ""}, {"n": "ß"}))
        got = [(name, value) for name, value in message.items() if name.startswith("X-")]
        self.assertEqual(got, [(name, value.replace("{{n}}", "ß")) for name, value in headers[1:]])

    def test_random_values_add_nothing(self):
        seed = int(os.environ.get("EILPOST_TEST_SEED") or random.SystemRandom().getrandbits(32))
        print(f"EILPOST_TEST_SEED={seed}", file=sys.stderr)
        rng = random.Random(seed)
        units = ["\r\n", "\n", "{{", "}}", "{{a}}", ".", "\n.\n", "=", "=\n", "ü", "🎉", "--=_", "\nBcc: x@y\n\n", " ", "  ", "F",
                 "From ", '"', "<", ">", ",", "\\", "=?utf-8?q?a?=", "?=", "\t", "word", "&amp;", "\u202e", "\u2028", "ÿ" * 30, "x" * 70]
        content = {"headers": [["From", "Shop <s@x.example>"], ["Subject", "{{a}} {{b}}"], ["X-Other", "x{{b}}"]],
                   "text": "{{a}}{{b}}\n{{a}} x{{b}}x\n.{{a}}", "html": "{{b}}{{a}} <b>{{b}}</b>\n"}
        for i in range(1500):
            a, b = ("".join(rng.choices(units, k=rng.randrange(60))).replace("\r\n", "\n") for _ in range(2))
            raw = self.render(content, {"a": a, "b": b}, block_bytes=rng.randrange(1024, 20000))
            self.check_wire(raw)
            message = self.parse(raw)
            self.assertEqual(message.keys(), ["From", "Subject", "X-Other", "To", "Date", "Message-ID", "MIME-Version", "Content-Type"])
            self.assertEqual(str(message["Subject"]), clean_header(f"{a} {b}"))
            self.assertEqual(str(message["X-Other"]), clean_header(f"x{b}"))
            parts = list(message.iter_parts())
            self.assertEqual(self.body(parts[0]), f"{a}{b}\n{a} x{b}x\n.{a}")
            self.assertNotIn("<b><", self.body(parts[1]).replace("<b></b>", ""))

    def test_random_bytes_parse_without_defects(self):
        rng = random.Random(int(os.environ.get("EILPOST_TEST_SEED") or 1))
        content = {"headers": [["From", "s@x.example"], ["Subject", "{{a}}"]], "text": "{{a}}", "html": "{{a}}"}
        for i in range(300):
            raw = self.render(content, {"a": rng.randbytes(rng.randrange(3000))})
            self.check_wire(raw)
            message = self.parse(raw)
            self.assertEqual(len(message.keys()), 7)
            self.assertEqual(len(list(message.iter_parts())), 2)

    def test_raw_messages_come_out_as_they_went_in(self):
        head = "From: s@x.example\nDate: Tue, 01 Jul 2025 12:34:56 +0000\nMessage-ID: <1@x>\nSubject: s\n\n"
        for name, text in TEXTS.items():
            if max(map(len, text.encode().split(b"\n"))) > 998:
                with self.assertRaisesRegex(ValueError, "longer than 998"):
                    self.render({"raw": head + text})
                continue
            with self.subTest(name):
                wanted = re.sub(rb"\r\n|\r|\n", b"\r\n", (head + text).encode())
                wanted += b"" if wanted.endswith(b"\r\n") else b"\r\n"
                self.assertEqual(self.render({"raw": head + text}, transfer="chunk"), wanted)
                stuffed = self.render({"raw_base64": base64.b64encode((head + text).encode()).decode()})
                self.assertEqual(re.sub(rb"(?m)^\.\.", b".", stuffed), wanted)
                self.assertIsNone(re.search(rb"(?m)^\.($|[^.])", stuffed))

    def test_a_large_body_stays_whole(self):
        text = "".join(f"{i} Zeile mit ü und . am Anfang\n." for i in range(60000))
        raw = self.render({"headers": {"From": "s@x.example"}, "text": text + "{{n}}" + text}, {"n": "x" * (1 << 20)})
        self.check_wire(raw)
        self.assertEqual(self.body(self.parse(raw)), text + "x" * (1 << 20) + text + "\n")


if __name__ == "__main__":
    unittest.main(verbosity=1)
