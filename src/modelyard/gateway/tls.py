"""The front door's certificate: TLS 1.2 and newer, and files that may be replaced while it serves."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

# Seconds between two looks at the files.
_LOOK_EVERY: Final = 1.0


class Certificate:
    """The context for connections by ``cert`` (with its chain) and ``key``, both PEM files.

    Raises:
        ssl.SSLError, OSError: they cannot be used.
    """

    def __init__(self, cert: Path, key: Path) -> None:
        self._cert = cert
        self._key = key
        self._seen = self._look()
        # The key and the certificate as they are shown, in PEM, for those who cannot use the context.
        self.context, self.pair = self._load()

    async def watch(self) -> None:
        """Take the files anew each time that they have changed and fit together; connections that are open go on."""
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            await asyncio.to_thread(self.renew)

    def renew(self) -> bool:
        """Take the files as they are now if they have changed; whether that was done."""
        seen = self._look()
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            # First apart: half of a pair that is being replaced must not reach callers.
            _, self.pair = self._load()
            self.context.load_cert_chain(self._cert, self._key)
        except (OSError, ssl.SSLError) as error:
            log.error("the certificate has changed and cannot be used; the one before stays: %s", error)
            return False
        log.info("the certificate was read again")
        return True

    def _load(self) -> tuple[ssl.SSLContext, tuple[bytes, bytes]]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # No renegotiation that callers begin, and no compression: neither is needed, both were attacked.
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        context.load_cert_chain(self._cert, self._key, password=_no_password)
        return context, (self._key.read_bytes(), self._cert.read_bytes())

    def _look(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(map(_state, (self._cert, self._key)))


def _no_password() -> str:
    """Asked of an encrypted key; without this it would be asked of the terminal."""
    return ""


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
