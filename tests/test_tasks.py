"""Background tasks tell what became of them."""

from __future__ import annotations

import asyncio
import logging

import pytest

from modelyard import tasks


async def test_a_failure_is_logged_and_reported(caplog: pytest.LogCaptureFixture) -> None:
    reported: list[Exception] = []

    async def fail() -> None:
        raise ValueError("broken")

    task = tasks.spawn(fail(), "fail", on_error=reported.append)
    await asyncio.wait((task,))
    await asyncio.sleep(0)
    assert [str(error) for error in reported] == ["broken"]
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert "'fail' failed" in record.message
    assert record.exc_info is not None


async def test_being_stopped_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    reported: list[Exception] = []
    task = tasks.spawn(asyncio.sleep(600), "sleep", on_error=reported.append)
    await tasks.stop(task, None)
    assert task.cancelled()
    assert not reported
    assert not caplog.records


async def test_a_result_can_be_awaited() -> None:
    async def answer() -> int:
        return 42

    assert await tasks.spawn(answer(), "answer") == 42
