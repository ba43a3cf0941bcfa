"""Registered models as sources: what a request's source stands for, found out before the rest of it is read."""

from __future__ import annotations

from modelyard.api import schemas
from modelyard.control.checks import SpecChecks
from modelyard.domain.access import Principal
from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.domain.spec import Artifact, Engine


async def with_source(
    body: schemas.Spec, namespace: str, checks: SpecChecks, viewer: Principal | None,
    had: str | None = None, made_of: Artifact | None = None,
) -> tuple[schemas.Spec, Artifact | None, list[Problem]]:  # fmt: skip
    """The request with the engine that its registered source tells, where it names none; what that source stands for
    (None for any other source); and what is wrong with it. With ``made_of`` the source goes on to stand for that
    version, and only what the engine loads of it is found out. A source that is not there for the ``viewer`` is
    missing, unless it is the one that the model ``had``. A request whose source is wrong is read as if it were a
    mock, so that what else is wrong can be said too."""
    source = body.source
    if source is not None and made_of is not None:
        source = f"{source.partition('@')[0]}@{made_of.version}"
    try:
        resolved = await checks.resolve(namespace, source, body.engine, None if body.source == had else viewer)
    except InvalidRequest as invalid:
        if body.engine is None:
            body = body.model_copy(update={"engine": Engine.MOCK, "options": {}})
        return body, None, list(invalid.problems)
    if resolved is None:
        return body, None, []
    return body.model_copy(update={"engine": resolved.engine}), resolved.artifact, []
