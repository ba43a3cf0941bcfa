"""Instances of registered models: their files are laid out first, and an end need not wait for that."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from modelyard.backends.local import LocalBackend
from modelyard.backends.local.launching import GivenUp
from modelyard.domain.errors import NotFound, Refused
from modelyard.domain.model import Instance, InstancePhase, ModelRef
from modelyard.domain.spec import Artifact, Engine, Spec
from modelyard.settings import Settings
from tests.backends.conftest import WORKER
from tests.backends.specs import member, processes, run, worker_spec
from tests.backends.waiting import ended, gone, until

ARTIFACT = Artifact(version="1.4.0", manifest=f"sha256:{1:064x}", entry="model.onnx")


def registered(**options: object) -> Spec:
    return replace(worker_spec(**options), source="pat@stable", artifact=ARTIFACT)


@dataclass
class Shelf:
    """Lays out when it is let, and counts who asked."""

    folder: Path
    fail: Exception | None = None
    forbid: Exception | None = None
    may_go_on: threading.Event = field(default_factory=threading.Event)
    asked: list[tuple[Artifact, Engine]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    ended_by: Exception | None = None

    async def admit(self, namespace: str, spec: Spec) -> None:
        if self.forbid is not None:
            raise self.forbid

    def lay_out(self, artifact: Artifact, engine: Engine, progress: Callable[[int, int], None]) -> Path:
        self.asked.append((artifact, engine))
        progress(5, 20)
        assert self.may_go_on.wait(30)
        try:
            progress(20, 20)
        except Exception as error:
            self.ended_by = error
            raise
        finally:
            self.ended.set()
        if self.fail is not None:
            raise self.fail
        return self.folder / artifact.entry


@pytest.fixture
def shelf(home: Path) -> Shelf:
    return Shelf(home / "laid")


@pytest.fixture
async def backend(settings: Settings, shelf: Shelf) -> AsyncIterator[LocalBackend]:
    backend = LocalBackend(settings, worker=WORKER, artifacts=shelf)
    await backend.open()
    yield backend
    shelf.may_go_on.set()
    await backend.close(release=True)


async def laying_out(backend: LocalBackend, ref: ModelRef) -> Instance:
    """The instance, once it waits for its files."""
    return await until(backend, ref, lambda o: any(i.message for i in o.instances), lambda o: o.instances[0])


async def test_the_worker_is_launched_with_the_path_once_it_is_there(
    backend: LocalBackend, ref: ModelRef, settings: Settings, shelf: Shelf
) -> None:
    await backend.converge(ref, member(registered()), 5)
    instance = await laying_out(backend, ref)
    assert instance.phase is InstancePhase.STARTING
    assert instance.message == "Laying out pat@stable (version 1.4.0): 25 %."
    assert processes(settings) == set()
    shelf.may_go_on.set()
    instance = await run(backend, ref, registered())
    document = json.loads((settings.instances_dir / instance.id / "instance.json").read_bytes())
    assert document["source"] == str(shelf.folder / "model.onnx")
    assert shelf.asked == [(ARTIFACT, Engine.MOCK)]
    assert instance.message == ""


async def test_a_stop_does_not_wait_for_the_files(
    backend: LocalBackend, ref: ModelRef, settings: Settings, shelf: Shelf
) -> None:
    await backend.converge(ref, member(registered()), 5)
    await laying_out(backend, ref)
    await backend.release(ref, 5)
    await gone(backend, ref)
    assert (await backend.observe(ref)).exits == ()
    shelf.may_go_on.set()
    await asyncio.to_thread(shelf.ended.wait, 10)
    assert isinstance(shelf.ended_by, GivenUp), "nor does the work go on"
    await asyncio.sleep(0)
    assert processes(settings) == set()


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (NotFound("The store has no objects/ab."), "not_found", "cannot be had: The store has no objects/ab."),
        (OSError(28, "No space left on device", "/cache/files"), "storage_error", "the disk is full: free some space"),
    ],
)
async def test_what_keeps_the_files_away_is_the_reason_of_the_exit(
    backend: LocalBackend, ref: ModelRef, shelf: Shelf, error: Exception, code: str, words: str
) -> None:
    shelf.fail = error
    shelf.may_go_on.set()
    await backend.converge(ref, member(registered()), 5)
    exit_ = await ended(backend, ref)
    assert exit_.failure.code == code
    assert "pat@stable (version 1.4.0)" in exit_.failure.message
    assert words in exit_.failure.message
    assert not exit_.failure.permanent


async def test_what_may_not_be_launched_is_not_even_laid_out(
    backend: LocalBackend, ref: ModelRef, shelf: Shelf
) -> None:
    shelf.forbid = Refused("unsigned", "It is not signed.")
    await backend.converge(ref, member(registered()), 5)
    exit_ = await ended(backend, ref)
    assert (exit_.failure.code, exit_.failure.permanent) == ("unsigned", False)
    assert "It is not signed." in exit_.failure.message
    assert shelf.asked == []


async def test_what_may_be_launched_no_more_once_it_is_laid_out_is_not(
    backend: LocalBackend, ref: ModelRef, settings: Settings, shelf: Shelf
) -> None:
    await backend.converge(ref, member(registered()), 5)
    await laying_out(backend, ref)
    shelf.forbid = Refused("untrusted_key", "Its key was revoked.")
    shelf.may_go_on.set()
    exit_ = await ended(backend, ref)
    assert (exit_.failure.code, exit_.failure.permanent) == ("untrusted_key", False)
    assert shelf.asked == [(ARTIFACT, Engine.MOCK)]
    assert processes(settings) == set()


async def test_a_backend_without_a_registry_says_so(settings: Settings, ref: ModelRef) -> None:
    backend = LocalBackend(settings, worker=WORKER)
    await backend.open()
    try:
        await backend.converge(ref, member(registered()), 5)
        exit_ = await ended(backend, ref)
        assert exit_.failure.code == "no_registry"
    finally:
        await backend.close(release=True)


async def test_the_time_to_become_ready_begins_when_the_files_are_there(
    backend: LocalBackend, ref: ModelRef, settings: Settings, shelf: Shelf
) -> None:
    await backend.converge(ref, member(registered()), 5)
    began = (await laying_out(backend, ref)).since
    shelf.may_go_on.set()
    instance = await run(backend, ref, registered())
    launched = json.loads((settings.instances_dir / instance.id / "launch.json").read_bytes())["created_at"]
    assert launched > began.isoformat()
