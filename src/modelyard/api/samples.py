"""Bundled samples, deployed in one call, under both path forms.

Annotations are evaluated here, as in :mod:`modelyard.api.models`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Response

from modelyard.api import schemas
from modelyard.api.answers import model_out
from modelyard.api.context import CallerDep, Known, Services, ToEdit, answer
from modelyard.api.ledgers import around
from modelyard.api.sealing import sealing
from modelyard.api.translate import spec_in
from modelyard.control.caller import Caller
from modelyard.control.samples import Sample
from modelyard.domain.errors import AlreadyExists
from modelyard.domain.names import DEFAULT_NAMESPACE, FileSource
from modelyard.domain.states import RunState

_NEW: dict[int | str, dict[str, Any]] = {201: {"model": schemas.Model, "description": "It is deployed, and starts."}}


async def _short_form() -> str:
    return DEFAULT_NAMESPACE


async def _long_form(namespace: Annotated[str, Path(description="The namespace's name.")]) -> str:
    return namespace


def _build_router(prefix: str, namespace: Callable[..., Awaitable[str]], tag: str) -> APIRouter:
    router = APIRouter(prefix=prefix, tags=[tag])
    Namespace = Annotated[str, Depends(namespace)]  # noqa: N806 - it is a type

    @router.post("/{name}", response_model=schemas.Model, responses=_NEW, summary="Deploy a bundled sample")
    async def deploy(
        name: Annotated[str, Path(description="The sample's name, which becomes the model's.", examples=["digits"])],
        ns: Namespace,
        caller: CallerDep,
        services: ToEdit,
    ) -> Response:
        """A sample that is deployed already is left as it is. The first one takes seconds: it is trained."""
        sample = await services.samples.have(name)
        is_new = await _deploy(services, ns, sample, caller)
        model = await services.models.get(ns, name, caller.principal)
        if model.spec.source != str(FileSource(str(sample.path))):
            message = f"The model {model.ref} exists already and is not the sample. Choose another namespace for it."
            raise AlreadyExists(message)
        beside = await around(services, [model], caller.principal)
        return answer(model_out(model, beside), 201 if is_new else 200)

    return router


async def _deploy(services: Services, namespace: str, sample: Sample, caller: Caller) -> bool:
    """Whether it was not there yet."""
    wish = schemas.Spec.model_validate(
        {"source": str(sample.path), "description": sample.description, "resources": {"memory": sample.memory}}
    )
    spec, found = spec_in(wish, sealing(services.secrets, namespace))
    caller = replace(caller, reason="sample")
    try:
        await services.models.create(namespace, sample.name, spec, RunState.RUNNING, caller, found)
    except AlreadyExists:
        return False
    return True


listed = APIRouter(prefix="/samples", tags=["samples"])


@listed.get("", response_model=schemas.Items[schemas.Sample], summary="Bundled samples")
async def list_samples(services: Known) -> Response:
    """Small real models to try things on."""
    found = [schemas.Sample(name=one.name, description=one.description) for one in services.samples.all()]
    return answer(schemas.Items[schemas.Sample](items=found))


def routers() -> list[APIRouter]:
    return [
        listed,
        _build_router("/samples", _short_form, "samples"),
        _build_router("/namespaces/{namespace}/samples", _long_form, "samples by namespace"),
    ]
