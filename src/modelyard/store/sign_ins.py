"""The codes of links that sign a browser in: each is taken once."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import sqlalchemy as sa

from modelyard.control.access_ports import CodeStore
from modelyard.store.database import Database
from modelyard.store.tables import sign_in_codes

_TAKE: Final = (
    sa.delete(sign_in_codes)
    .where(sign_in_codes.c.digest == sa.bindparam("of_digest"))
    .returning(sign_in_codes.c.sealed, sign_in_codes.c.expires_at)
)


class SqlSignIns(CodeStore):
    """Get one from :attr:`modelyard.store.store.SqlStore.sign_ins`. All methods raise Unavailable when the database
    fails."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put_code(self, digest: str, sealed: str, expires_at: datetime) -> None:
        values = {"digest": digest, "sealed": sealed, "expires_at": expires_at}
        await self._database.write(lambda c: c.execute(sa.insert(sign_in_codes), values).rowcount)

    async def take_code(self, digest: str, now: datetime) -> str | None:
        row = await self._database.write(lambda c: c.execute(_TAKE, {"of_digest": digest}).first())
        return str(row.sealed) if row is not None and now < row.expires_at else None


def tidy(connection: sa.Connection, now: datetime) -> int:
    """Forget codes that nobody has taken in time; how many."""
    return connection.execute(sa.delete(sign_in_codes).where(sign_in_codes.c.expires_at <= now)).rowcount
