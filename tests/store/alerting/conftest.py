"""A site's alerting on a database of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from modelyard.store import SqlStore
from tests.store.alerting.house import House, house


@pytest_asyncio.fixture
async def yard(store: SqlStore, home: Path) -> AsyncIterator[House]:
    async with house(store, home) as made:
        yield made


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """SQLite, where a test does not ask for both."""
    found: str = request.getfixturevalue(
        f"{'postgres' if getattr(request, 'param', '') == 'postgresql' else 'sqlite'}_url"
    )
    return found
