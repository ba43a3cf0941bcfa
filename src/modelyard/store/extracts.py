"""What is needed of very many models at once: a few fields out of their documents, and nothing else decoded."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
import sqlalchemy as sa

from modelyard.domain.capacity import NOTHING, Claim, add_up
from modelyard.domain.model import Amount, ModelRef
from modelyard.domain.states import State
from modelyard.store.codec import Raw
from modelyard.store.tables import models

_NULL: Final = msgspec.Raw(b"null")
_QUEUED: Final = sa.select(models.c.uid, models.c.site, models.c.spec, models.c.status).where(
    models.c.state == str(State.QUEUED)
)
_HOLDERS: Final = (
    sa.select(models.c.uid, models.c.namespace, models.c.status)
    .where(models.c.uid > sa.bindparam("after_uid"), models.c.state != str(State.STOPPED))
    .order_by(models.c.uid)
)


class _Waiting(msgspec.Struct):
    since: datetime


class _Rank(msgspec.Struct):
    priority: int = 0


class _Place(msgspec.Struct):
    waiting: _Waiting | None = None
    preempted: msgspec.Raw = _NULL
    rollout: msgspec.Raw = _NULL
    instances: tuple[msgspec.Raw, ...] = ()
    admitted: int = 0


class _Instance(msgspec.Struct):
    held: Amount = Amount()


class _Held(msgspec.Struct):
    instances: tuple[_Instance, ...] = ()


_decode_rank: Final = msgspec.json.Decoder(_Rank).decode
_decode_place: Final = msgspec.json.Decoder(_Place).decode
_decode_held: Final = msgspec.json.Decoder(_Held).decode


def queue(connection: sa.Connection) -> Sequence[tuple[str, Claim]]:
    """See :meth:`modelyard.control.ports.Store.queue`. Whose documents this version cannot read has no place."""
    found = []
    for uid, site, spec, document in connection.execute(_QUEUED):
        try:
            status, rank = _decode_place(document), _decode_rank(spec)
        except msgspec.DecodeError:
            continue
        if status.waiting is not None:
            claim = Claim(
                ref=ModelRef(uid, "", ""),
                each=NOTHING,
                count=0,
                since=status.waiting.since,
                priority=rank.priority,
                yields=status.preempted != _NULL or bool(status.instances),
                kept=status.rollout != _NULL or status.admitted > len(status.instances),
            )
            found.append((site, claim))
    # Here, beside the event loop: it is as much work as the rest.
    return sorted(found, key=lambda pair: pair[1].rank)


def chunk_held(connection: sa.Connection, after: str, size: int) -> Sequence[tuple[str, str, Amount]]:
    """The ``size`` models that follow the uid ``after`` and may have instances: uid, namespace, what these hold."""
    rows = connection.execute(_HOLDERS.limit(size), {"after_uid": after})
    return [(uid, namespace, _held(document)) for uid, namespace, document in rows]


def _held(document: Raw) -> Amount:
    try:
        return add_up(instance.held for instance in _decode_held(document).instances)
    except msgspec.DecodeError:
        return Amount()
