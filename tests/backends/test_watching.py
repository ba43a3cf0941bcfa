"""Children that were wanted no more while they were being made."""

from __future__ import annotations

import asyncio
import subprocess
import threading

import pytest

from modelyard.backends.local.process import watch_new


async def test_a_caller_who_is_cancelled_twice_leaves_no_child() -> None:
    forking, go_on = threading.Event(), threading.Event()
    made: list[subprocess.Popen[bytes]] = []

    def fork() -> subprocess.Popen[bytes]:
        forking.set()
        assert go_on.wait(10)
        made.append(subprocess.Popen(["sleep", "60"]))
        return made[0]

    caller = asyncio.create_task(watch_new(fork))
    await asyncio.to_thread(forking.wait, 10)
    for _ in range(2):
        caller.cancel()
        # As far as it gets.
        await asyncio.sleep(0.01)
    with pytest.raises(asyncio.CancelledError):
        await caller
    go_on.set()
    async with asyncio.timeout(10):
        while not made or made[0].returncode is None:
            await asyncio.sleep(0.01)
    assert made[0].returncode == -9
