"""``kill -9`` of a control process as the window of a policy begins: the next one does the rest, and nothing twice."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.api.context import Services
from modelyard.app.plane import control_plane
from modelyard.control.ports import OperationQuery
from modelyard.domain.model import StopMode
from modelyard.domain.schedules import Weekday
from modelyard.domain.states import State
from modelyard.settings import Settings
from modelyard.supervisor.processes import instance_processes
from tests.faults.window_process import ADMIN, window

COUNT = 5


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="my-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


async def come_to(services: Services, state: State) -> None:
    async with asyncio.timeout(20):
        while (await services.store.count_models()).get(state) != COUNT:
            await asyncio.sleep(0.02)


async def asked_by_the_policy(services: Services) -> Counter[tuple[str, str]]:
    page = await services.store.list_operations(OperationQuery(page_size=1000))
    return Counter((o.model, str(o.kind)) for o in page.items if o.actor == "policy:window")


async def test_each_model_is_stopped_once_and_started_again_once_whoever_dies(home: Path) -> None:
    killed = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", "tests.faults.window_process", str(home), str(COUNT), "2"], timeout=60
    )
    assert killed.returncode == -signal.SIGKILL
    names = [f"m{number}" for number in range(COUNT)]
    async with control_plane(Settings(home=home, token="t")) as services:
        await come_to(services, State.STOPPED)
        assert instance_processes(home) == []
        assert await asked_by_the_policy(services) == {(name, "stop"): 1 for name in names}
        # The window is moved away, which ends it: what it has stopped, before the kill or after it, is to run again.
        week = list(Weekday)
        await services.policies.put(window(week[(services.clock().isoweekday() + 2) % 7]), ADMIN)
        await come_to(services, State.RUNNING)
        again = await asked_by_the_policy(services)
        assert again == {(name, kind): 1 for name in names for kind in ("stop", "start")}
        for name in names:
            operation = await services.models.stop("default", name, StopMode.FORCE, 0, ADMIN)
            await services.models.wait_operation(operation.id, 20, None)
