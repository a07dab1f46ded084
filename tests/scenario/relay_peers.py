"""Servers that mail is relayed through: a Postfix that wants a login (Dovecot's SASL), Dovecot's LMTP, and one that only listens."""
import glob
import os
import pwd
import socket
import socketserver
import threading

from scenario import peers

USER, PASSWORD = "mailer@relay.test", "correct horse, battery"

DOVECOT = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
protocols = lmtp
listen = 127.0.0.1
ssl = no
auth_mechanisms = plain login scram-sha-256
disable_plaintext_auth = no
default_internal_user = {user}
default_login_user = {user}
default_internal_group = {group}
mail_location = maildir:{folder}/mail/%u
mail_uid = {user}
mail_gid = {group}
first_valid_uid = 1
first_valid_gid = 1
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {folder}/users
}}
userdb {{
  driver = static
  args = uid={user} gid={group} home={folder}/mail/%u allow_all_users=yes
}}
service auth {{
  inet_listener {{
    port = {auth}
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    port = {lmtp}
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
"""


class Dovecot(peers.Peer):
    """Its SASL for Postfix on `auth_port`, and LMTP on `lmtp_port`, which delivers to Maildirs."""

    def __init__(self):
        super().__init__()
        os.chmod(self.folder, 0o755)
        self.auth_port, self.lmtp_port = peers.free_port(), peers.free_port()
        owner = pwd.getpwnam("dovecot")
        for name in ("mail", "state"):
            os.mkdir(os.path.join(self.folder, name))
        os.chown(os.path.join(self.folder, "mail"), owner.pw_uid, owner.pw_gid)
        with open(os.path.join(self.folder, "users"), "w") as out:
            out.write(f"{USER}:{PASSWORD}::::::\n")
        self.config = os.path.join(self.folder, "dovecot.conf")
        with open(self.config, "w") as out:
            out.write(DOVECOT.format(folder=self.folder, user="dovecot", group="dovecot", auth=self.auth_port, lmtp=self.lmtp_port))

    def command(self):
        return ["/usr/sbin/dovecot", "-F", "-c", self.config]

    def serving(self):
        return peers.answers_tcp("127.0.0.1", self.lmtp_port) and peers.answers_tcp("127.0.0.1", self.auth_port)

    def delivered(self):
        return len(glob.glob(os.path.join(self.folder, "mail/*/new/*")))


class Relay(peers.Postfix):
    """A Postfix that relays for who has logged in: on `submission` with STARTTLS, on `smtps` with TLS at once."""

    def __init__(self, dovecot, domains):
        super().__init__(domains, starttls=True)
        self.submission, self.smtps = peers.free_port(self.address), peers.free_port(self.address)
        login = " -o smtpd_sasl_auth_enable=yes -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject -o mynetworks="
        with open(os.path.join(self.config, "main.cf"), "a") as out:
            out.write(f"smtpd_sasl_type = dovecot\nsmtpd_sasl_path = inet:127.0.0.1:{dovecot.auth_port}\nsmtpd_tls_auth_only = yes\n"
                      "smtpd_sasl_security_options = noanonymous\n")
        with open(os.path.join(self.config, "master.cf"), "a") as out:
            out.write(f"{self.address}:{self.submission} inet n - n - - smtpd -o smtpd_tls_security_level=encrypt{login}\n"
                      f"{self.address}:{self.smtps} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes{login}\n")


class Eavesdropper:
    """Offers AUTH, but no TLS, and notes every line that it hears."""

    def __init__(self, address):
        self.heard = heard = []

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                self.wfile.write(b"220 here\r\n")
                for line in self.rfile:
                    heard.append(line.decode(errors="replace").strip())
                    verb = line.split()[:1]
                    if verb == [b"EHLO"]:
                        self.wfile.write(b"250-here\r\n250 AUTH PLAIN LOGIN\r\n")
                    elif verb == [b"QUIT"]:
                        self.wfile.write(b"221 bye\r\n")
                        return
                    else:
                        self.wfile.write(b"235 2.7.0 thank you\r\n" if verb == [b"AUTH"] else b"250 2.0.0 fine\r\n")

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = daemon_threads = True
            address_family = socket.AF_INET

        self.server = Server((address, 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
