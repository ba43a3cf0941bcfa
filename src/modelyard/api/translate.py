"""From the API's shapes to the domain's. The way back is in :mod:`modelyard.api.answers`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any

from pydantic import BaseModel

from modelyard.api import schemas
from modelyard.api.answers import spec_out
from modelyard.api.sealing import Seal
from modelyard.domain import spec as wish
from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.domain.model import Quota
from modelyard.domain.names import InvalidReference, parse_reference
from modelyard.domain.rates import Rate


def spec_in(body: schemas.Spec, seal: Seal) -> tuple[wish.Spec, list[Problem]]:
    """The wish that a request spells out, and what is wrong with how it is spelled. ``seal``: what is made of secrets.

    Where neither the request nor its source tells the engine, the rest is read as if it were a mock, so
    that what else is wrong can be said too.
    """
    container, check, rollout = body.container, body.container.health_check, body.rollout
    engine = body.engine or wish.ENGINE_OF_SUFFIX.get(PurePosixPath(body.source or "").suffix.lower())
    if engine is None:
        known = ", ".join(sorted(wish.ENGINE_OF_SUFFIX))
        message = f"Say which engine runs this model: its source's suffix does not tell (known: {known})."
        unknown = [Problem("spec.engine", "required", message)]
        body = body.model_copy(update={"engine": wish.Engine.MOCK, "source": None, "options": {}})
        read, problems = spec_in(body, seal)
        return read, unknown + problems
    sealed, problems = seal(container.secrets)
    spec = wish.Spec(
        engine=engine,
        source=_canonical(body.source),
        follow=body.follow,
        backend=body.backend,
        options=body.options,
        resources=wish.Resources(**_fields(body.resources)),
        replicas=wish.Replicas(**_fields(body.replicas)),
        container=wish.Container(
            environment=container.environment,
            secrets=sealed,
            working_dir=container.working_dir,
            shared_memory=container.shared_memory,
            health_check=wish.HealthCheck(**_fields(check) | {"command": tuple(check.command)}),
        ),
        limits=wish.Limits(
            **_fields(body.limits) | {"rate": Rate(**_fields(body.limits.rate)) if body.limits.rate else None}
        ),
        type=body.type,
        features=wish.Features(**_fields(body.features)),
        autoscaling=wish.Autoscaling(**_fields(body.autoscaling)),
        rollout=wish.Rollout(
            strategy=rollout.strategy,
            progress_deadline=rollout.progress_deadline,
            probe=wish.Probe(**_fields(rollout.probe)) if rollout.probe else None,
            canary=wish.Canary(**_fields(rollout.canary) | {"steps": tuple(rollout.canary.steps)})
            if rollout.canary
            else None,
        ),
        traffic=wish.Traffic(
            split=tuple(wish.SplitArm(**_fields(arm)) for arm in body.traffic.split),
            sticky=wish.Sticky(**_fields(body.traffic.sticky)),
            shadow=tuple(wish.Shadow(**_fields(shadow)) for shadow in body.traffic.shadow),
        ),
        priority=body.priority,
        preempt=body.preempt,
        pin=body.pin,
        groups=tuple(body.groups),
        public=body.public,
        trusted=body.trusted,
        description=body.description,
        labels=body.labels,
    )
    return spec, problems


def _fields(part: BaseModel) -> dict[str, Any]:
    """The values of a part whose fields are named as the domain's are."""
    return {name: getattr(part, name) for name in type(part).model_fields}


def _canonical(source: str | None) -> str | None:
    """One spelling a source, so that equal wishes are equal; what cannot be read is left for the rules to refuse."""
    try:
        return None if source is None else str(parse_reference(source))
    except InvalidReference:
        return source


def merge_patch(document: Any, patch: Any) -> Any:
    """JSON merge patch, RFC 7396 section 2."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(document) if isinstance(document, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def patched(spec: wish.Spec, patch: Mapping[str, Any]) -> dict[str, Any]:
    """The document of ``spec`` with a merge patch applied."""
    merged = merge_patch(json.loads(spec_out(spec).model_dump_json()), patch)
    assert isinstance(merged, dict)
    return merged


def field_problem(loc: tuple[int | str, ...], kind: str, message: str) -> Problem:
    """A pydantic error in our words; ``loc`` becomes ``spec.options.command[0]``."""
    path = ""
    for part in loc:
        if part == "[key]":
            # A mapping's key is wrong, not what stands under it: its path says which.
            continue
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    code = {"missing": "required", "extra_forbidden": "unknown_field", "enum": "unknown_value"}.get(
        kind, "invalid_value"
    )
    if kind == "json_invalid":
        code = "invalid_json"
    if kind == "extra_forbidden":
        message = "There is no such field here; check its spelling."
    if kind.startswith("datetime_"):
        message = "Write a time with its zone, for example 2030-01-01T08:00:00Z."
    return Problem(path, code, message.removeprefix("Value error, "))


def labels_in(items: Sequence[str] | None) -> dict[str, str]:
    """What a query's ``label=key=value`` parameters ask for. Raises InvalidRequest."""
    labels = {}
    for item in items or ():
        key, equals, value = item.partition("=")
        if not equals:
            raise InvalidRequest([Problem("query.label", "invalid_value", f"{item!r}: write a label as key=value.")])
        labels[key] = value
    return labels


def quota_in(body: schemas.QuotaIn, before: Quota = Quota()) -> Quota:
    """What is left out is as ``before``."""
    return replace(before, **{name: getattr(body, name) for name in body.model_fields_set})


def duration_in(seconds: float) -> timedelta:
    """As long as is counted at all where it is longer than that: the rule that bounds it says so."""
    try:
        return timedelta(seconds=seconds)
    except OverflowError:
        return timedelta.max
