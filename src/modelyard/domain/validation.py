"""What is wrong with a spec that can be said without looking at the world."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from modelyard.domain import batching
from modelyard.domain.errors import Problem
from modelyard.domain.names import (
    FileSource,
    InvalidReference,
    RegisteredVersion,
    is_label_key,
    is_name,
    parse_reference,
)
from modelyard.domain.quantities import format_duration
from modelyard.domain.rates import rate_problems
from modelyard.domain.spec import (
    PICKLE_SUFFIXES,
    Canary,
    Engine,
    Follow,
    ModelType,
    Spec,
    Sticky,
    StickyBy,
    Strategy,
    Traffic,
)

_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_TOKEN = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
MAX_REPLICAS = 64
MAX_CANARY_STEPS = 20
# Of a split, and of shadows.
MAX_ARMS = 16
MAX_PRIORITY = 1000

IMPOSSIBLE_FEATURES = {
    ModelType.EMBEDDING: ("streaming", "tool_calls", "summarization"),
    ModelType.IMAGE: ("streaming", "tool_calls", "summarization"),
    ModelType.VIDEO: ("streaming", "tool_calls", "summarization"),
}


def spec_problems(spec: Spec, name: str = "") -> list[Problem]:
    """Everything wrong with ``spec`` (of the model ``name``) that can be said without looking at the world, all at
    once."""
    if spec.unresolved:
        return [Problem("", "unresolved", spec.unresolved)]
    return [
        *_source_problems(spec),
        *_follow_problems(spec),
        *_option_problems(spec),
        *_number_problems(spec),
        *_scaling_problems(spec),
        *_rollout_problems(spec),
        *traffic_problems(name, spec.traffic),
        *_feature_problems(spec),
        *_container_problems(spec),
        *label_problems(spec.labels),
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
        if spec.artifact is None:
            message = f"{reference} has not been resolved to a version: give file:///path/to/model."
            yield Problem("source", "unresolved_source", message)
            return
        path = spec.artifact.entry
    else:
        path = reference.path
    if spec.engine is Engine.SKLEARN and path.lower().endswith(PICKLE_SUFFIXES) and not spec.trusted:
        yield Problem(
            "source",
            "untrusted_pickle",
            "A pickle or joblib file runs whatever code it holds when it is loaded. Save the model with "
            "skops.io.dump instead, or have an administrator set 'trusted: true'.",
        )


def _follow_problems(spec: Spec) -> Iterator[Problem]:
    if spec.follow is not Follow.AUTO:
        return
    if isinstance(fixed := spec.registered, RegisteredVersion):
        message = (
            f"{fixed} always means the same version, so there is nothing to follow: take an alias or a range as the "
            f"source ({fixed.name}@stable, {fixed.name}@^{fixed.version}), or leave follow at offer."
        )
        yield Problem("follow", "nothing_to_follow", message)


def _option_problems(spec: Spec) -> Iterator[Problem]:
    known: dict[Engine, set[str]] = {
        Engine.COMMAND: {"command", "port"},
        Engine.MOCK: {"latency_ms", "outputs", "load_ms"},
        Engine.ONNX: {batching.OPTION},
        Engine.SKLEARN: {batching.OPTION},
        Engine.PYTHON: {batching.OPTION},
    }
    allowed = known.get(spec.engine, set())
    for name in sorted(set(spec.options) - allowed):
        hint = f"it takes {', '.join(sorted(allowed))}" if allowed else "it takes none"
        yield Problem(f"options.{name}", "unknown_option", f"The {spec.engine} engine has no option {name!r}: {hint}.")
    if spec.engine is Engine.COMMAND:
        yield from _command_option_problems(spec.options)
    if spec.engine is Engine.MOCK:
        yield from _mock_option_problems(spec.options)
    if batching.OPTION in allowed & set(spec.options):
        yield from batching.problems(spec.options[batching.OPTION])


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
    if resources.cpu is not None and not 0 < resources.cpu <= 1024:
        yield Problem("resources.cpu", "out_of_range", "cpu is a number of cores above 0, for example 0.5 or 2.")
    if resources.memory is not None and resources.memory < 16 * 2**20:
        yield Problem("resources.memory", "out_of_range", "memory must be at least 16Mi.")
    if resources.gpus < 0:
        yield Problem("resources.gpus", "out_of_range", "gpus is 0 or more.")
    if replicas.min < 1:
        message = "min must be at least 1; stop the model to run none, or let it go idle by autoscaling.idle_after."
        yield Problem("replicas.min", "out_of_range", message)
    if replicas.max > 1 and spec.is_exclusive:
        yield Problem(
            "replicas.max", "out_of_range", "A fixed options.port serves one instance: leave it out and use {port}."
        )
    if replicas.max > MAX_REPLICAS:
        yield Problem("replicas.max", "out_of_range", f"max must be at most {MAX_REPLICAS}.")
    if replicas.min > replicas.max:
        yield Problem("replicas.min", "out_of_range", f"min ({replicas.min}) is above max ({replicas.max}).")
    if replicas.desired is not None and not replicas.min <= replicas.desired <= replicas.max:
        message = f"desired ({replicas.desired}) is not from min ({replicas.min}) to max ({replicas.max})."
        yield Problem("replicas.desired", "out_of_range", message)
    if abs(spec.priority) > MAX_PRIORITY:
        yield Problem("priority", "out_of_range", f"priority is from -{MAX_PRIORITY} to {MAX_PRIORITY}.")
    if not 0 < limits.request_timeout <= 86_400:
        yield Problem("limits.request_timeout", "out_of_range", "request_timeout is above 0 and at most 24h.")
    if not 1 <= limits.max_body <= 2**32 - 2**20:
        yield Problem("limits.max_body", "out_of_range", "max_body is at least 1 byte and below 4Gi.")
    if limits.max_queue < 1:
        yield Problem("limits.max_queue", "out_of_range", "max_queue must be at least 1.")
    if limits.rate is not None:
        yield from rate_problems("limits.rate", limits.rate)


def _scaling_problems(spec: Spec) -> Iterator[Problem]:
    scaling = spec.autoscaling
    if scaling.target is not None and not 0 < scaling.target <= 1e6:
        message = "target is a number above 0: requests in flight, or a second, for each instance."
        yield Problem("autoscaling.target", "out_of_range", message)
    # An idle time below a second would stop a model between two requests of one caller.
    bounds = {"window": 1.0, "cooldown": 0.0, "warm_up": 0.0, "scale_down_delay": 0.0, "wake_timeout": 0.1}
    for name, least in bounds.items():
        if not least <= getattr(scaling, name) <= 86_400:
            yield Problem(f"autoscaling.{name}", "out_of_range", f"{name} is from {format_duration(least)} to 24h.")
    if scaling.idle_after is not None and not 1 <= scaling.idle_after <= 30 * 86_400:
        yield Problem("autoscaling.idle_after", "out_of_range", "idle_after is from 1s to 30d.")
    if not 1 <= scaling.max_waiting <= 100_000:
        # With none that may wait nothing could ever wake an idle model.
        yield Problem("autoscaling.max_waiting", "out_of_range", "max_waiting is from 1 to 100000 requests.")


def _rollout_problems(spec: Spec) -> Iterator[Problem]:
    rollout, probe = spec.rollout, spec.rollout.probe
    if not 1 <= rollout.progress_deadline <= 86_400:
        yield Problem("rollout.progress_deadline", "out_of_range", "progress_deadline is from 1s to 24h.")
    if rollout.strategy is Strategy.SURGE and spec.is_exclusive:
        message = "A fixed options.port serves one instance at a time: use replace, or leave the port out."
        yield Problem("rollout.strategy", "conflict", message)
    if rollout.canary is not None:
        yield from _canary_problems(spec, rollout.canary)
    if probe is None:
        return
    if not 0 < probe.timeout <= 3600:
        yield Problem("rollout.probe.timeout", "out_of_range", "timeout is above 0 and at most 1h.")
    if spec.engine is Engine.COMMAND:
        if probe.path is None or not probe.path.startswith("/") or not probe.path.isprintable() or " " in probe.path:
            message = "A command engine's server is sent the probe at a path that starts with '/', without blanks."
            yield Problem("rollout.probe.path", "required", message)
    elif probe.path is not None:
        yield Problem("rollout.probe.path", "not_applicable", "Only the command engine's server has paths.")
    elif not isinstance(probe.body.get("inputs"), (list, tuple)):
        yield Problem("rollout.probe.body", "required", "body is a V2 inference request: {'inputs': [...]}.")


def _canary_problems(spec: Spec, canary: Canary) -> Iterator[Problem]:
    path = "rollout.canary"
    if spec.rollout.strategy is Strategy.REPLACE or spec.is_exclusive:
        why = "a fixed options.port serves one instance" if spec.is_exclusive else "replace ends the old ones first"
        message = f"A canary's new instances serve beside the old ones, and {why}: use surge or auto, or no canary."
        yield Problem(path, "conflict", message)
    steps = canary.steps
    if not steps or not all(1 <= step <= 99 for step in steps) or list(steps) != sorted(set(steps)):
        message = "steps are whole per cents from 1 to 99, each above the one before: [5, 25, 50]."
        yield Problem(f"{path}.steps", "invalid_value", message)
    elif len(steps) > MAX_CANARY_STEPS:
        yield Problem(f"{path}.steps", "too_many", f"There are at most {MAX_CANARY_STEPS} steps.")
    for name, least in (("interval", 1.0), ("max_wait", 1.0)):
        if not least <= getattr(canary, name) <= 7 * 86_400:
            yield Problem(f"{path}.{name}", "out_of_range", f"{name} is from {format_duration(least)} to 7d.")
    if not 1 <= canary.min_requests <= 1_000_000:
        yield Problem(f"{path}.min_requests", "out_of_range", "min_requests is from 1 to 1000000.")
    if not 0 <= canary.max_error_rate <= 1:
        message = "max_error_rate is a share from 0 to 1: 0.02 allows two failures more in a hundred."
        yield Problem(f"{path}.max_error_rate", "out_of_range", message)
    if not 1 <= canary.max_latency_ratio <= 1000:
        yield Problem(f"{path}.max_latency_ratio", "out_of_range", "max_latency_ratio is from 1 to 1000.")


def traffic_problems(name: str, traffic: Traffic) -> Iterator[Problem]:
    """What is wrong with ``traffic`` of the model ``name``; ``""``: whatever its name."""
    yield from _arm_problems("split", "weight", name, [(arm.model, arm.weight) for arm in traffic.split])
    yield from _arm_problems("shadow", "percent", name, [(arm.model, arm.percent) for arm in traffic.shadow])
    total = sum(arm.weight for arm in traffic.split)
    if total > 100:
        yield Problem("traffic.split", "out_of_range", f"The weights come to {total:g} per cent; 100 are all.")
    yield from _sticky_problems(traffic.sticky)


def _arm_problems(kind: str, word: str, name: str, arms: Sequence[tuple[str, float]]) -> Iterator[Problem]:
    if len(arms) > MAX_ARMS:
        yield Problem(f"traffic.{kind}", "too_many", f"There are at most {MAX_ARMS}.")
    named: set[str] = set()
    for index, (arm, share) in enumerate(arms):
        path = f"traffic.{kind}[{index}]"
        if not is_name(arm):
            yield Problem(f"{path}.model", "invalid_name", f"{arm[:64]!r} is not a model's name.")
        elif arm == name:
            message = "A model is no arm of itself: what is not split off stays with it."
            yield Problem(f"{path}.model", "self_reference", message)
        elif arm in named:
            yield Problem(f"{path}.model", "duplicate", f"{arm} is named twice.")
        named.add(arm)
        if not 0 <= share <= 100:
            yield Problem(f"{path}.{word}", "out_of_range", f"{word} is per cent, from 0 to 100.")


def _sticky_problems(sticky: Sticky) -> Iterator[Problem]:
    if sticky.by is StickyBy.NONE:
        if sticky.name or sticky.set_cookie:
            message = "Say by what callers are told apart: by is header or cookie."
            yield Problem("traffic.sticky.by", "required", message)
        return
    if not _TOKEN.match(sticky.name):
        example = "X-User-ID" if sticky.by is StickyBy.HEADER else "session"
        message = f"name is the {sticky.by}'s name: letters, digits and -_. only, for example {example}."
        yield Problem("traffic.sticky.name", "invalid_name", message)
    if sticky.set_cookie and sticky.by is not StickyBy.COOKIE:
        yield Problem("traffic.sticky.set_cookie", "not_applicable", "Only by: cookie sets cookies.")


def _feature_problems(spec: Spec) -> Iterator[Problem]:
    """Features of language models have no meaning in models that make something else."""
    for name in IMPOSSIBLE_FEATURES.get(spec.type, ()) if spec.type else ():
        if getattr(spec.features, name):
            yield Problem(f"features.{name}", "not_applicable", f"A model of type {spec.type} has no {name}.")
    for index, group in enumerate(spec.groups):
        if not group.strip() or len(group) > 256 or not group.isprintable():
            yield Problem(f"groups[{index}]", "invalid_name", "A group's name has 1 to 256 printable characters.")


def _container_problems(spec: Spec) -> Iterator[Problem]:
    container, check = spec.container, spec.container.health_check
    for part, names in (("environment", container.environment), ("secrets", container.secrets)):
        for name in names:
            path = f"container.{part}.{name}"
            if not _ENVIRONMENT_NAME.match(name):
                yield Problem(path, "invalid_name", f"{name!r} is not a variable's name: letters, digits and _ only.")
            elif name.startswith("MODELYARD_"):
                yield Problem(path, "reserved_name", "Variables that start with MODELYARD_ are Modelyard's own.")
    for name, value in container.environment.items():
        if "\x00" in value:
            yield Problem(
                f"container.environment.{name}", "invalid_value", "A variable's value holds no NUL character."
            )
        if name in container.secrets:
            message = f"{name} is in container.environment, too: a variable has one value."
            yield Problem(f"container.secrets.{name}", "conflict", message)
    if (folder := container.working_dir) is not None and (
        not folder.startswith("/") or ".." in folder.split("/") or "\x00" in folder
    ):
        yield Problem("container.working_dir", "invalid_path", "working_dir is an absolute path without '..' or NUL.")
    elif folder is not None and (len(folder) > 4095 or max(map(len, folder.split("/"))) > 255):
        yield Problem("container.working_dir", "invalid_path", "working_dir has names of at most 255 characters.")
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


def label_problems(labels: Mapping[str, str]) -> Iterator[Problem]:
    """What is wrong with these as labels."""
    for key, value in labels.items():
        if not is_label_key(key):
            yield Problem(f"labels.{key}", "invalid_name", f"{key!r} is not a label's name.")
        if len(value) > 256:
            yield Problem(f"labels.{key}", "too_long", "A label's value has at most 256 characters.")
