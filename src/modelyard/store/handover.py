"""What a site that is gone for good leaves behind goes to another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import sqlalchemy as sa

from modelyard.domain.model import Event, Model
from modelyard.store import events, models, sites
from modelyard.store.tables import models as model_rows

_CHUNK: Final = 250


def give(connection: sa.Connection, site: str, to: str, unheard_for: float, tell: Callable[[Model], Event]) -> None:
    """See :meth:`modelyard.control.ports.Sites.give_models`."""
    sites.retire(connection, site, unheard_for)
    given: list[Event] = []
    after = ""
    while chunk := models.chunk_of(connection, site, after, _CHUNK):
        given += [tell(model) for model in chunk]
        after = chunk[-1].uid
    models.move(connection, model_rows.c.site == site, to)
    events.append(connection, given)
