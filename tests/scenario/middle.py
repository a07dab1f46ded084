"""Somebody between an engine and a mail server, who does to the start of TLS what an attacker would."""
import socket
import threading


class Middle:
    """Listens on an address and passes all on to the server, but for what its mode does:
    pass      nothing
    strip     takes STARTTLS out of the EHLO reply
    refuse    answers STARTTLS with 454 itself
    inject    adds a reply in clear behind the 220, in the same segment
    split     adds the beginning of a reply there, whose end would come over TLS
    late      adds the reply once the client's part of the handshake has begun
    garbage   answers the client's part of the handshake with what isn't TLS
    `commands` are the verbs that clients sent in clear."""

    INJECTED = b"250 2.0.0 From: somebody else\r\n"

    def __init__(self, address, server, mode):
        self.mode, self.server, self.commands = mode, server, []
        self._listener = socket.create_server((address, server[1]), backlog=64)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._session, args=(client,), daemon=True).start()

    def _session(self, client):
        with client, socket.create_connection(self.server) as server:
            try:
                self._talk(client, server)
            except OSError:
                pass

    def _reply(self, replies):
        """One reply of the server, as the mode has it."""
        lines = []
        while not lines or lines[-1][3:4] == b"-":
            line = replies.readline()
            if not line:
                raise OSError("the server has closed")
            lines.append(line)
        if self.mode == "strip":
            lines = [line for line in lines if line[4:].strip() != b"STARTTLS"]
            lines[-1] = lines[-1][:3] + b" " + lines[-1][4:]
        return b"".join(lines)

    def _talk(self, client, server):
        replies, commands = server.makefile("rb", buffering=0), client.makefile("rb", buffering=0)
        client.sendall(self._reply(replies))
        while True:
            line = commands.readline()
            if not line:
                return
            verb = line.split()[0].decode("latin-1").upper() if line.split() else ""
            self.commands.append(verb)
            if verb == "STARTTLS" and self.mode == "refuse":
                client.sendall(b"454 4.7.0 TLS is not available\r\n")
                continue
            server.sendall(line)
            if verb == "MAIL":
                return self._pass_on(client, server)
            text = self._reply(replies)
            if verb == "STARTTLS" and text.startswith(b"220"):
                client.sendall(text + {"inject": self.INJECTED, "split": self.INJECTED[:9]}.get(self.mode, b""))
                return self._handshake(client, server)
            client.sendall(text)
    def _handshake(self, client, server):
        if self.mode in ("late", "garbage"):
            hello = client.recv(65536)
            client.sendall(self.INJECTED)
            if self.mode == "garbage":
                return
            server.sendall(hello)
        self._pass_on(client, server)

    def _pass_on(self, client, server):
        back = threading.Thread(target=self._pump, args=(server, client), daemon=True)
        back.start()
        self._pump(client, server)
        back.join()

    @staticmethod
    def _pump(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self._listener.close()
