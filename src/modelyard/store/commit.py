"""The one write path of a model: what a change holds, all of it in one transaction or none."""

from __future__ import annotations

from dataclasses import replace

import sqlalchemy as sa

from modelyard.control.ports import Fence, Idempotency, Place
from modelyard.domain.commands import Change
from modelyard.store import bulks, events, idempotency, models, news, operations, recording, revisions, schedules


def commit(
    connection: sa.Connection, change: Change, key: Idempotency | Place | None, fence: Fence | None, *, origin: str
) -> Change:
    """Write ``change`` and return it as written; see :meth:`modelyard.control.ports.Store.commit`.

    ``key`` will lead to the change's last operation, the one that a command answers with, or to the schedule;
    ``origin`` names the writing store to those who hear of it. The order of the steps is also the order of locks (key,
    site and model, items of requests on many, schedule, operations, event numbers), the same everywhere.
    """
    if isinstance(key, Idempotency):
        idempotency.remember(connection, key, _led_to(change))
    after = models.write(connection, change.before, change.after, fence)
    if isinstance(key, Place):
        bulks.lead_to(connection, key, change.operations[-1])
    bulks.make_void(connection, change.operations)
    if change.revision is not None:
        revisions.insert(connection, change.revision)
    if change.before is not None and change.given_up:
        revisions.give_up(connection, change.before.uid, change.given_up)
    if after is not None:
        after = models.with_target_spec(connection, change.before, after)
    if change.schedule is not None:
        schedules.write(connection, change.schedule)
    operations.write(connection, change.operations)
    written = replace(change, after=after, events=events.append(connection, change.events))
    recording.note_change(connection, written)
    news.announce(connection, written, origin)
    return written


def _led_to(change: Change) -> idempotency.Made:
    if change.operations or change.schedule is None:
        return change.operations[-1]
    return schedules.saved(change.schedule)
