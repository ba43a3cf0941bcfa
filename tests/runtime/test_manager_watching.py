"""That files are looked at beside the event loop; what comes of a change is in test_manager_serve.py."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from modelyard.runtime import ModelManager, ProgressiveLoadingConfig
from modelyard.runtime.manager import watching
from modelyard.runtime.manager.events import Event, Kind


async def test_a_models_files_are_looked_at_in_threads(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = ModelManager(ProgressiveLoadingConfig(environment="development"))
    (home / "model.py").write_text("class Model:\n    def predict(self, inputs): return {}\n")
    manager.register("m", home)
    threads: list[threading.Thread] = []
    take = watching.prints

    def noting(paths: Iterable[Path]) -> watching.Prints:
        paths = list(paths)
        # Of what a model has imported the first look is taken at once: those are few files.
        if home in paths:
            threads.append(threading.current_thread())
        return take(paths)

    async with manager.lifespan(None):
        events: list[Event] = []
        manager.subscribe(events.append)
        watcher = watching.Watcher(manager, {"m": home}, (), lambda: None)
        monkeypatch.setattr(watching, "prints", noting)
        task = asyncio.ensure_future(watcher.run())
        async with asyncio.timeout(60):
            await manager.load("m")
            (home / "model.py").write_text("class Model:\n    def predict(self, inputs): return {'y': inputs['x']}\n")
            while not any(event.kind is Kind.SWAPPED for event in events):
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
    assert threads
    assert threading.main_thread() not in threads
