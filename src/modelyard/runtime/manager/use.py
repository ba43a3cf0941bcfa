"""Borrowing a model, from the event loop or from a thread."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Any

from modelyard.runtime.manager.entries import Loaded
from modelyard.runtime.manager.loading import Loading


class Use:
    """Good for one ``async with`` on the manager's loop, or one ``with`` in any other thread."""

    def __init__(self, loading: Loading, name: str, timeout: float | None) -> None:
        self._loading = loading
        self._name = name
        self._timeout = timeout
        self._loaded: Loaded | None = None

    async def __aenter__(self) -> Any:
        self._loaded = await self._loading.lend(self._name, self._timeout)
        return self._loaded.value

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._give_back()

    def __enter__(self) -> Any:
        loop = self._loading.loop
        try:
            running: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is loop:
            raise RuntimeError(f"On the event loop write `async with`: waiting for {self._name} would block it.")
        self._loaded = asyncio.run_coroutine_threadsafe(self._loading.lend(self._name, self._timeout), loop).result()
        return self._loaded.value

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: there is nothing to give back to
            self._loading.loop.call_soon_threadsafe(self._give_back)

    def _give_back(self) -> None:
        loaded, self._loaded = self._loaded, None
        assert loaded is not None
        self._loading.give_back(loaded)
