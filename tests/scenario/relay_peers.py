"""Peers for relaying: a Dovecot that says who may log in and takes mail by LMTP, a Postfix that asks it, and a wire tap."""
import http.server
import json
import os
import pwd
import select
import shutil
import socket
import threading
import urllib.parse

from scenario import peers

USER, PASSWORD, TOKEN = "tim", "tanstaaf, tanstaaf = 1", "ya29.token-of-tims"

DOVECOT = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
auth_verbose = yes
auth_debug = yes
protocols = lmtp
ssl = no
auth_mechanisms = plain login scram-sha-256 xoauth2 oauthbearer
auth_username_format = %n
auth_failure_delay = 0
disable_plaintext_auth = no
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {folder}/oauth2.conf
}}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {folder}/users
}}
userdb {{
  driver = passwd-file
  args = {folder}/users
}}
mail_location = maildir:{folder}/mail/%n
first_valid_uid = 1
service auth {{
  unix_listener {folder}/auth {{
    mode = 0666
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    address = {address}
    port = {port}
  }}
}}
"""


class TokenServer:
    """What Dovecot asks about access tokens."""

    def __enter__(self):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
                good = query.get("access_token") == [TOKEN]
                body = json.dumps({"email": USER} if good else {"error": "invalid_token"}).encode()
                self.send_response(200 if good else 401)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *unused):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/?access_token="
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *unused):
        self.server.shutdown()
        self.server.server_close()


class Dovecot(peers.Peer):
    """Logs Postfix' users in by `auth_socket`, and takes mail for USER by LMTP at address and port (root needed)."""

    def __init__(self, token_url):
        super().__init__()
        os.chmod(self.folder, 0o755)
        self.address, self.port = "127.0.5.2", peers.free_port("127.0.5.2")
        self.auth_socket = os.path.join(self.folder, "auth")
        owner = pwd.getpwnam("dovecot")
        mail = os.path.join(self.folder, "mail")
        os.mkdir(mail)
        shutil.chown(mail, "dovecot", "dovecot")
        files = {
            "dovecot.conf": DOVECOT.format(folder=self.folder, address=self.address, port=self.port),
            "users": f"{USER}:{{PLAIN}}{PASSWORD}:{owner.pw_uid}:{owner.pw_gid}::{mail}::\n",
            "oauth2.conf": f"tokeninfo_url = {token_url}\nusername_attribute = email\n",
        }
        for name, text in files.items():
            with open(os.path.join(self.folder, name), "w") as out:
                out.write(text)

    def command(self):
        return ["/usr/sbin/dovecot", "-F", "-c", os.path.join(self.folder, "dovecot.conf")]

    def serving(self):
        return os.path.exists(self.auth_socket) and peers.answers_tcp(self.address, self.port)

    def log(self):
        with open(os.path.join(self.folder, "dovecot.log"), errors="replace") as file:
            return file.read()

    def messages(self, user=USER):
        folder = os.path.join(self.folder, "mail", user, "new")
        found = []
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            with open(os.path.join(folder, name), "rb") as file:
                found.append(file.read())
        return found


SUBMISSION = """
{address}:{port} inet n - n - - smtpd
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_sasl_type=dovecot
  -o smtpd_sasl_path={auth_socket}
  -o smtpd_sasl_authenticated_header=yes
  -o mynetworks=
  -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject
  -o smtpd_tls_security_level={level}
  -o smtpd_tls_wrappermode={wrapped}
  -o smtpd_tls_auth_only={tls_only}
"""


class SubmissionPostfix(peers.Postfix):
    """A Postfix that takes mail only from who has logged in: with STARTTLS, with TLS from the first byte, and in clear."""

    def __init__(self, domains, auth_socket):
        super().__init__(domains, starttls=True)
        self.certificate = os.path.join(self.folder, "certificate.pem")
        self.starttls, self.implicit, self.clear = (peers.free_port(self.address) for _ in range(3))
        with open(os.path.join(self.config, "master.cf"), "a") as out:
            for port, level, wrapped in ((self.starttls, "encrypt", "no"), (self.implicit, "encrypt", "yes"),
                                         (self.clear, "none", "no")):
                out.write(SUBMISSION.format(address=self.address, port=port, auth_socket=auth_socket, level=level,
                                            wrapped=wrapped, tls_only="no" if port == self.clear else "yes"))


class Tap:
    """Passes connections on and keeps all that clients say: `said`."""

    def __init__(self, address, port):
        self.target = (address, port)
        self.said = b""

    def __enter__(self):
        self.listener = socket.create_server(("127.0.5.3", 0))
        self.address, self.port = self.listener.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *unused):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client):
        with client, socket.create_connection(self.target) as server:
            while True:
                for source in select.select([client, server], [], [])[0]:
                    try:
                        data = source.recv(65536)
                    except OSError:
                        return
                    if not data:
                        return
                    if source is client:
                        self.said += data
                    (server if source is client else client).sendall(data)
