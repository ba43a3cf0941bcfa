"""How models are loaded: what a user sets, what the environment is, and what follows where nothing is set."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from modelyard.domain.quantities import parse_bytes


class Environment(StrEnum):
    PRODUCTION = "production"
    DEVELOPMENT = "development"


class OnTimeout(StrEnum):
    """What becomes of a start that takes too long: it goes on with what is loaded, or counts as failed."""

    SERVE = "serve"
    FAIL = "fail"


VARIABLE: Final = "MODELYARD_ENVIRONMENT"
# What only a platform sets that runs programs for others: Kubernetes, ECS, Cloud Run and Knative, AWS Lambda.
_PLATFORMS: Final = (
    "KUBERNETES_SERVICE_HOST", "ECS_CONTAINER_METADATA_URI_V4", "ECS_CONTAINER_METADATA_URI", "K_SERVICE",
    "AWS_LAMBDA_FUNCTION_NAME",
)  # fmt: skip
_DEBUG: Final = ("DEBUG", "FASTAPI_DEBUG", "FLASK_DEBUG")
_TRUE: Final = ("1", "true", "yes", "on")


def detect(environ: Mapping[str, str], arguments: Sequence[str], *, terminal: bool) -> tuple[Environment, str]:
    """The environment, and by what it is told, in this order: ``MODELYARD_ENVIRONMENT``; a platform's own variables
    (production); a debug flag or ``--reload`` (development); a terminal (development); else production.

    Raises:
        ValueError: MODELYARD_ENVIRONMENT is neither
    """
    said = environ.get(VARIABLE, "").strip().lower()
    if said:
        return _named(said, VARIABLE), VARIABLE
    for name in _PLATFORMS:
        if environ.get(name):
            return Environment.PRODUCTION, name
    for name in _DEBUG:
        if environ.get(name, "").strip().lower() in _TRUE:
            return Environment.DEVELOPMENT, name
    if "--reload" in arguments or list(arguments[1:2]) == ["dev"]:
        return Environment.DEVELOPMENT, "it is started to be reloaded"
    if terminal:
        return Environment.DEVELOPMENT, "it runs in a terminal"
    return Environment.PRODUCTION, "there is no terminal, and nothing says otherwise"


def _named(said: str, by: str) -> Environment:
    for environment in Environment:
        # Also dev and prod, as many write them.
        if environment.startswith(said) and len(said) >= 3:
            return environment
    raise ValueError(f"{by} is {said!r}: write production or development.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressiveLoadingConfig:
    """What is None follows from the environment (production / development).

    ``environment``: told by :func:`detect` if not given.
    ``preload``: names of the models that are loaded ahead, or ``"all"`` (all / none but the critical ones). Others are
    loaded when they are first used.
    ``max_parallel_loads``: how many are loaded at once. One that a request waits for does not wait for those that are
    loaded ahead.
    ``head_start``: seconds for which nothing is loaded ahead once the critical models serve, or until one was used:
    their first answers come first.
    ``startup_timeout``: seconds until every critical model should serve (300 / none).
    ``on_timeout``: ``serve`` goes on with what is loaded, ``fail`` has ``/health/live`` answer 503 (fail / serve).
    ``memory_budget``: bytes, or as ``"2Gi"``, that loaded models may take together (no limit). The least recently used
    one goes first; what is pinned or in use stays.
    ``wait_timeout``: seconds that a request waits for a model that is being loaded.
    ``retry_after``, ``retry_cap``: seconds until a failed load is tried again: twice as long each time, up to the cap.
    ``allow_mock``: whether the mock engine may be used (no / yes).
    ``drain_timeout``: seconds that the end waits for models that are in use.
    ``threads``: how many threads one model may compute with.

    Raises:
        ValueError: what is wrong, all at once; also what :func:`detect` says
    """

    environment: Environment | str | None = None
    preload: Sequence[str] | Literal["all"] | None = None
    max_parallel_loads: int = 1
    head_start: float = 0.25
    startup_timeout: float | None = None
    on_timeout: OnTimeout | str | None = None
    memory_budget: int | str | None = None
    wait_timeout: float = 30.0
    retry_after: float = 1.0
    retry_cap: float = 300.0
    allow_mock: bool | None = None
    drain_timeout: float = 30.0
    threads: int = 1

    def __post_init__(self) -> None:
        # Where it is written is where it is put right.
        self.settle()

    def settle(self) -> Settled:
        """Everything decided.

        Raises:
            ValueError: what is wrong, all at once
        """
        wrong: list[str] = []
        environment, told_by = Environment.PRODUCTION, "config"
        budget, on_timeout = None, None
        try:
            if self.environment is None:
                environment, told_by = detect(os.environ, sys.argv, terminal=_on_terminal())
            else:
                environment = _named(str(self.environment).lower(), "environment")
        except ValueError as error:
            wrong.append(str(error))
        try:
            budget = None if self.memory_budget is None else parse_bytes(self.memory_budget)
        except ValueError as error:
            wrong.append(f"memory_budget: {error}.")
        try:
            on_timeout = None if self.on_timeout is None else OnTimeout(self.on_timeout)
        except ValueError:
            wrong.append(f"on_timeout is {self.on_timeout!r}: write serve or fail.")
        for name in ("max_parallel_loads", "threads"):
            if getattr(self, name) < 1:
                wrong.append(f"{name} must be 1 or more.")
        for name in ("head_start", "startup_timeout", "wait_timeout", "retry_after", "retry_cap", "drain_timeout"):
            seconds = getattr(self, name)
            if seconds is not None and not 0 <= seconds < float("inf"):
                wrong.append(f"{name} must be 0 seconds or more.")
        if isinstance(self.preload, str) and self.preload != "all":
            wrong.append(f"preload is {self.preload!r}: give a list of names, or 'all'.")
        if wrong:
            raise ValueError(" ".join(wrong))
        strict = environment is Environment.PRODUCTION
        return Settled(
            environment=environment,
            told_by=told_by,
            preload=self._preload(strict),
            max_parallel_loads=self.max_parallel_loads,
            head_start=self.head_start,
            startup_timeout=300.0 if self.startup_timeout is None and strict else self.startup_timeout,
            on_timeout=on_timeout or (OnTimeout.FAIL if strict else OnTimeout.SERVE),
            memory_budget=budget,
            wait_timeout=self.wait_timeout,
            retry_after=self.retry_after,
            retry_cap=self.retry_cap,
            allow_mock=not strict if self.allow_mock is None else self.allow_mock,
            drain_timeout=self.drain_timeout,
            threads=self.threads,
        )

    def _preload(self, strict: bool) -> frozenset[str] | None:
        if self.preload is None:
            return None if strict else frozenset()
        return None if self.preload == "all" else frozenset(self.preload)


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A :class:`ProgressiveLoadingConfig` with everything decided. ``told_by``: what the environment was told by;
    ``preload`` None: all."""

    environment: Environment
    told_by: str
    preload: frozenset[str] | None
    max_parallel_loads: int
    head_start: float
    startup_timeout: float | None
    on_timeout: OnTimeout
    memory_budget: int | None
    wait_timeout: float
    retry_after: float
    retry_cap: float
    allow_mock: bool
    drain_timeout: float
    threads: int

    def preloads(self, name: str) -> bool:
        return self.preload is None or name in self.preload

    def backoff(self, failures: int) -> float:
        """Seconds until the next try after so many failures in a row."""
        return min(self.retry_after * 2.0 ** min(failures - 1, 30), self.retry_cap)
