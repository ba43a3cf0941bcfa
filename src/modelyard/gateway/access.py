"""Who may come in: the administrator's bearer token, read again when its file changes."""

from __future__ import annotations

import hmac
import time
from pathlib import Path

# How long a replaced or removed token may go on being accepted.
_STALE_AFTER = 1.0


class Access:
    """Checks bearer tokens. ``token`` (from the settings) wins over the file."""

    def __init__(self, token_file: Path, token: str = "") -> None:
        self._file = token_file
        self._fixed = bool(token)
        self._token = token.encode()
        self._seen: tuple[int, int, int] | None = None
        self._check_at = 0.0
        self._refresh()

    @property
    def has_token(self) -> bool:
        """Whether there is a token that could be presented at all."""
        return bool(self._token)

    def allows(self, authorization: bytes | None) -> bool:
        """Whether an ``Authorization`` header's value carries the token."""
        if authorization is None or authorization[:7].lower() != b"bearer ":
            return False
        presented = authorization[7:].strip()
        if time.monotonic() >= self._check_at:
            self._refresh()
        if self._matches(presented):
            return True
        # A token made a moment ago must work at once.
        self._refresh()
        return self._matches(presented)

    def _matches(self, presented: bytes) -> bool:
        return bool(self._token) and hmac.compare_digest(presented, self._token)

    def _refresh(self) -> None:
        self._check_at = time.monotonic() + _STALE_AFTER
        if self._fixed:
            return
        try:
            status = self._file.stat()
            seen = (status.st_ino, status.st_mtime_ns, status.st_size)
            if seen != self._seen:
                self._token = self._file.read_bytes().strip()
                self._seen = seen
        except OSError:
            self._token, self._seen = b"", None
