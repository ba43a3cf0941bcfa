"""The local backend keeps the contract, with a worker made for tests and with the real one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from modelyard.backends.local import LocalBackend
from modelyard.domain.spec import Engine, Resources, Spec
from modelyard.settings import Settings
from tests.backends.contract import BackendContract


@pytest.fixture
def settings(home: Path) -> Settings:
    return Settings(home=home, devices="gpu:2")


@pytest.fixture
def spec() -> Spec:
    return Spec(engine=Engine.MOCK, resources=Resources(cpu=0.5, memory=512 * 2**20))


class TestWithTestWorker(BackendContract):
    pass


class TestWithMockEngine(BackendContract):
    @pytest.fixture
    async def backend(self, settings: Settings) -> AsyncIterator[LocalBackend]:
        backend = LocalBackend(settings)
        await backend.open()
        yield backend
        await backend.close(release=True)
