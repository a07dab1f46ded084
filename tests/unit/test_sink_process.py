"""The sink as a process, judged by clients that aren't ours: Python's smtplib and ssl, and dig. On both I/O bodies."""
import json
import os
import re
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import tempfile
import time
import unittest
import urllib.request

SINK = os.path.join(os.environ["EILPOST_BUILD"], "bench-sink")
BLASTER = os.path.join(os.environ["EILPOST_BUILD"], "bench-blaster")


class Sink:
    def __init__(self, *arguments, listen="127.0.0.1-127.0.0.9:0"):
        self.folder = tempfile.mkdtemp(prefix="eilpost-test-")
        self.ledger = os.path.join(self.folder, "ledger")
        self.child = subprocess.Popen([SINK, "--listen", listen, "--dns", "127.0.0.1:0", "--stats", "127.0.0.1:0",
                                       "--ledger", self.ledger, *arguments], stdout=subprocess.PIPE, text=True)
        ports = json.loads(self.child.stdout.readline())
        self.smtp_port, self.dns_port, self.stats_port = (ports[f"{name}_port"] for name in ("smtp", "dns", "stats"))

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        self.child.stdout.close()
        shutil.rmtree(self.folder)

    def report(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.stats_port}/report") as answer:
            return json.load(answer)

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        out, _ = self.child.communicate()
        return json.loads(out.splitlines()[-1]), self.child.returncode

    def script(self, text):
        path = os.path.join(self.folder, "script")
        with open(path, "w", encoding="ascii") as out:
            out.write(text)
        return path

    def dig(self, *arguments):
        done = subprocess.run(["dig", "+noall", "+answer", "+comments", "+tries=1", "-p", str(self.dns_port), "@127.0.0.1",
                               *arguments], capture_output=True, text=True, check=True)
        status = re.search(r"status: (\w+)", done.stdout).group(1)
        return status, [line.split() for line in done.stdout.splitlines() if line and not line.startswith(";")]


class OnEachBody:
    io = None

    def sink(self, *arguments, **options):
        return Sink("--io", self.io, *arguments, **options)

    def test_a_real_client_delivers_to_every_address_and_each_recipient_counts_once(self):
        with self.sink("--threads", "2") as sink:
            for host in range(1, 10):
                with smtplib.SMTP(f"127.0.0.{host}", sink.smtp_port) as client:
                    client.ehlo("client.test")
                    self.assertTrue(client.has_extn("pipelining") and client.has_extn("chunking"))
                    client.sendmail("a@b.test", [f"u{host}@d.test", f"v{host}@d.test"],
                                    f"Message-ID: <{host}@b.test>\r\n\r\n.dot\r\n..\r\n")
                    client.sendmail("a@b.test", ["again@d.test"], "Subject: x\r\n\r\nx\r\n")
            while sink.report()["sessions_open"]:  # a client's close may be on its way
                time.sleep(0.01)
            report, code = sink.stop()
            self.assertEqual(code, 0)
            self.assertEqual((report["io"], report["messages"], report["recipients"], report["unique"],
                              report["duplicates"], report["sessions"], report["sessions_open"]),
                             (self.io, 18, 27, 19, 8, 9, 0))
            with open(sink.ledger, encoding="ascii") as ledger:
                lines = [line.split("\t") for line in ledger]
            self.assertEqual(len(lines), 27)
            self.assertEqual({line[2] for line in lines if line[1] == "u3@d.test"}, {"<3@b.test>"})

    def test_starttls_begins_a_new_dialogue_and_carries_messages(self):
        with self.sink("--starttls", "--hostname", "mx.test") as sink:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            with smtplib.SMTP("127.0.0.1", sink.smtp_port) as client:
                client.starttls(context=context)
                with self.assertRaises(smtplib.SMTPResponseException):
                    if client.mail("a@b.test")[0] != 250:
                        raise smtplib.SMTPResponseException(503, b"EHLO is needed anew")
                client.ehlo()
                self.assertFalse(client.has_extn("starttls"))
                client.sendmail("a@b.test", ["u@d.test"], "Subject: x\r\n\r\n" + "long line\r\n" * 20000)
            report = sink.report()
            self.assertEqual((report["tls"], report["messages"], report["tls_failures"]), (1, 1, 0))

    def test_the_ledger_knows_every_message_that_was_answered_before_a_kill(self):
        with self.sink() as sink:
            answered = 0
            with socket.create_connection(("127.0.0.1", sink.smtp_port)) as connection:
                replies = connection.makefile("rb")
                connection.sendall(b"EHLO x\r\n")
                for number in range(500):
                    connection.sendall(b"MAIL FROM:<a@b>\r\nRCPT TO:<u%d@d>\r\nBDAT 2 LAST\r\nx\n" % number)
                while answered < 300:
                    if replies.readline() == b"250 2.0.0 OK queued\r\n":
                        answered += 1
                sink.child.kill()
                sink.child.wait()
            with open(sink.ledger, encoding="ascii") as ledger:
                written = [line.split("\t")[1] for line in ledger]
            self.assertGreaterEqual(len(written), answered)
            self.assertEqual(written[:answered], [f"u{number}@d" for number in range(answered)])

    def test_a_script_refuses_defers_closes_and_resets(self):
        with self.sink() as folder_of_script:
            script = folder_of_script.script("recipient=bounce-* rcpt=550 5.1.1 no such user\n"
                                             "recipient=defer-* first rcpt=451 4.2.0 greylisted\n"
                                             "recipient=cut@* phase=dot close\n"
                                             "recipient=reset@* phase=dot reset\n")
            with self.sink("--script", script) as sink:
                with smtplib.SMTP("127.0.0.1", sink.smtp_port) as client:
                    refused = client.sendmail("a@b.test", ["bounce-1@d.test", "defer-1@d.test", "ok@d.test"], "\r\n")
                    self.assertEqual({who: code for who, (code, _) in refused.items()},
                                     {"bounce-1@d.test": 550, "defer-1@d.test": 451})
                    self.assertEqual(client.sendmail("a@b.test", ["defer-1@d.test"], "\r\n"), {})
                for who in ("cut@d.test", "reset@d.test"):
                    client = smtplib.SMTP("127.0.0.1", sink.smtp_port)
                    with self.assertRaises(smtplib.SMTPServerDisconnected):
                        client.sendmail("a@b.test", [who], "\r\n")
                report = sink.report()
                self.assertEqual((report["unique"], report["rcpt_rejected"], report["rcpt_deferred"],
                                  report["scripted_closes"]), (2, 1, 1, 2))

    def test_thousands_of_messages_in_every_shape_arrive_once(self):
        for number, shape in enumerate((["pipe"], ["dotpipe"], ["bdat"], ["bdat", "--flight", "16"])):
            with self.subTest(shape=shape), self.sink("--threads", "2", "--inspect", "--ledger-digest", "--delay-ms",
                                                      str(number % 2 * 3)) as sink:
                done = subprocess.run([BLASTER, "--to", f"127.0.0.1-127.0.0.9:{sink.smtp_port}", "--shape", *shape,
                                       "--messages", "3001", "--connections", "101", "--threads", "2"],
                                      capture_output=True, text=True, check=True)
                self.assertEqual(json.loads(done.stdout)["accepted"], 3001)
                report = sink.report()
                self.assertEqual((report["messages"], report["unique"], report["duplicates"], report["protocol_errors"],
                                  report["pipelining_violations"], report["bare_lf"], report["bare_cr"]),
                                 (3001, 3001, 0, 0, 0, 0, 0))
                with open(sink.ledger, encoding="ascii") as ledger:
                    self.assertEqual(len({line.split("\t")[3] for line in ledger}), 1)

    def test_a_client_that_never_reads_is_cut_off_and_others_are_served(self):
        with self.sink() as sink:
            with socket.create_connection(("127.0.0.1", sink.smtp_port)) as deaf:
                deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                with self.assertRaises(OSError):
                    while True:
                        deaf.sendall(b"RSET\r\n" * 10000)
            with smtplib.SMTP("127.0.0.1", sink.smtp_port) as client:
                self.assertEqual(client.noop()[0], 250)


