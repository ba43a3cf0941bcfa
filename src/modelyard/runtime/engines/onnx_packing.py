"""Packing weights while a model serves already.

A model with weights in files of their own starts with these as they lie, mapped and shared by all instances, in
milliseconds. Packed weights are faster on large batches, but a private copy of the same size that takes seconds to
make. So a second session is made of them in the background, and takes the first one's place between two requests,
where the instance's memory limit leaves room for that: without a limit nothing says that the memory may be taken.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from modelyard.runtime import limits

_log = logging.getLogger("modelyard.runtime")

# Seconds from the start of a model to that of its packing: its first requests come first.
_LATER: Final = 2.0
# What packing takes, by the size of the weights, and what is left alone for the requests meanwhile (bytes).
_FACTOR: Final = 1.25
_SPARED: Final = 64 * 2**20
_LOOK_EVERY: Final = 0.05
_LOWEST: Final = 19


class Swappable(Protocol):
    """A model that can change its session between two requests."""

    session: Any

    def use(self, session: Any) -> None: ...


def mapped_size(weights: Sequence[Path]) -> int:
    """Bytes that mapping these files takes at most: ONNX Runtime maps tensor by tensor, so that a page that two
    tensors share counts twice."""
    return sum(file.stat().st_size for file in weights) * 65 // 64 + 2**20


def pack_later(model: Swappable, weights: Sequence[Path], make: Callable[[], Any], *, alone: bool) -> None:
    """Have ``model`` use the session that ``make`` makes, with the weights of these files packed, as soon as there is
    one; never, where there is no room for it. ``alone``: it starts no threads."""
    if _has_room(weights):
        arguments = (weakref.ref(model), weights, make, alone)
        threading.Thread(target=_pack, args=arguments, name="pack", daemon=True).start()


def _has_room(weights: Sequence[Path]) -> bool:
    room = limits.room()
    return room is not None and room > sum(file.stat().st_size for file in weights) * _FACTOR + _SPARED


def _pack(kept: Callable[[], Swappable | None], weights: Sequence[Path], make: Callable[[], Any], alone: bool) -> None:
    time.sleep(_LATER)
    if alone:
        # Requests go first. Threads of the session would inherit that, and never get rid of it.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)
    if kept() is None or not _has_room(weights):
        return
    # Until the first session is gone, everything is mapped twice.
    size = mapped_size(weights)
    limits.allow_mapped(size)
    try:
        began = time.perf_counter()
        packed = make()
    except Exception as error:
        limits.allow_mapped(-size)
        _log.warning("the weights stay as they are: packing them failed: %s", error)
        return
    model = kept()
    if model is not None:
        first = weakref.ref(model.session)
        model.use(packed)
        _log.info("weights packed in %.1f s", time.perf_counter() - began)
        # Requests that run in it finish there.
        while first() is not None:
            time.sleep(_LOOK_EVERY)
    # What could not be packed is still mapped, once.
    limits.allow_mapped(limits.mapped(weights) - 2 * size)
