"""Kills a real process at any step by which it changes a file system, and starts several at one moment."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, Final

from modelyard.registry.content import cache, pulling, storage

# Forked from a process that has imported this and does nothing, so that each starts in milliseconds.
_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__, "tests.registry.content.making"])
_PATIENCE: Final = 60.0


def killed(number: int, target: Callable[..., object], *arguments: object) -> bool:
    """Run ``target`` in a process that kills itself (SIGKILL) before its step ``number``; False if it came to its end
    without."""
    process = _CONTEXT.Process(target=_until, args=(number, target, arguments))
    process.start()
    return _end(process) == -signal.SIGKILL


def killing(target: Callable[..., object], *arguments: object) -> bool:
    """Run ``target`` in a process, which may kill itself; whether it did."""
    process = _CONTEXT.Process(target=target, args=arguments)
    process.start()
    return _end(process) == -signal.SIGKILL


def together(count: int, target: Callable[..., object], *arguments: object) -> None:
    """Run ``target`` in so many processes that start at one moment, with each one's number first."""
    barrier = _CONTEXT.Barrier(count)
    processes = [_CONTEXT.Process(target=_after, args=(barrier, target, i, arguments)) for i in range(count)]
    for process in processes:
        process.start()
    assert [_end(process) for process in processes] == [0] * count


def _end(process: BaseProcess) -> int | None:
    process.join(_PATIENCE)
    code = process.exitcode
    process.kill()
    process.join()
    process.close()
    assert code in (0, -signal.SIGKILL), code
    return code


def _after(barrier: Barrier, target: Callable[..., object], number: int, arguments: tuple[object, ...]) -> None:
    barrier.wait(_PATIENCE)
    target(number, *arguments)


def _until(number: int, target: Callable[..., object], arguments: tuple[object, ...]) -> None:
    steps = itertools.count()

    def step() -> None:
        if next(steps) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    for owner, name in (
        *((os, name) for name in ("fsync", "link", "utime")),
        *((Path, name) for name in ("mkdir", "rename", "unlink", "hardlink_to")),
    ):
        setattr(owner, name, _hooked(getattr(owner, name), step))
    written = storage.write_all

    def halves(descriptor: int, data: storage.Buffer) -> None:
        step()
        written(descriptor, data[: len(data) // 2])
        step()
        written(descriptor, data[len(data) // 2 :])

    for module in (storage, cache, pulling):
        module.write_all = halves  # type: ignore[attr-defined]
    target(*arguments)


def _hooked(original: Callable[..., Any], step: Callable[[], None]) -> Callable[..., Any]:
    def hooked(*arguments: Any, **options: Any) -> Any:
        step()
        return original(*arguments, **options)

    return hooked


def every_step(target: Callable[..., object], *arguments: object, stride: int = 1) -> Iterator[int]:
    """Kill ``target`` before each of its steps (or each ``stride``-th) in turn; ends once it comes to its end. Whoever
    asks for the next one has put everything back to how it was."""
    for number in itertools.count(0, stride):
        if not killed(number, target, *arguments):
            return
        yield number