class OnUring(OnEachBody, unittest.TestCase):
    io = "io_uring"


class OnEpoll(OnEachBody, unittest.TestCase):
    io = "epoll"


class Dns(unittest.TestCase):
    def test_dig_finds_the_sinks_addresses_and_its_misbehaving_names(self):
        with Sink("--mx-hosts", "2", "--ttl", "77") as sink:
            for transport in ("+notcp", "+tcp"):
                status, answers = sink.dig(transport, "MX", "shop.test")
                self.assertEqual((status, [answer[1:] for answer in answers]),
                                 ("NOERROR", [["77", "IN", "MX", "10", "mx1.shop.test."],
                                              ["77", "IN", "MX", "20", "mx2.shop.test."]]))
                status, answers = sink.dig(transport, "A", "mx2.shop.test")
                self.assertRegex(answers[0][4], r"^127\.0\.0\.[1-9]$")
                self.assertEqual(sink.dig(transport, "AAAA", "mx2.shop.test"), ("NOERROR", []))
                self.assertEqual(sink.dig(transport, "MX", "nx-1.test"), ("NXDOMAIN", []))
                self.assertEqual(sink.dig(transport, "MX", "servfail-1.test"), ("SERVFAIL", []))
                self.assertEqual(sink.dig(transport, "MX", "nullmx-1.test")[1][0][4:], ["0", "."])
                self.assertEqual(sink.dig(transport, "MX", "nomx-1.test"), ("NOERROR", []))
                self.assertEqual(len(sink.dig(transport, "MX", "tc-1.test")[1]), 2)

    def test_sites_gather_domains_on_shared_hosts(self):
        with Sink("--sites", "3", "--zone", "bench.test") as sink:
            hosts = {sink.dig("MX", f"d{number}.bench.test")[1][0][5] for number in range(40)}
            self.assertEqual(hosts, {f"mx1.site{number}.bench.test." for number in range(3)})
            self.assertEqual(sink.dig("MX", "elsewhere.test"), ("REFUSED", []))


class CommandLine(unittest.TestCase):
    def fails(self, *arguments):
        done = subprocess.run([SINK, *arguments], capture_output=True, text=True, check=False)
        self.assertNotEqual(done.returncode, 0)
        return done.stderr

    def test_what_is_wrong_is_said(self):
        self.assertIn("--threads needs a number", self.fails("--threads", "many"))
        self.assertIn("not a loopback address", self.fails("--listen", "192.0.2.1:25"))
        self.assertIn("cannot read /nowhere", self.fails("--listen", "127.0.0.1:0", "--script", "/nowhere"))
        with Sink() as sink:
            self.assertIn(f"cannot listen on 127.0.0.1 port {sink.smtp_port}",
                          self.fails("--listen", f"127.0.0.1:{sink.smtp_port}"))


if __name__ == "__main__":
    unittest.main()
