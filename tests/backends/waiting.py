"""Waiting for what a backend observes, with a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from modelyard.backends.port import Backend, BackendObservation
from modelyard.domain.model import Instance, InstancePhase, ModelRef
from modelyard.domain.observation import Exit

T = TypeVar("T")

PATIENCE = 20.0


async def until(
    backend: Backend,
    ref: ModelRef,
    condition: Callable[[BackendObservation], bool],
    result: Callable[[BackendObservation], T],
) -> T:
    """Look at each change until ``condition`` holds."""
    changes = backend.changes()
    try:
        async with asyncio.timeout(PATIENCE):
            while not condition(observation := await backend.observe(ref)):
                await anext(changes)
    except TimeoutError:
        raise AssertionError(f"still {await backend.observe(ref)}") from None
    return result(observation)


async def ready(backend: Backend, ref: ModelRef, count: int) -> tuple[Instance, ...]:
    def all_ready(observation: BackendObservation) -> bool:
        phases = [i.phase for i in observation.instances]
        assert not observation.exits, observation.exits
        return phases == [InstancePhase.READY] * count

    return await until(backend, ref, all_ready, lambda o: o.instances)


async def gone(backend: Backend, ref: ModelRef) -> None:
    await until(backend, ref, lambda o: not o.instances, lambda o: None)


async def ended(backend: Backend, ref: ModelRef) -> Exit:
    """The one exit, once nothing else is left."""
    (exit_,) = await until(backend, ref, lambda o: bool(o.exits) and not o.instances, lambda o: o.exits)
    return exit_
