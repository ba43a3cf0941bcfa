"""A folder with keys in it, and a store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from modelyard.registry.content.storage import Folder
from modelyard.registry.signing import keys
from modelyard.registry.signing.keys import PublicKey
from tests.registry.content.conftest import home

__all__ = ["home"]


@dataclass(frozen=True)
class Pair:
    """A key pair in two files."""

    private: Path
    public: Path

    @property
    def key(self) -> PublicKey:
        return keys.public_key(self.public.read_text())


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(*keys.generate(tmp_path_factory.mktemp("keys"), "signer"))


@pytest.fixture(scope="session")
def another(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(*keys.generate(tmp_path_factory.mktemp("keys"), "another"))


@pytest.fixture
def storage(home: Path) -> Folder:
    return Folder(home / "store")
