"""Queries of the table ``sites``: what sites there are, and which process drives each.

A *token* grows with every new holder. Whoever writes in a site's name proves its tenure by the newest; on
PostgreSQL the proof also locks the row (FOR KEY SHARE) against the next holder, who takes it FOR UPDATE, so
that a write either is committed before the next tenure begins or fails. Renewals lock less than either, and
neither wait for writes nor hold them up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from modelyard.control.ports import Fence, Holder, LeaseLost, Premises, Site
from modelyard.domain.capacity import Inventory
from modelyard.domain.errors import NotFound, Refused
from modelyard.store.codec import decode_holder, decode_inventory, encode
from modelyard.store.dialects import insert_new, is_postgresql
from modelyard.store.tables import sites

_IS_NEWEST: Final = (sites.c.id == sa.bindparam("of_site")) & (sites.c.token == sa.bindparam("with_token"))
_PROOF: Final = sa.select(sites.c.id).where(_IS_NEWEST).with_for_update(read=True, key_share=True)
# For the WHERE of a write, with the parameters of proof().
STANDS: Final = _PROOF.exists()
_SELECT: Final = sa.select(sites)
_BY_ID: Final = _SELECT.where(sites.c.id == sa.bindparam("of_site"))
_UPDATE: Final = sa.update(sites).where(_IS_NEWEST)


def proof(fence: Fence) -> Mapping[str, Any]:
    return {"of_site": fence.site, "with_token": fence.token}


def check(connection: sa.Connection, fence: Fence) -> None:
    """Raises LeaseLost unless the fence's token is its site's newest, which it stays until the transaction ends."""
    if connection.execute(_PROOF, proof(fence)).first() is None:
        raise LeaseLost(f"Another control process drives the site {fence.site} now. Nothing was written.")


def get(connection: sa.Connection, site: str) -> Site | None:
    row = connection.execute(_BY_ID, {"of_site": site}).first()
    return None if row is None else _site(row, _now(connection))


def list_all(connection: sa.Connection) -> Sequence[Site]:
    """By machine and home."""
    rows = connection.execute(_SELECT.order_by(sites.c.machine, sites.c.home, sites.c.id)).all()
    now = _now(connection)
    return [_site(row, now) for row in rows]


def take(
    connection: sa.Connection, premises: Premises, holder: Holder, ttl: float | None, *, over: int, even_if_down: bool
) -> Fence | None:
    """See :meth:`modelyard.control.ports.Sites.take_site`; ``ttl`` None: for good."""
    now = _now(connection)
    where = {"id": premises.id, "machine": premises.machine, "home": premises.home, "url": premises.url}
    connection.execute(insert_new(connection, sites, "id"), {**where, "token": 0, "down": False, "seen_at": now})
    row = connection.execute(_BY_ID.with_for_update(), {"of_site": premises.id}).one()
    # Asked anew: the lock may have been waited for.
    now = _now(connection)
    held = not _site(row, now).expired and row.token != over
    # Where leases are for good the database is held whole, so no other holder can be left.
    if (held and ttl is not None) or (row.down and not even_if_down):
        return None
    fence = Fence(site=premises.id, token=row.token + 1)
    values = {**where, "holder": encode(holder), "token": fence.token, "down": False, "seen_at": now}
    values["expires_at"] = None if ttl is None else now + timedelta(seconds=ttl)
    connection.execute(sa.update(sites).where(sites.c.id == premises.id).values(values))
    return fence


def renew(connection: sa.Connection, fence: Fence, ttl: float) -> None:
    """Raises LeaseLost."""
    now = _now(connection)
    _write(connection, fence, {"expires_at": now + timedelta(seconds=ttl), "seen_at": now})


def release(connection: sa.Connection, fence: Fence, *, down: bool) -> None:
    values = {"holder": None, "expires_at": None, "down": down, "seen_at": _now(connection)}
    connection.execute(_UPDATE.values(values), proof(fence))


def set_inventory(connection: sa.Connection, fence: Fence, inventory: Inventory) -> None:
    """Raises LeaseLost."""
    _write(connection, fence, {"inventory": encode(inventory)})


def retire(connection: sa.Connection, site: str, unheard_for: float) -> None:
    """Let no earlier tenure of the site count any more, nor what it had. Raises Refused if one may still go on."""
    row = connection.execute(_BY_ID.with_for_update(), {"of_site": site}).first()
    now = _now(connection)
    if row is None:
        raise NotFound(f"There is no site {site!r}.")
    if not _site(row, now).expired or now - row.seen_at < timedelta(seconds=unheard_for):
        message = (
            f"The site {site} was heard of {(now - row.seen_at).total_seconds():.0f} s ago: its models are its own."
        )
        raise Refused("site_is_there", message)
    values = {"token": row.token + 1, "holder": None, "expires_at": None, "inventory": None}
    connection.execute(sa.update(sites).where(sites.c.id == site).values(values))


def _write(connection: sa.Connection, fence: Fence, values: Mapping[str, Any]) -> None:
    if not connection.execute(_UPDATE.values(values), proof(fence)).rowcount:
        raise LeaseLost


def _now(connection: sa.Connection) -> datetime:
    """The database's own clock: those of the machines around it may differ."""
    if is_postgresql(connection):
        at: datetime = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
        return at.astimezone(UTC)
    return datetime.now(UTC)


def _site(row: Any, now: datetime) -> Site:
    return Site(
        premises=Premises(id=row.id, machine=row.machine, home=row.home, url=row.url),
        holder=None if row.holder is None else decode_holder(row.holder),
        token=row.token,
        expired=row.holder is None or (row.expires_at is not None and row.expires_at <= now),
        down=row.down,
        seen_at=row.seen_at,
        inventory=None if row.inventory is None else decode_inventory(row.inventory),
    )
