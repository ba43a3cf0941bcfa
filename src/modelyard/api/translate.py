"""Between the API's shapes and the domain's: the only place that knows both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from modelyard.api import schemas
from modelyard.domain import model as domain
from modelyard.domain import operations
from modelyard.domain import spec as wish
from modelyard.domain.errors import Problem
from modelyard.domain.names import DEFAULT_NAMESPACE, InvalidReference, parse_reference
from modelyard.domain.states import allowed_commands

# ------------------------------------------------------------------------------------------ incoming


def spec_in(body: schemas.Spec) -> tuple[wish.Spec, list[Problem]]:
    """The wish that a request spells out, and what is wrong with how it is spelled.

    Where neither the request nor its source tells the engine, the rest is read as if it were a mock, so
    that what else is wrong can be said too.
    """
    container, check = body.container, body.container.health_check
    engine = body.engine or wish.ENGINE_OF_SUFFIX.get(PurePosixPath(body.source or "").suffix.lower())
    if engine is None:
        known = ", ".join(sorted(wish.ENGINE_OF_SUFFIX))
        message = f"Say which engine runs this model: its source's suffix does not tell (known: {known})."
        unknown = [Problem("spec.engine", "required", message)]
        read, problems = spec_in(body.model_copy(update={"engine": wish.Engine.MOCK, "source": None, "options": {}}))
        return read, unknown + problems
    spec = wish.Spec(
        engine=engine,
        source=_canonical(body.source),
        backend=body.backend,
        options=body.options,
        resources=wish.Resources(cpu=body.resources.cpu, memory=body.resources.memory, gpus=body.resources.gpus),
        replicas=wish.Replicas(min=body.replicas.min, max=body.replicas.max),
        container=wish.Container(
            environment=container.environment,
            working_dir=container.working_dir,
            shared_memory=container.shared_memory,
            health_check=wish.HealthCheck(
                command=tuple(check.command),
                path=check.path,
                interval=check.interval,
                start_period=check.start_period,
                timeout=check.timeout,
                retries=check.retries,
            ),
        ),
        limits=wish.Limits(
            request_timeout=body.limits.request_timeout,
            max_body=body.limits.max_body,
            max_queue=body.limits.max_queue,
        ),
        public=body.public,
        trusted=body.trusted,
        description=body.description,
        labels=body.labels,
    )
    return spec, []


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
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    code = {"missing": "required", "extra_forbidden": "unknown_field", "enum": "unknown_value"}.get(
        kind, "invalid_value"
    )
    if kind == "json_invalid":
        code = "invalid_json"
    if kind == "extra_forbidden":
        message = "There is no such field here; check its spelling."
    return Problem(path, code, message.removeprefix("Value error, "))


# ------------------------------------------------------------------------------------------ outgoing


def spec_out(spec: wish.Spec) -> schemas.Spec:
    return schemas.Spec.model_validate(spec, from_attributes=True)


def model_out(model: domain.Model) -> schemas.Model:
    return schemas.Model(
        namespace=model.namespace,
        name=model.name,
        uid=model.uid,
        generation=model.generation,
        version=model.version,
        desired=model.desired,
        created_at=model.created_at,
        updated_at=model.updated_at,
        spec=spec_out(model.spec),
        status=status_out(model),
    )


def status_out(model: domain.Model) -> schemas.Status:
    status = model.status
    failure = status.failure or (status.rolled_back.failure if status.rolled_back else None)
    return schemas.Status(
        namespace=model.namespace,
        name=model.name,
        state=status.state,
        message=_message(model),
        desired=model.desired,
        generation=model.generation,
        target_generation=status.target.generation,
        last_transition=schemas.Transition.model_validate(status.transition, from_attributes=True),
        conditions=[schemas.Condition.model_validate(c, from_attributes=True) for c in status.conditions],
        instances=[instance_out(i) for i in status.instances],
        instances_ready=sum(1 for i in status.instances if i.phase is domain.InstancePhase.READY),
        instances_desired=model.spec.replicas.min if model.desired == "running" else 0,
        resource_allocation=_allocation(model),
        endpoints=_endpoints(model),
        released=_released(status.released) if status.released else None,
        failure=_failure(failure) if failure else None,
        rolled_back_from=status.rolled_back.target.generation if status.rolled_back else None,
        retry_at=status.retry_at,
        allowed_commands=list(allowed_commands(status.state)),
    )


def _message(model: domain.Model) -> str:
    """The sentence beside the state: the Ready condition's where it says more than the transition."""
    ready = model.status.condition(domain.ConditionType.READY)
    degraded = model.status.condition(domain.ConditionType.DEGRADED)
    if degraded is not None and degraded.status:
        return degraded.message
    return ready.message if ready is not None and ready.message else model.status.transition.message


