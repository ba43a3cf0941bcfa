"""The one write path of a model: what a change holds, all of it in one transaction or none."""

from __future__ import annotations

from dataclasses import replace

import sqlalchemy as sa

from modelyard.control.ports import Fence, Idempotency
from modelyard.domain.commands import Change
from modelyard.store import events, idempotency, models, news, operations, revisions


def commit(
    connection: sa.Connection, change: Change, key: Idempotency | None, fence: Fence | None, *, origin: str
) -> Change:
    """Write ``change`` and return it as written; see :meth:`modelyard.control.ports.Store.commit`.

    ``key`` will lead to the change's last operation, the one that a command answers with; ``origin`` names the
    writing store to those who hear of it. The order of the steps is also the order of locks (key, site and
    model, operations, event numbers), the same everywhere.
    """
    if key is not None:
        idempotency.remember(connection, key, change.operations[-1])
    after = models.write(connection, change.before, change.after, fence)
    if change.revision is not None:
        revisions.insert(connection, change.revision)
    if change.before is not None and change.given_up:
        revisions.give_up(connection, change.before.uid, change.given_up)
    if after is not None:
        after = models.with_target_spec(connection, change.before, after)
    operations.write(connection, change.operations)
    written = replace(change, after=after, events=events.append(connection, change.events))
    news.announce(connection, written, origin)
    return written
