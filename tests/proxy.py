"""A network between two parts of a test: a TCP proxy that can freeze, throttle, cut, and speak out of turn."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_CHUNK = 512


class Proxy:
    """Listens on a free port of 127.0.0.1 (or another address and port) and forwards each connection to `port`."""

    def __init__(self, port: int, host: str = "127.0.0.1", own_port: int = 0) -> None:
        self._to = ("127.0.0.1", port)
        self._flows = threading.Event()
        self._flows.set()
        self._closed = threading.Event()
        self._bytes_per_s = 0.0
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self.connections = 0
        self.sent = bytearray()
        self._listener = socket.create_server((host, own_port))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def freeze(self) -> None:
        """As a cable that is pulled out: nothing comes through, nobody is told."""
        self._flows.clear()

    def thaw(self) -> None:
        self._flows.set()

    def throttle(self, bytes_per_s: float) -> None:
        """So many in each direction and connection."""
        self._bytes_per_s = bytes_per_s

    def cut(self) -> None:
        """Ends all connections; new ones are welcome."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def inject(self, content: bytes) -> None:
        """Says this to the newest client, as if the server had."""
        self._pairs[-1][0].sendall(content)

    def close(self) -> None:
        self._closed.set()
        self._flows.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                try:
                    server = socket.create_connection(self._to)
                except OSError:
                    client.close()
                    continue
                for end in (client, server):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # a slow network holds little
                self._pairs.append((client, server))
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._forward, args=(source, target, source is client), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, is_from_client: bool) -> None:
        with contextlib.suppress(OSError), target:
            while content := source.recv(_CHUNK):
                self._flows.wait()
                if is_from_client:
                    self.sent += content
                target.sendall(content)
                if self._bytes_per_s:
                    self._closed.wait(len(content) / self._bytes_per_s)
            self._flows.wait()


@contextmanager
def proxy(port: int, host: str = "127.0.0.1", own_port: int = 0) -> Iterator[Proxy]:
    """A proxy in front of a port of this machine, closed with the block. Attribute `sent`: all that clients have said."""
    started = Proxy(port, host, own_port)
    try:
        yield started
    finally:
        started.close()
