"""The page's certificate: one that is renewed on the disk, as they are every few weeks, is shown without a restart."""

import asyncio
import logging
import ssl
from pathlib import Path

from agent.sections import WebTls

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 5.0


class ShownCertificate:
    """Looks at both files for as long as the page is served. context: the one that is served with, which holds them now."""

    def __init__(self, tls: WebTls) -> None:
        self._tls = tls
        self._seen = self._state()
        self.context: ssl.SSLContext | None = None

    async def follow_forever(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            self.look()

    def look(self) -> None:
        """Takes up what has changed, for connections from now on; where it is of no use, and until its key has come too, the
        one before is shown."""
        state = self._state()
        if state == self._seen or self.context is None:
            return
        self._seen = state
        try:
            for context in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self.context):  # tried first: it may fail half way
                context.load_cert_chain(*self._files, password="")  # nobody is asked for one
        except OSError as e:
            log.error("%s, %s: not a certificate and its key, the one before is shown: %s", *self._files, e)
        else:
            log.warning("%s: the page shows this certificate from now on", self._tls.certificate)

    @property
    def _files(self) -> tuple[str, str]:
        return self._tls.certificate, self._tls.key

    def _state(self) -> tuple[tuple[int, ...], ...]:
        """Another one whenever one of them was written or replaced; behind a link, what it leads to."""
        return tuple(_stamp(file) for file in self._files)


def _stamp(file: str) -> tuple[int, ...]:
    try:
        found = Path(file).stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns
