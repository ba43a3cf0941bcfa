"""The one write path of a model: what a change holds, all of it in one transaction or none."""

from __future__ import annotations

from dataclasses import replace

import sqlalchemy as sa

from modelyard.control.ports import Idempotency
from modelyard.domain.commands import Change
from modelyard.store import events, idempotency, models, operations, revisions


def commit(connection: sa.Connection, change: Change, key: Idempotency | None) -> Change:
    """Write ``change`` and return it as written; see :meth:`modelyard.control.ports.Store.commit`.

    ``key`` will lead to the change's last operation, the one that a command answers with. The order of
    the steps is also the order of locks (key, model, operations, event numbers), the same everywhere.
    """
    if key is not None:
        idempotency.remember(connection, key, change.operations[-1])
    after = models.write(connection, change.before, change.after)
    if change.revision is not None:
        revisions.insert(connection, change.revision)
    if after is not None:
        after = models.with_target_spec(connection, change.before, after)
    operations.write(connection, change.operations)
    return replace(change, after=after, events=events.append(connection, change.events))
