"""Who may: the administrator token, members, keys and tokens."""

from __future__ import annotations

import contextlib

from modelyard.access.callers import Callers
from modelyard.access.configuring import members_of, provider_of, sessions_of, tokens_of
from modelyard.access.secrets import SecretBox
from modelyard.app.clock import utc_now
from modelyard.control.changes import ChangeFeed
from modelyard.control.sign_ins import SignIns
from modelyard.control.tenants import Directory, UseNotes
from modelyard.settings import Settings
from modelyard.store.store import SqlStore
from modelyard.tasks import spawn, stop


class TokenReader:
    """The administrator token as it is now: set, or in its file, which is read again when it changes."""

    def __init__(self, settings: Settings) -> None:
        self._set = settings.token
        self._file = settings.token_file
        self._seen: tuple[int, int] | None = None
        self._token = ""

    def __call__(self) -> str:
        if self._set:
            return self._set
        try:
            stat = self._file.stat()
            if self._seen != (stat.st_mtime_ns, stat.st_ino):
                self._token = self._file.read_text().strip()
                self._seen = (stat.st_mtime_ns, stat.st_ino)
        except OSError:
            return ""
        return self._token


def sign_ins_of(settings: Settings, store: SqlStore, box: SecretBox) -> SignIns:
    """How browsers are signed in."""
    return SignIns(
        store.sign_ins, box, sessions_of(settings, box), provider_of(settings), utc_now, public=settings.public_url
    )


async def open_directory(
    settings: Settings, store: SqlStore, feed: ChangeFeed, stack: contextlib.AsyncExitStack
) -> tuple[Callers, Directory]:
    """Who bears which credentials, and what keeps that up to date."""
    notes = UseNotes(store.access)
    stack.push_async_callback(notes.close)
    callers = Callers(tokens_of(settings), members_of(settings), noted=notes)
    directory = Directory(store.access, callers, notes, utc_now)
    await directory.refresh()
    feed.on_access = directory.stir
    stack.push_async_callback(stop, spawn(directory.run(), "follow members and keys"))
    return callers, directory
