"""A folder for each test, and files of every format made by hand or by the format's own library."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.registry.formats.making import write


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="my-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def folder(home: Path) -> Path:
    """With one good file in it."""
    write(home / "v" / "README.md", b"# A model\n")
    return home / "v"
