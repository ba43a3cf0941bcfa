"""The requests on models as values: no I/O, shared by both clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import quote

import msgspec

from modelyard.client import history_types, traffic_types, types
from modelyard.client.calls import (
    API,
    EVERYWHERE,
    READ,
    Call,
    get,
    model_path,
    models_path,
    post,
    query,
    seconds,
    write,
)

_operation = partial(types.parse, types.Operation)
_forecast = partial(types.parse, types.Forecast)


def create_model(
    namespace: str, name: str, spec: Mapping[str, Any], desired: str, reason: str
) -> Call[types.Operation]:
    body = {"name": name, "spec": spec, "desired": desired, "reason": reason}
    return post(models_path(namespace), _operation, body)


def forecast_create(namespace: str, name: str, spec: Mapping[str, Any], desired: str) -> Call[types.Forecast]:
    body = {"name": name, "spec": spec, "desired": desired}
    return post(models_path(namespace), _forecast, body, dry_run=True)


def get_model(namespace: str, name: str) -> Call[types.Model]:
    return get(model_path(namespace, name), partial(types.parse, types.Model))


def list_models(
    namespace: str, *, state: Sequence[str], engine: str | None, label: Mapping[str, str] | None, search: str | None,
    sort: str | None, page_size: int | None,
) -> Call[types.Page[types.Model]]:  # fmt: skip
    everywhere = namespace == EVERYWHERE
    labels = [f"{key}={value}" for key, value in (label or {}).items()]
    return get(
        f"{API}/models" if everywhere else models_path(namespace), partial(types.parse_page, types.Model), READ,
        state=state, engine=engine, label=labels, search=search, sort=sort, page_size=page_size,
        all_namespaces=True if everywhere else None,
    )  # fmt: skip


def replace_model(
    namespace: str, name: str, spec: Mapping[str, Any], reason: str, version: int | None, acknowledge_restart: bool
) -> Call[types.Operation]:
    body = _change(spec, reason, acknowledge_restart)
    return write("PUT", model_path(namespace, name), _operation, body, version)


def patch_model(
    namespace: str, name: str, patch: Mapping[str, Any], reason: str, version: int | None, acknowledge_restart: bool
) -> Call[types.Operation]:
    body = _change(patch, reason, acknowledge_restart)
    return write("PATCH", model_path(namespace, name), _operation, body, version)


def _change(spec: Mapping[str, Any], reason: str, acknowledge_restart: bool) -> dict[str, Any]:
    return {"spec": spec, "reason": reason, "acknowledge_restart": acknowledge_restart}


def forecast_replace(namespace: str, name: str, spec: Mapping[str, Any]) -> Call[types.Forecast]:
    return write("PUT", model_path(namespace, name), _forecast, {"spec": spec}, dry_run=True)


def forecast_patch(namespace: str, name: str, patch: Mapping[str, Any]) -> Call[types.Forecast]:
    return write("PATCH", model_path(namespace, name), _forecast, {"spec": patch}, dry_run=True)


def delete_model(
    namespace: str, name: str, force: bool, timeout: float | str | None, reason: str, override: bool
) -> Call[types.Operation]:
    # A second DELETE would answer 404 for a model that the first has deleted.
    params = query(
        {"force": force or None, "timeout": seconds(timeout), "reason": reason, "override": override or None}
    )
    return Call(method="DELETE", path=model_path(namespace, name), read=_operation, params=params, repeatable=False)


def start_model(namespace: str, name: str, restore_autoscaling: bool, reason: str) -> Call[types.Operation]:
    body = {"restore_autoscaling": restore_autoscaling, "reason": reason}
    return post(model_path(namespace, name, "start"), _operation, body)


def forecast_start(namespace: str, name: str) -> Call[types.Forecast]:
    return post(model_path(namespace, name, "start"), _forecast, {}, dry_run=True)


def stop_model(
    namespace: str, name: str, force: bool, timeout: float | str | None, reason: str, override: bool
) -> Call[types.Operation]:
    return post(model_path(namespace, name, "stop"), _operation, _stop(force, timeout, reason, override))


def stop_models(
    namespace: str, names: Sequence[str], labels: Mapping[str, str] | None, every: bool, force: bool,
    timeout: float | str | None, reason: str, override: bool,
) -> Call[list[types.Stopped]]:  # fmt: skip
    everywhere = namespace == EVERYWHERE
    call = post(
        f"{API}/models/stop" if everywhere else f"{models_path(namespace)}/stop",
        partial(types.parse_items, types.Stopped),
        {**_stop(force, timeout, reason, override), "names": names, "labels": labels or {}, "all": every},
        keyed=False, all_namespaces=True if everywhere else None,
    )  # fmt: skip
    # What is stopped already is not stopped once more.
    return replace(call, repeatable=True)


def _stop(force: bool, timeout: float | str | None, reason: str, override: bool) -> dict[str, object]:
    body: dict[str, object] = {"graceful": not force, "reason": reason}
    if override:
        body["override"] = True
    return body if timeout is None else {**body, "timeout": timeout}


def restart_model(namespace: str, name: str, reason: str) -> Call[types.Operation]:
    return post(model_path(namespace, name, "restart"), _operation, {"reason": reason})


def redeploy_model(namespace: str, name: str, reason: str) -> Call[types.Operation]:
    return post(model_path(namespace, name, "redeploy"), _operation, {"reason": reason})


def roll_back(namespace: str, name: str, generation: int | None, reason: str) -> Call[types.Operation]:
    body = {"generation": generation, "reason": reason}
    return post(model_path(namespace, name, "rollback"), _operation, body)


def steer_rollout(namespace: str, name: str, verb: str, reason: str) -> Call[types.Status]:
    """``verb``: pause, resume, cancel, force, promote or abort."""
    path = model_path(namespace, name, "rollout", verb)
    return post(path, partial(types.parse, types.Status), {"reason": reason}, keyed=False)


def set_percent(namespace: str, name: str, percent: int, reason: str) -> Call[types.Status]:
    path, body = model_path(namespace, name, "rollout", "percent"), {"percent": percent, "reason": reason}
    return post(path, partial(types.parse, types.Status), body, keyed=False)


def model_metrics(
    namespace: str, name: str, start: datetime | None, end: datetime | None, step: float | str | None
) -> Call[history_types.ModelHistory]:
    return get(
        model_path(namespace, name, "metrics"), partial(types.parse, history_types.ModelHistory), READ,
        **{"from": None if start is None else start.isoformat()}, to=None if end is None else end.isoformat(),
        step=None if step is None else seconds(step),
    )  # fmt: skip


def model_traffic(namespace: str, name: str) -> Call[traffic_types.Traffic]:
    return get(model_path(namespace, name, "traffic"), partial(types.parse, traffic_types.Traffic))


def terminate_instance(
    namespace: str, name: str, instance: str, force: bool, timeout: float | str | None, reason: str
) -> Call[types.Operation]:
    path = model_path(namespace, name, "instances", quote(instance, safe=""))
    params = query({"force": force or None, "timeout": seconds(timeout), "reason": reason})
    return Call(method="DELETE", path=path, read=_operation, params=params, repeatable=False)


def model_status(namespace: str, name: str) -> Call[types.Status]:
    return get(model_path(namespace, name, "status"), partial(types.parse, types.Status))


def model_instances(namespace: str, name: str) -> Call[list[types.Instance]]:
    return get(model_path(namespace, name, "instances"), partial(types.parse_items, types.Instance))


def model_revisions(namespace: str, name: str) -> Call[list[types.Revision]]:
    return get(model_path(namespace, name, "revisions"), partial(types.parse_items, types.Revision))


def model_revision(namespace: str, name: str, generation: int) -> Call[types.Revision]:
    path = model_path(namespace, name, "revisions", str(generation))
    return get(path, partial(types.parse, types.Revision))


def revision_diff(namespace: str, name: str, generation: int, against: int | None) -> Call[types.Diff]:
    path = model_path(namespace, name, "revisions", str(generation), "diff")
    return get(path, partial(types.parse, types.Diff), READ, against=against)


def model_events(namespace: str, name: str, page_size: int | None) -> Call[types.Page[types.Event]]:
    path = model_path(namespace, name, "events")
    return get(path, partial(types.parse_page, types.Event), READ, page_size=page_size)


def model_logs(
    namespace: str, name: str, instance: str | None, tail: int | None, follow: bool
) -> Call[list[types.LogLine]]:
    return get(
        model_path(namespace, name, "logs"), _log_lines, None if follow else READ,
        instance=instance, tail=tail, follow=follow or None,
    )  # fmt: skip


def _log_lines(data: Any) -> list[types.LogLine]:
    return msgspec.convert(data["items"], list[types.LogLine])
