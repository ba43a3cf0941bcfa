"""One Modelyard for the commands that share it, and one of its own for those that end or break theirs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.yard import Yard


@pytest.fixture(scope="session")
def yard() -> Iterator[Yard]:
    """Running, shared: name your models after your test. It fetches from this machine, too."""
    made = Yard(environment={"MODELYARD_IMPORT_HOSTS": "127.0.0.1"})
    try:
        made.ok("up", "--detach")
        yield made
    finally:
        made.close()


@pytest.fixture
def own() -> Iterator[Yard]:
    """Not running yet, and nobody else's."""
    made = Yard()
    try:
        yield made
    finally:
        made.close()