def instance_out(instance: domain.Instance) -> schemas.Instance:
    return schemas.Instance(
        id=instance.id,
        generation=instance.target.generation,
        phase=instance.phase,
        since=instance.since,
        pid=instance.pid,
        memory=instance.memory,
        processes=instance.processes,
        message=instance.message,
    )


def _allocation(model: domain.Model) -> schemas.ResourceAllocation:
    instances, resources = model.status.instances, model.target_spec.resources
    return schemas.ResourceAllocation(
        instances=len(instances),
        cpu=resources.cpu * len(instances),
        memory_limit=None if resources.memory is None else resources.memory * len(instances),
        memory_resident=sum(i.memory for i in instances),
        gpus=resources.gpus * len(instances),
    )


def _endpoints(model: domain.Model) -> schemas.Endpoints:
    if model.spec.engine is wish.Engine.COMMAND:
        proxy = f"/proxy/{model.namespace}/{model.name}/"
        return schemas.Endpoints(infer=None, ready=None, metadata=None, proxy=proxy)
    prefix = "" if model.namespace == DEFAULT_NAMESPACE else f"/namespaces/{model.namespace}"
    base = f"{prefix}/v2/models/{model.name}"
    return schemas.Endpoints(infer=f"{base}/infer", ready=f"{base}/ready", metadata=base, proxy=None)


def _released(released: domain.Released) -> schemas.Released:
    return schemas.Released(
        at=released.at,
        took_seconds=released.took_seconds,
        instances=released.instances,
        processes=released.processes,
        memory=released.memory,
        requests=schemas.Requests.model_validate(released.requests, from_attributes=True),
    )


def _failure(failure: domain.Failure) -> schemas.Failure:
    return schemas.Failure(code=failure.code, message=failure.message, instance=failure.instance, log=list(failure.log))


def revision_out(revision: domain.Revision) -> schemas.Revision:
    return schemas.Revision(
        generation=revision.generation,
        spec=spec_out(revision.spec),
        created_at=revision.created_at,
        actor=revision.actor,
        reason=revision.reason,
    )


def operation_out(operation: operations.Operation) -> schemas.Operation:
    return schemas.Operation(
        id=operation.id,
        kind=operation.kind,
        namespace=operation.namespace,
        model=operation.model,
        actor=operation.actor,
        reason=operation.reason,
        state=operation.state,
        done=operation.done,
        created_at=operation.created_at,
        updated_at=operation.updated_at,
        steps=[schemas.Step.model_validate(s, from_attributes=True) for s in operation.steps],
        result=dict(operation.result) if operation.result is not None else None,
        error=schemas.OperationError.model_validate(operation.error) if operation.error is not None else None,
    )


def event_out(event: domain.Event) -> schemas.Event:
    return schemas.Event(
        id=event.id,
        at=event.at,
        namespace=event.namespace,
        model=event.model,
        type=event.type,
        reason=event.reason,
        message=event.message,
        actor=event.actor,
        data=dict(event.data),
    )


def namespace_out(namespace: domain.Namespace) -> schemas.Namespace:
    return schemas.Namespace(name=namespace.name, description=namespace.description, created_at=namespace.created_at)
