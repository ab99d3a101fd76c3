"""A broker that acknowledges what it is sent, but for the one event it is told to forget, and allows only so much at once."""

import contextlib
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

_CONNECT, _PUBLISH, _SUBSCRIBE, _PING = 1, 3, 8, 12
_ANSWERS_AFTER_S = 0.01
_ALLOWED = b"\x01\x01\x01\x01"


class ForgetfulBroker:
    """MQTT 5, as far as a station needs it; it forwards nothing. forgets: of the events of the first connection, by place from 1.

    receive_maximum: messages that may be unanswered; it answers a moment later, and throws out who sends more.
    subscribed: what it says of each topic that the station wants to read. taken: ids of the events that it has acknowledged, in
    order.
    """

    def __init__(self, forgets: int = 0, receive_maximum: int = 65_535, subscribed: bytes = _ALLOWED) -> None:
        self.connections = 0
        self.taken: list[bytes] = []
        self._forgets = forgets
        self._receive_maximum = receive_maximum
        self._subscribed = subscribed
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                connected, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connected, self.connections == 1), daemon=True).start()

    def _serve(self, connected: socket.socket, is_first: bool) -> None:
        events, unanswered = 0, deque[bytes]()
        with contextlib.suppress(ConnectionResetError), connected, connected.makefile("rb") as stream:
            while head := stream.read(1):
                kind, content = head[0] >> 4, stream.read(_length(stream))
                if kind == _CONNECT:
                    connected.sendall(b"\x20\x06\x00\x00\x03\x21" + struct.pack(">H", self._receive_maximum))
                elif kind == _SUBSCRIBE:
                    connected.sendall(b"\x90\x07" + content[:2] + b"\x00" + self._subscribed)
                elif kind == _PING:
                    connected.sendall(b"\xd0\x00")
                elif kind == _PUBLISH and head[0] >> 1 & 3:
                    end = 2 + struct.unpack(">H", content[:2])[0]
                    is_event = b"/result/" in content[2:end]
                    events += is_event
                    if is_first and is_event and events == self._forgets:
                        continue
                    if len(unanswered) >= self._receive_maximum:
                        connected.sendall(b"\xe0\x02\x93\x00")  # receive maximum exceeded
                        return
                    unanswered.append(content[end : end + 2])
                    threading.Timer(_ANSWERS_AFTER_S, _answer_oldest, (connected, unanswered)).start()
                    self.taken += [content[content.index(b'"id":"') + 6 :].split(b'"')[0]] if is_event else []


def _answer_oldest(connected: socket.socket, unanswered: deque[bytes]) -> None:
    with contextlib.suppress(OSError):  # closed
        connected.sendall(b"\x40\x02" + unanswered.popleft())


def _length(stream: BinaryIO) -> int:
    """Of what follows: seven bits a byte, the lowest first."""
    length, shift = 0, 0
    while (byte := stream.read(1)[0]) & 0x80:
        length, shift = length | (byte & 0x7F) << shift, shift + 7
    return length | byte << shift


@contextmanager
def forgetful_broker(forgets: int = 0, receive_maximum: int = 65_535, subscribed: bytes = _ALLOWED) -> Iterator[ForgetfulBroker]:
    broker = ForgetfulBroker(forgets, receive_maximum, subscribed)
    try:
        yield broker
    finally:
        broker.close()
