"""What a user wants of a model. Start and stop are not part of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from modelyard.domain.errors import Problem
from modelyard.domain.names import (
    FileSource,
    InvalidReference,
    is_label_key,
    parse_reference,
)

_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
MAX_REPLICAS = 64


class Engine(StrEnum):
    """What runs the weights inside a local instance."""

    ONNX = "onnx"
    SKLEARN = "sklearn"
    PYTHON = "python"  # a folder with model.py
    COMMAND = "command"  # any server its user brings
    MOCK = "mock"  # set answers, for development without models


class BackendName(StrEnum):
    """Where instances live."""

    LOCAL = "local"


# A suffix names its engine so that `deploy digits digits.onnx` needs no --engine. Pickles are named
# here too: the sklearn engine is what refuses them, with the reason.
ENGINE_OF_SUFFIX = {
    ".onnx": Engine.ONNX,
    ".skops": Engine.SKLEARN,
    ".pkl": Engine.SKLEARN,
    ".pickle": Engine.SKLEARN,
    ".joblib": Engine.SKLEARN,
}
PICKLE_SUFFIXES = (".pkl", ".pickle", ".joblib")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """``cpu`` in cores; ``memory`` in bytes (None: no limit); ``gpus`` in whole devices."""

    cpu: float = 1.0
    memory: int | None = None
    gpus: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    min: int = 1
    max: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """Start-up and liveness checks of an instance, with a container's words. Durations in seconds.

    An instance that is not ready ``start_period`` after its launch has failed. Once ready it is
    checked every ``interval``; ``retries`` failures in a row, each within ``timeout``, replace it.
    ``command`` is run beside the engine's own check and must exit with 0; ``path`` is what the
    ``command`` engine's server is asked over HTTP (without it, a TCP connection suffices).
    """

    command: tuple[str, ...] = ()
    path: str | None = None
    interval: float = 5.0
    start_period: float = 300.0
    timeout: float = 5.0
    retries: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """What surrounds the process: environment, working folder, size of /dev/shm in bytes, health check."""

    environment: Mapping[str, str] = field(default_factory=dict)
    working_dir: str | None = None
    shared_memory: int | None = None
    health_check: HealthCheck = HealthCheck()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on requests: ``request_timeout`` in seconds, ``max_body`` in bytes, ``max_queue`` requests
    that may run or wait at once in the whole model."""

    request_timeout: float = 60.0
    max_body: int = 64 * 2**20
    max_queue: int = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """The whole wish. One frozen copy of it a generation is a revision."""

    engine: Engine
    source: str | None = None
    backend: BackendName = BackendName.LOCAL
    options: Mapping[str, Any] = field(default_factory=dict)
    resources: Resources = Resources()
    replicas: Replicas = Replicas()
    container: Container = Container()
    limits: Limits = Limits()
    public: bool = False
    trusted: bool = False
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def source_path(self) -> str | None:
        """The local path of the source, None when the engine needs none."""
        if self.source is None:
            return None
        reference = parse_reference(self.source)
        return reference.path if isinstance(reference, FileSource) else None

    @property
    def is_exclusive(self) -> bool:
        """Whether two instances cannot live side by side: a server with a port of its own has it once."""
        return self.engine is Engine.COMMAND and self.options.get("port") is not None


# Fields whose change leaves the instances alone (the first row of the effect table).
METADATA_FIELDS = frozenset({"description", "labels", "public", "limits"})


def needs_new_instances(old: Spec, new: Spec) -> bool:
    """Whether going from ``old`` to ``new`` replaces instances, or only changes what stands beside them."""
    return any(
        getattr(old, name) != getattr(new, name)
        for name in Spec.__dataclass_fields__
        if name not in METADATA_FIELDS | {"replicas"}
    )


def spec_problems(spec: Spec) -> list[Problem]:
    """Everything wrong with ``spec`` that can be said without looking at the world, all at once."""
    return [
        *_source_problems(spec),
        *_option_problems(spec),
        *_number_problems(spec),
        *_container_problems(spec),
        *_label_problems(spec.labels),
    ]


def _source_problems(spec: Spec) -> Iterator[Problem]:
    if spec.source is None:
        if spec.engine in (Engine.ONNX, Engine.SKLEARN, Engine.PYTHON):
            yield Problem("source", "required", f"The {spec.engine} engine needs a source: file:///path/to/model.")
        return
    try:
        reference = parse_reference(spec.source)
    except InvalidReference as error:
        yield Problem("source", "invalid_source", str(error))
        return
    if not isinstance(reference, FileSource):
        yield Problem(
            "source",
            "unresolved_source",
            f"No registry is connected, so {reference} cannot be resolved: give file:///path/to/model.",
        )
        return
    if spec.engine is Engine.SKLEARN and reference.path.lower().endswith(PICKLE_SUFFIXES) and not spec.trusted:
        yield Problem(
            "source",
            "untrusted_pickle",
            "A pickle or joblib file runs whatever code it holds when it is loaded. Save the model with "
            "skops.io.dump instead, or have an administrator set 'trusted: true'.",
        )


def _option_problems(spec: Spec) -> Iterator[Problem]:
    known: dict[Engine, set[str]] = {
        Engine.COMMAND: {"command", "port"},
        Engine.MOCK: {"latency_ms", "outputs", "load_ms"},
    }
    allowed = known.get(spec.engine, set())
    for name in sorted(set(spec.options) - allowed):
        hint = f"it takes {', '.join(sorted(allowed))}" if allowed else "it takes none"
        yield Problem(f"options.{name}", "unknown_option", f"The {spec.engine} engine has no option {name!r}: {hint}.")
    if spec.engine is Engine.COMMAND:
        yield from _command_option_problems(spec.options)
    if spec.engine is Engine.MOCK:
        yield from _mock_option_problems(spec.options)


