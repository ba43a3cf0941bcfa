"""What models hold, read from their statuses without the rest of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec
import sqlalchemy as sa

from modelyard.domain.capacity import add_up
from modelyard.domain.model import Amount
from modelyard.store.codec import Raw
from modelyard.store.tables import models


@dataclass(frozen=True, slots=True)
class _Instance:
    held: Amount = Amount()


@dataclass(frozen=True, slots=True)
class _Status:
    instances: tuple[_Instance, ...] = ()


_decode: Final = msgspec.json.Decoder(_Status).decode
_ELSEWHERE: Final = sa.select(models.c.status).where(
    models.c.namespace == sa.bindparam("in_namespace"), models.c.site != sa.bindparam("of_site")
)


def elsewhere(connection: sa.Connection, namespace: str, site: str) -> Amount:
    """What the namespace's models of other sites hold."""
    rows = connection.execute(_ELSEWHERE, {"in_namespace": namespace, "of_site": site})
    return add_up(i.held for (status,) in rows for i in _instances(status))


def _instances(document: Raw) -> tuple[_Instance, ...]:
    try:
        return _decode(document).instances
    except msgspec.DecodeError:
        # Written by another version; its own site knows what it holds.
        return ()
