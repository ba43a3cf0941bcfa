"""A local backend in a home of its own, running the test worker."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from modelyard.backends.local import LocalBackend
from modelyard.backends.local.files import home_id
from modelyard.backends.local.process import Census, send_signal
from modelyard.domain.model import ModelRef
from modelyard.settings import Settings

WORKER = (sys.executable, str(Path(__file__).with_name("worker.py")))


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="my-", dir="/tmp"))
    yield folder
    # Whatever a failed test has left running.
    for stats in Census(home_id(folder)).marked().values():
        for stat in stats:
            send_signal(stat.id, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def settings(home: Path) -> Settings:
    # Whatever GPUs the machine has, tests that are not about them see none.
    return Settings(home=home, devices="none")


@pytest.fixture
def ref() -> ModelRef:
    return ModelRef("u1", "default", "digits")


@pytest.fixture
async def backend(settings: Settings) -> AsyncIterator[LocalBackend]:
    async with opened(settings) as backend:
        yield backend


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[LocalBackend]:
    """A backend that is closed in the end with all that it runs."""
    backend = LocalBackend(settings, worker=WORKER)
    await backend.open()
    try:
        yield backend
    finally:
        for ref in {instance.launch.ref for instance in backend._all()}:
            await backend.remove(ref)
        await backend.close(release=True)


@pytest.fixture
def no_descriptors() -> Callable[[], AbstractContextManager[None]]:
    """Within it this process can open nothing more, as when it holds its last file descriptor."""

    @contextmanager
    def exhausted() -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(int(fd) for fd in os.listdir("/proc/self/fd")) + 1, hard))
        filler = []
        with contextlib.suppress(OSError):
            while True:
                filler.append(os.open("/dev/null", os.O_RDONLY))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for fd in filler:
                os.close(fd)

    return exhausted