def _command_option_problems(options: Mapping[str, Any]) -> Iterator[Problem]:
    command = options.get("command")
    if not isinstance(command, (list, tuple)) or not command or not all(isinstance(w, str) and w for w in command):
        yield Problem(
            "options.command",
            "required",
            "The command engine needs its command as a list of words, for example "
            '["vllm", "serve", "my-model", "--port", "{port}"].',
        )
    elif any("\x00" in word for word in command):
        yield Problem("options.command", "invalid_value", "A command's word holds no NUL character.")
    port = options.get("port")
    if port is not None and (isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535):
        yield Problem("options.port", "out_of_range", "A port is a whole number from 1 to 65535.")


def _mock_option_problems(options: Mapping[str, Any]) -> Iterator[Problem]:
    for name in ("latency_ms", "load_ms"):
        value = options.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 3_600_000:
            yield Problem(f"options.{name}", "out_of_range", f"{name} is a number of milliseconds from 0 to 3600000.")
    outputs = options.get("outputs", [])
    if not isinstance(outputs, (list, tuple)):
        yield Problem("options.outputs", "invalid_type", "outputs is a list of tensors in V2 form.")
        return
    for index, tensor in enumerate(outputs):
        missing = {"name", "datatype", "shape", "data"} - set(tensor if isinstance(tensor, Mapping) else ())
        if missing:
            yield Problem(
                f"options.outputs[{index}]",
                "required",
                f"A tensor has name, datatype, shape and data; {', '.join(sorted(missing))} missing.",
            )


def _number_problems(spec: Spec) -> Iterator[Problem]:
    resources, replicas, limits = spec.resources, spec.replicas, spec.limits
    if not 0 < resources.cpu <= 1024:
        yield Problem("resources.cpu", "out_of_range", "cpu is a number of cores above 0, for example 0.5 or 2.")
    if resources.memory is not None and resources.memory < 16 * 2**20:
        yield Problem("resources.memory", "out_of_range", "memory must be at least 16Mi.")
    if resources.gpus < 0:
        yield Problem("resources.gpus", "out_of_range", "gpus is 0 or more.")
    if replicas.min < 1:
        yield Problem("replicas.min", "out_of_range", "min must be at least 1; stop the model to run none.")
    if replicas.max > 1 and spec.is_exclusive:
        yield Problem(
            "replicas.max", "out_of_range", "A fixed options.port serves one instance: leave it out and use {port}."
        )
    if replicas.max > MAX_REPLICAS:
        yield Problem("replicas.max", "out_of_range", f"max must be at most {MAX_REPLICAS}.")
    if replicas.min > replicas.max:
        yield Problem("replicas.min", "out_of_range", f"min ({replicas.min}) is above max ({replicas.max}).")
    if not 0 < limits.request_timeout <= 86_400:
        yield Problem("limits.request_timeout", "out_of_range", "request_timeout is above 0 and at most 24h.")
    if not 1 <= limits.max_body <= 2**32 - 2**20:
        yield Problem("limits.max_body", "out_of_range", "max_body is at least 1 byte and below 4Gi.")
    if limits.max_queue < 1:
        yield Problem("limits.max_queue", "out_of_range", "max_queue must be at least 1.")


def _container_problems(spec: Spec) -> Iterator[Problem]:
    container, check = spec.container, spec.container.health_check
    for name, value in container.environment.items():
        path = f"container.environment.{name}"
        if not _ENVIRONMENT_NAME.match(name):
            yield Problem(path, "invalid_name", f"{name!r} is not a variable's name: letters, digits and _ only.")
        elif name.startswith("MODELYARD_"):
            yield Problem(path, "reserved_name", "Variables that start with MODELYARD_ are Modelyard's own.")
        if "\x00" in value:
            yield Problem(path, "invalid_value", "A variable's value holds no NUL character.")
    if (folder := container.working_dir) is not None and (
        not folder.startswith("/") or ".." in folder.split("/") or "\x00" in folder
    ):
        yield Problem("container.working_dir", "invalid_path", "working_dir is an absolute path without '..' or NUL.")
    if container.shared_memory is not None and container.shared_memory < 2**20:
        yield Problem("container.shared_memory", "out_of_range", "shared_memory must be at least 1Mi.")
    prefix = "container.health_check"
    for name in ("interval", "timeout", "start_period"):
        if not 0 < getattr(check, name) <= 86_400:
            yield Problem(f"{prefix}.{name}", "out_of_range", f"{name} is above 0 and at most 24h.")
    if not 1 <= check.retries <= 100:
        yield Problem(f"{prefix}.retries", "out_of_range", "retries is from 1 to 100.")
    if any("\x00" in word for word in check.command):
        yield Problem(f"{prefix}.command", "invalid_value", "A command's word holds no NUL character.")
    if check.path is not None:
        if spec.engine is not Engine.COMMAND:
            yield Problem(f"{prefix}.path", "not_applicable", "Only the command engine has an HTTP path to check.")
        elif not check.path.startswith("/"):
            yield Problem(f"{prefix}.path", "invalid_path", "path starts with '/', for example /health.")
        elif any(c.isspace() or not c.isprintable() for c in check.path):
            yield Problem(
                f"{prefix}.path", "invalid_path", "path holds no blanks or control characters: write a blank as %20."
            )


def _label_problems(labels: Mapping[str, str]) -> Iterator[Problem]:
    for key, value in labels.items():
        if not is_label_key(key):
            yield Problem(f"labels.{key}", "invalid_name", f"{key!r} is not a label's name.")
        if len(value) > 256:
            yield Problem(f"labels.{key}", "too_long", "A label's value has at most 256 characters.")
