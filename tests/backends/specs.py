"""Specs for the test worker, and a look at which of its processes live."""

from __future__ import annotations

import json
from typing import Any

from modelyard.backends.local import LocalBackend
from modelyard.backends.local.files import home_id
from modelyard.backends.local.process import Census
from modelyard.backends.port import Member
from modelyard.domain.model import Instance, ModelRef, Target
from modelyard.domain.spec import Container, Engine, HealthCheck, Spec
from modelyard.settings import Settings
from tests.backends.waiting import ready

TARGET = Target(1)


def worker_spec(*, check: HealthCheck | None = None, container: Container | None = None, **options: Any) -> Spec:
    """A model whose worker misbehaves as ``options`` say."""
    container = container or Container(health_check=check or HealthCheck())
    return Spec(engine=Engine.MOCK, options=options, container=container)


def member(spec: Spec, replicas: int = 1) -> tuple[Member, ...]:
    return (Member(target=TARGET, spec=spec, replicas=replicas),)


async def run(backend: LocalBackend, ref: ModelRef, spec: Spec) -> Instance:
    """One instance, ready."""
    await backend.converge(ref, member(spec), 5)
    return (await ready(backend, ref, 1))[0]


def processes(settings: Settings) -> set[int]:
    """All processes that carry the home's marker."""
    marked = Census(home_id(settings.home)).marked()
    return {stat.id.pid for stats in marked.values() for stat in stats}


async def log_lines(backend: LocalBackend, ref: ModelRef, instance: str | None = None) -> list[str]:
    return [line.text async for line in backend.logs(ref, instance, follow=False, tail=1000)]


async def surroundings(backend: LocalBackend, ref: ModelRef) -> dict[str, Any]:
    """What the test worker says of its environment."""
    (line,) = [text for text in await log_lines(backend, ref) if text.startswith("surroundings ")]
    found: dict[str, Any] = json.loads(line.removeprefix("surroundings "))
    return found
