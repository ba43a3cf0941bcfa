"""Has models loaded anew when their files change: a model's own, and the code of the user's that they have imported.

The system's events only say that it is time to look. What has changed is told by comparing files with what they were,
so that nothing is missed however files are replaced, and whichever file system they are on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import sysconfig
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Final

from watchfiles import DefaultFilter, awatch

from modelyard.runtime.errors import LoadFailure, RequestError
from modelyard.runtime.manager.entries import State
from modelyard.runtime.manager.events import Event, Kind
from modelyard.runtime.manager.loaders import FromPath, forget_modules
from modelyard.runtime.manager.manager import ModelManager
from modelyard.tasks import spawn

# What lies below here is installed, or is ours: it does not change while somebody works on a model.
_INSTALLED: Final = tuple({
    Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")
} | {Path(__file__).resolve().parents[2]})  # fmt: skip
# Where events do not come (network file systems), files are looked at this often (seconds) all the same.
_LOOK_EVERY: Final = 5.0

Prints = Mapping[Path, tuple[int, int, int]]
_ignored: Final = DefaultFilter()

_log = logging.getLogger("modelyard.runtime")


def prints(paths: Iterable[Path]) -> Prints:
    """What tells each file at or below ``paths`` from a changed one: time of change, size, inode."""
    found: dict[Path, tuple[int, int, int]] = {}
    for path in paths:
        for file in [path] if path.is_file() else path.rglob("*"):
            # One that goes while it is looked at is gone; compiled and hidden ones are no change of a model.
            with contextlib.suppress(OSError):
                about = file.stat()
                if file.is_file() and "__pycache__" not in file.parts and not file.name.startswith("."):
                    found[file] = (about.st_mtime_ns, about.st_size, about.st_ino)
    return found


def own_code() -> list[Path]:
    """Files of imported modules that are neither installed nor part of Modelyard."""
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return [Path(file) for file in files if file is not None and file.endswith(".py") and not _is_installed(file)]


@cache
def _is_installed(file: str) -> bool:
    path = Path(file).resolve()
    return any(path.is_relative_to(known) for known in _INSTALLED)


class Watcher:
    """``watched``: the files and folders of each model; ``rescan`` registers and forgets models as folders of models
    have changed, and changes ``watched``; ``roots`` are those folders."""

    def __init__(
        self, manager: ModelManager, watched: dict[str, Path], roots: Iterable[Path], rescan: Callable[[], None]
    ) -> None:
        self._manager = manager
        self._watched = watched
        self._roots = tuple(roots)
        self._rescan = rescan
        self._models = {name: prints([path]) for name, path in watched.items()}
        self._code: Prints = {}
        self._asked = asyncio.Event()
        manager.subscribe(self._hear)

    def _hear(self, event: Event) -> None:
        """What a model has imported is known when it is loaded; it may be changed right after."""
        if event.kind in (Kind.READY, Kind.SWAPPED):
            # At once: a change that came before a thread had looked would be taken for what was loaded.
            self._code = {**prints(self._own_code()), **self._code}
            self._asked.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            stop = asyncio.Event()
            self._asked.clear()
            await self._look()
            # Files are replaced by renaming: their folders are watched, too.
            deep = {path for path in (*self._roots, *self._watched.values()) if path.is_dir()}
            flat = {path.parent for path in (*self._watched.values(), *self._code) if path.parent.is_dir()}
            waiting = [
                asyncio.ensure_future(_change(deep, stop, recursive=True)),
                asyncio.ensure_future(_change(flat - deep, stop, recursive=False)),
                asyncio.ensure_future(self._asked.wait()),
            ]
            try:
                await asyncio.wait(waiting, timeout=_LOOK_EVERY, return_when=asyncio.FIRST_COMPLETED)
            finally:
                stop.set()
                self._asked.set()
                await asyncio.gather(*waiting, return_exceptions=True)

    async def _look(self) -> None:
        known = self._code
        found = await asyncio.to_thread(lambda: prints({*known, *self._own_code()}))
        changed_code = any(found.get(path) != seen for path, seen in known.items())
        # What was noted meanwhile has been seen first there.
        self._code = {**found, **{path: seen for path, seen in self._code.items() if path not in known}}
        if changed_code:
            # Whatever imports one that has changed has to be imported anew, too.
            forget_modules(known)
        self._rescan()
        watched = dict(self._watched)
        models = await asyncio.to_thread(lambda: {name: prints([path]) for name, path in watched.items()})
        for name, now in models.items():
            before = self._models.get(name)
            self._models[name] = now
            if (before is not None and before != now) or (changed_code and self._is_python(name)):
                self._load(name)

    def _own_code(self) -> list[Path]:
        """Not what is a model's own, which is looked at with it."""
        models = tuple(self._watched.values())
        return [path for path in own_code() if not any(path.is_relative_to(model) for model in models)]

    def _is_python(self, name: str) -> bool:
        entry = self._manager.loading.entries.get(name)
        return entry is not None and isinstance(entry.loader, FromPath) and entry.loader.engine == "python"

    def _load(self, name: str) -> None:
        with contextlib.suppress(RequestError):
            if self._manager.loading.find(name).state not in (State.UNLOADED, State.OUT):
                spawn(self._load_anew(name), f"reload {name}")

    async def _load_anew(self, name: str) -> None:
        # What is wrong with it is told by the manager's events.
        with contextlib.suppress(RequestError, LoadFailure):
            await self._manager.load(name)


async def _change(paths: set[Path], stop: asyncio.Event, *, recursive: bool) -> None:
    """Return when something has changed below ``paths`` and been still for a moment."""
    if paths:
        try:
            async for _ in awatch(
                *paths, stop_event=stop, recursive=recursive, watch_filter=_ignored, ignore_permission_denied=True
            ):
                return
        except (OSError, RuntimeError):
            # The system has no watches left, or a folder has just gone: the next look is not far.
            _log.debug("files are not watched", exc_info=True)
    await stop.wait()
