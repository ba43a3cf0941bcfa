"""The catalog on both databases."""

from __future__ import annotations

import pytest

from modelyard.store import SqlStore
from tests.registry.shelves import Shelves
from tests.store.conftest import home, other, postgres, postgres_url, sqlite_url, store, url

__all__ = ["home", "other", "postgres", "postgres_url", "sqlite_url", "store", "url"]


@pytest.fixture
def shelves(store: SqlStore) -> Shelves:
    return Shelves(store)
