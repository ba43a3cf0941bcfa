"""What is told to the other processes on the same PostgreSQL with a commit, and heard from them.

NOTIFY is part of the transaction: nobody hears of what was not committed, and whoever hears can read it.
"""

from __future__ import annotations

from typing import Final

import msgspec
import sqlalchemy as sa

from modelyard.control.ports import News
from modelyard.domain.commands import Change
from modelyard.store.codec import encode
from modelyard.store.dialects import is_postgresql

CHANNEL: Final = "modelyard_changes"
# PostgreSQL takes payloads of less than 8000 bytes; an operation's id has 19.
_MOST_OPERATIONS: Final = 300

_NOTIFY: Final = sa.select(sa.func.pg_notify(CHANNEL, sa.bindparam("payload")))


class _Payload(msgspec.Struct):
    origin: str
    uid: str
    site: str = ""
    operations: tuple[str, ...] = ()
    access: bool = False


_decode: Final = msgspec.json.Decoder(_Payload).decode


def announce(connection: sa.Connection, change: Change, origin: str) -> None:
    """Have the others hear of ``change`` once it is committed. SQLite has no way to, and no others."""
    model = change.after or change.before
    if model is None or not is_postgresql(connection):
        return
    operations = tuple(operation.id for operation in change.operations[:_MOST_OPERATIONS])
    payload = encode(_Payload(origin=origin, uid=model.uid, site=model.site, operations=operations))
    connection.execute(_NOTIFY, {"payload": payload})


def announce_access(connection: sa.Connection, origin: str) -> None:
    """Have the others hear that members or keys have changed."""
    if is_postgresql(connection):
        connection.execute(_NOTIFY, {"payload": encode(_Payload(origin=origin, uid="", access=True))})


def heard(text: str, origin: str) -> News | None:
    """What ``text`` tells; None when ``origin`` has said it itself, or when it is no news of ours."""
    try:
        payload = _decode(text)
    except msgspec.DecodeError:
        return None
    if payload.origin == origin:
        return None
    return News(uid=payload.uid, site=payload.site, operations=payload.operations, access=payload.access)
