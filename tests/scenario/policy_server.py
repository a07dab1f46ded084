"""An HTTPS server of MTA-STS policies (RFC 8461, 3.3)."""
import http.server
import ssl
import threading


def policy(mode, *mx, age=86400):
    return "version: STSv1\r\nmode: " + mode + "\r\n" + "".join(f"mx: {it}\r\n" for it in mx) + f"max_age: {age}\r\n"


class PolicyServer:
    """Answers for the domains of `answers`: {domain: text of the policy, or the status of an answer without one}. `asked` lists
    (host, path) of the requests. A redirection leads to a policy that `moved_to` has."""

    def __init__(self, address, certificate, key, answers, moved_to=""):
        self.asked = asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                host = self.headers["Host"].partition(":")[0]
                asked.append((host, self.path))
                answer = answers[host.removeprefix("mta-sts.")]
                body = answer.encode() if isinstance(answer, str) else b"no policy here\n"
                self.send_response(200 if isinstance(answer, str) else answer)
                if answer == 301:
                    self.send_header("Location", f"https://mta-sts.{moved_to}/.well-known/mta-sts.txt")
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *unused):
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *unused):
                pass  # a client that doesn't trust the certificate is part of the tests

        self._server = Server((address, 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.stop()
