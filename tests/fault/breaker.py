"""A TCP proxy that breaks connections: each is reset (RST to both sides) after a random number of bytes, counted over both directions;
what was read before is passed on or not, as it comes. It runs in a thread of its own."""
import asyncio
import random
import socket
import struct
import threading

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s


class Breaker:
    """Listens on (address, port) for each address in `routes` and connects to its value. While it is `breaking`, `bytes_until(chance)`
    draws how much more a connection may carry."""

    def __init__(self, routes, port, bytes_until, seed):
        self.routes, self.port, self.resets, self.breaking = routes, port, 0, False
        self._bytes_until, self._chance = bytes_until, random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._tasks = set()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        self._listening.wait()
        return self

    def __exit__(self, *unused):
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def _run(self):
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self):
        self._end = asyncio.Event()
        servers = [await asyncio.start_server(lambda r, w, to=target: self._joined(r, w, to), address, self.port)
                   for address, target in self.routes.items()]
        self._listening.set()
        await self._end.wait()
        for server in servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _joined(self, reader, writer, target):
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            await self._carry(reader, writer, target)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _carry(self, reader, writer, target):
        if isinstance(target, str):
            far_reader, far_writer = await asyncio.open_unix_connection(target)
        else:
            far_reader, far_writer = await asyncio.open_connection(*target)
        left = [None]
        ways = [asyncio.ensure_future(self._copy(reader, far_writer, left)), asyncio.ensure_future(self._copy(far_reader, writer, left))]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            if any(way.exception() is None and way.result() for way in done):
                self.resets += 1
                for end in (writer, far_writer):
                    connection = end.get_extra_info("socket")
                    if connection.family != socket.AF_UNIX:
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            far_writer.transport.abort()

    async def _copy(self, reader, writer, left):
        """Until the end of what comes (False), or of what the connection may carry (True)."""
        while True:
            text = await reader.read(65536)
            if not text:
                return False
            if self.breaking and left[0] is None:
                left[0] = self._bytes_until(self._chance)
            if self.breaking:
                writer.write(text[:left[0]])
                left[0] -= min(len(text), left[0])
                if left[0] == 0:
                    return True
            else:
                writer.write(text)
            await writer.drain()
