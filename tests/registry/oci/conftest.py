"""A real registry for all tests here, one with a proxy before it, and a store."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.registry.content.storage import Folder
from tests.registry.oci.servers import Between, Registry, between, registry


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="my-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def storage(home: Path) -> Folder:
    return Folder(home / "store")


@pytest.fixture(scope="session")
def served() -> Iterator[Registry]:
    """Tests have repositories of their own in it."""
    folder = Path(tempfile.mkdtemp(prefix="my-", dir="/tmp"))
    with registry(folder) as found:
        yield found
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def proxy(served: Registry) -> Iterator[Between]:
    with between(served.address) as found:
        yield found


@pytest.fixture(autouse=True)
def _nobodys_credentials(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(home / "docker"))
    for name in ("USERNAME", "PASSWORD", "REGISTRY", "INSECURE"):
        monkeypatch.delenv(f"MODELYARD_OCI_{name}", raising=False)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried again soon."""
    monkeypatch.setattr("modelyard.registry.oci.transport._FIRST_PAUSE", 0.001)
