"""The port that every backend implements: what the control plane may ask of the place where instances live.

A backend carries out and reports; it decides nothing. Which instances there should be, when a failed
one is tried again and when a stop may kill are decisions of :mod:`modelyard.domain.plan`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from modelyard.domain.capacity import Inventory, Ledger
from modelyard.domain.errors import Problem
from modelyard.domain.model import Instance, ModelRef, Target
from modelyard.domain.observation import Exit
from modelyard.domain.spec import Artifact, Engine, Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What this backend can do. What it cannot is refused with a reason, never silently dropped."""

    replicas: bool = True
    gpus: bool = False
    drain: bool = True
    logs: bool = True
    scale_to_zero: bool = False


class Artifacts(Protocol):
    """Where a backend that runs instances on this machine has the files of registered models from."""

    async def admit(self, namespace: str, spec: Spec) -> None:
        """Asked before each launch. Raises ModelyardError where nothing may be launched from it now."""

    def lay_out(self, artifact: Artifact, engine: Engine, progress: Callable[[int, int], None]) -> Path:
        """Have them on this machine, in the form that serves ``engine`` best, and say where what it loads is. Blocks;
        ``progress`` is told of bytes done and of how many there are, from other threads; what it raises ends the work,
        of which what is done is kept.

        Raises:
            ModelyardError: they cannot be had, or are damaged
            OSError: they cannot be written
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """So many instances of one target, launched from its revision's spec; none are launched where it is so many
    ``at_most``."""

    target: Target
    spec: Spec
    replicas: int
    at_most: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendObservation:
    """``instances``: everything of which anything is left (an empty tuple is the word that nothing is);
    ``exits``: instances that ended unasked, until they are forgotten."""

    instances: tuple[Instance, ...] = ()
    exits: tuple[Exit, ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    instance: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """Something that belongs to nothing any more. ``kind``: process, folder, socket, log, route or row;
    ``id`` names it among its kind."""

    kind: str
    id: str
    message: str


class Backend(Protocol):
    """All calls are idempotent and return as soon as the work is under way; what came of it shows in
    :meth:`observe`, and :meth:`changes` says when to look."""

    capabilities: Capabilities

    async def open(self) -> None:
        """Find and adopt what an earlier control process left running."""

    async def close(self, *, release: bool) -> None:
        """Stop watching. With ``release`` every instance is ended first (a shutdown), without it they
        go on for the next control process (an upgrade)."""

    async def check(self, spec: Spec) -> list[Problem]:
        """What this backend cannot do of ``spec`` on this machine now: a missing file, a device it lacks.
        A look that takes too long is itself a problem: this always comes back."""

    async def inventory(self) -> Inventory:
        """What there is."""

    async def ledger(self) -> Ledger:
        """What there is, and what each instance holds of it from the moment :meth:`converge` has returned
        until it is verified gone."""

    async def orphans(self, known: Collection[str]) -> Sequence[Orphan]:
        """What is left of instances that no model has, and files of models whose uids are not ``known``."""

    async def clear(self, orphan: Orphan) -> None:
        """End or remove what :meth:`orphans` found; nothing if it is gone already.

        Raises:
            Unavailable: it cannot be; the sentence says why and what to do.
        """

    async def observe(self, ref: ModelRef) -> BackendObservation:
        """What is there of the model, as last seen by the backend's own watchers."""

    async def converge(
        self, ref: ModelRef, members: tuple[Member, ...], grace: float, surplus: tuple[str, ...] = ()
    ) -> None:
        """Have exactly these live instances besides those in ``surplus``, which end: launch what is missing, end
        what is too many, the newest first (asking, and killing after ``grace`` seconds)."""

    async def release(self, ref: ModelRef, grace: float) -> None:
        """End every instance: ask, kill what is left after ``grace`` seconds (0: kill now). A later call
        with a shorter grace shortens an earlier one."""

    async def forget(self, ref: ModelRef, exits: tuple[str, ...]) -> None:
        """Stop reporting these exits."""

    async def remove(self, ref: ModelRef) -> None:
        """Nothing of the model is left running: forget its files too, except its logs."""

    def logs(self, ref: ModelRef, instance: str | None, *, follow: bool, tail: int) -> AsyncIterator[LogLine]:
        """The last ``tail`` lines of an instance (None: of all that still have a log), then, with
        ``follow``, new lines as they come."""

    def changes(self) -> AsyncIterator[ModelRef]:
        """A model's ref each time :meth:`observe` would say something new of it."""

    async def usage(self) -> Mapping[str, int]:
        """Resident bytes by instance id, for metrics."""
