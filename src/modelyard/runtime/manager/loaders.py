"""Where a model comes from: a path and an engine, or a user's own callable; and its load, in a thread of its own.

The threads have no lower priority: on Linux what a thread starts inherits its niceness and cannot shed it, so that a
library's threads, made while a model is loaded, would compute with it for good. What is loaded ahead is held back by
its number instead (``max_parallel_loads``).
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from modelyard.domain.spec import ENGINE_OF_SUFFIX
from modelyard.runtime import engines
from modelyard.runtime.engines.base import LoadOptions
from modelyard.runtime.errors import LoadFailure, is_out_of_memory, out_of_memory
from modelyard.runtime.http import engine_of
from modelyard.runtime.manager.folders import model_in
from modelyard.runtime.manager.memory import resident, size_of, trim
from modelyard.threads import apart

_log = logging.getLogger("modelyard.runtime")


class Made(NamedTuple):
    """A loaded object, and by how many bytes the process has grown meanwhile."""

    value: Any
    grown: int


class Loader(Protocol):
    """How one model is loaded and let go of. ``threaded``: its load runs in a thread, which cannot be cancelled."""

    @property
    def threaded(self) -> bool: ...

    def estimate(self) -> int | None:
        """Bytes that it takes at least; None: not known."""

    async def load(self) -> Made:
        """Raises:
        LoadFailure: whatever went wrong
        """

    async def free(self, held: list[Any]) -> None:
        """Let go of the object that is all that is in ``held``, which has the last reference to it."""


class FromPath:
    """A model that an engine loads from a file or folder; ``path`` None for an engine that needs none. Without an
    ``engine`` a folder is what :func:`~.folders.model_in` finds in it.

    Raises:
        LoadFailure: (``unknown_engine``) nobody can tell what serves it
    """

    threaded = True

    def __init__(
        self,
        path: Path | None,
        engine: str | None,
        options: Mapping[str, Any],
        *,
        trusted: bool = False,
        threads: int = 1,
    ) -> None:
        if path is None and engine is None:
            raise LoadFailure("unknown_engine", "Without a path the engine has to be named.")
        if path is not None and engine is None and path.is_dir():
            path = _model_of(path)
        self.path = None if path is None else path.absolute()
        self.engine = engine or engine_of(path or Path())
        # Whether requests may share a run is found out by running the model for a while, which costs each load of one
        # of many too much, and keeps it in memory meanwhile.
        chosen = {"batching": False, **options}
        self._options = LoadOptions(self.path, chosen, trusted, threads)

    def estimate(self) -> int | None:
        if self.path is None:
            return 0
        try:
            # Of a folder with code nobody knows what of it will be in memory.
            return size_of(self.path) if self.path.is_file() else None
        except OSError:
            return None

    async def load(self) -> Made:
        made = await apart(self._load, "load")
        return Made(made.value, max(made.grown, self.estimate() or 0))

    async def free(self, held: list[Any]) -> None:
        await _free(held)

    def _load(self) -> Made:
        # What all models of an engine share is no part of the first one's size.
        with contextlib.suppress(ImportError, KeyError):  # the load says it better
            import_module(engines.ENGINES[self.engine].module)
        if self.engine != "python":
            return _measured(lambda: engines.load(self.engine, self._options))
        assert self.path is not None
        with _python:
            _python_folders.add(self.path)
            forget_modules(_python_folders)
            made = _measured(lambda: engines.load(self.engine, self._options))
            # The engine has put its folder first again.
            sys.path[:] = dict.fromkeys(sys.path)
            return made


def _model_of(folder: Path) -> Path:
    found = model_in(folder)
    if found is None:
        known = ", ".join(ENGINE_OF_SUFFIX)
        raise LoadFailure(
            "unknown_engine",
            f"{folder} is not one model: it has no model.py, no file named model of {known}, and not one such file of "
            "any name alone. Name the file, or the engine.",
        )
    return found


# The python engine imports under one name what each model calls model.py.
_python = threading.Lock()
_python_folders: set[Path] = set()


def forget_modules(paths: Iterable[Path]) -> None:
    """Have modules that lie at or below ``paths`` imported anew by whoever imports them next: two models may each have
    a ``helper.py``, and one that was changed has to be read again. Who uses the old ones keeps them."""
    known = tuple(paths)
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file is not None and name != "__main__" and any(Path(file).is_relative_to(path) for path in known):
            del sys.modules[name]


class FromCallable:
    """A user's own loader, plain (it gets a thread) or async (it must not block)."""

    def __init__(self, function: Callable[[], Any], name: str) -> None:
        self._function = function
        self._name = name
        self._is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004 - whether it is async is the question
        )

    @property
    def threaded(self) -> bool:
        return not self._is_async

    def estimate(self) -> int | None:
        return None

    async def load(self) -> Made:
        try:
            if not self._is_async:
                return await apart(lambda: _measured(self._function), f"load {self._name}")
            before = resident()
            value = await self._function()
            return Made(value, max(resident() - before, 0))
        except LoadFailure:
            raise
        except (Exception, SystemExit) as error:
            if is_out_of_memory(error):
                raise out_of_memory(None, f"Loading {self._name}") from error
            _log.error("the loader of %s failed", self._name, exc_info=error)
            # Where it loads from may come back.
            message = f"The loader of {self._name} failed: {type(error).__name__}: {error}"
            raise LoadFailure("load_failed", message, permanent=False) from error

    async def free(self, held: list[Any]) -> None:
        await _free(held)


def _measured(load: Callable[[], Any]) -> Made:
    trim()
    before = resident()
    value = load()
    trim()
    return Made(value, max(resident() - before, 0))


async def _free(held: list[Any]) -> None:
    await _close(held[0])
    held.clear()
    await apart(trim, "trim")


async def _close(value: Any) -> None:
    """Call the object's own ``close``, if it has one: plain (in a thread) or async. What it raises is logged."""
    function = getattr(value, "close", None) or getattr(value, "aclose", None)
    if not callable(function):
        return
    try:
        closed = function() if inspect.iscoroutinefunction(function) else await apart(function, "close")
        if isinstance(closed, Awaitable):
            await closed
    except Exception:
        _log.exception("closing a model failed")
