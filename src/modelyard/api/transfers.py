"""Transfers: having the server fetch a source, and what becomes of it.

Annotations are evaluated here, as in :mod:`modelyard.api.models`.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from modelyard.api import schemas
from modelyard.api.context import (
    CallerDep,
    PageSize,
    PageToken,
    ToEdit,
    ToEditSomewhere,
    ToReadSomewhere,
    answer,
    by,
    caller_of,
)
from modelyard.api.registered import identity_in, notes_in
from modelyard.control.ports import Idempotency
from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.domain.registry import Content
from modelyard.domain.transfers import Order, Transfer
from modelyard.registry.ports import TransferQuery

_MAX_WAIT: Final = 300.0
# Nothing is known of the bytes yet.
_NO_CONTENT: Final = Content(manifest="", size=0, files=0)
_OVER: dict[int | str, dict[str, Any]] = {
    200: {"model": schemas.Transfer, "description": "This Idempotency-Key led to a transfer that is over by now."}
}

TransferId = Annotated[str, Path(description="The transfer's id.")]

transfers = APIRouter(prefix="/registry/transfers", tags=["transfers"])


@transfers.get("", response_model=schemas.Page[schemas.Transfer], summary="Transfers, newest first")
async def list_transfers(
    services: ToReadSomewhere,
    request: Request,
    namespace: Annotated[str | None, Query()] = None,
    model: Annotated[str | None, Query(description="The registered model.")] = None,
    done: Annotated[bool | None, Query(description="Only those that are over, or only the others.")] = None,
    page_size: PageSize = 50, page_token: PageToken = "",
) -> Response:  # fmt: skip
    page = await services.transfers.list(
        TransferQuery(
            namespace=namespace, model=model, done=done, page_size=page_size, page_token=page_token,
            sight=caller_of(request).sight,
        )
    )  # fmt: skip
    items = [transfer_out(transfer) for transfer in page.items]
    return answer(schemas.Page[schemas.Transfer](items=items, next_page_token=page.next_page_token))


@transfers.get("/{transfer}", response_model=schemas.Transfer, summary="One transfer, and how far it is")
async def get_transfer(transfer: TransferId, services: ToReadSomewhere, request: Request) -> Response:
    return answer(transfer_out(await services.transfers.get(transfer, caller_of(request))))


@transfers.get("/{transfer}/wait", response_model=schemas.Transfer, summary="Wait until a transfer is over")
async def wait_transfer(
    transfer: TransferId, services: ToReadSomewhere, request: Request,
    timeout: Annotated[schemas.Duration, Query(description="At most 5m; then the transfer as it stands.")] = 30.0,
) -> Response:  # fmt: skip
    if timeout > _MAX_WAIT:
        raise InvalidRequest([Problem("query.timeout", "out_of_range", "Wait at most 5m a call, and call again.")])
    return answer(transfer_out(await services.transfers.wait(transfer, timeout, caller_of(request))))


@transfers.post("/{transfer}/cancel", response_model=schemas.Transfer, summary="Cancel a transfer")
async def cancel_transfer(transfer: TransferId, caller: CallerDep, services: ToEditSomewhere) -> Response:
    """Nothing is published then. What was stored already is garbage, which is removed after its grace."""
    return answer(transfer_out(await services.transfers.cancel(transfer, caller.actor, caller.principal)))


def add(router: APIRouter, namespace: Callable[..., Awaitable[str]]) -> None:
    """The routes below one registered model."""
    Namespace = Annotated[str, Depends(namespace)]  # noqa: N806 - it is a type

    @router.post(
        "/{name}/imports", status_code=202, response_model=schemas.Transfer, responses=_OVER,
        summary="Have the server fetch a source and publish it",
    )  # fmt: skip
    async def import_version(
        name: Annotated[str, Path(description="The registered model; made when it is not there.", examples=["pat"])],
        body: schemas.ImportVersion, ns: Namespace, caller: CallerDep, services: ToEdit,
    ) -> Response:  # fmt: skip
        """What can be refused is refused at once; then the answer is the transfer to watch. The bytes go into the store
        only, and nothing is published unless all of them are there and may be in a version."""
        order = Order(
            version=body.version, bump=body.bump, aliases=tuple(dict.fromkeys(body.aliases)),
            include=tuple(body.include), exclude=tuple(body.exclude),
            identity=identity_in(body, _NO_CONTENT, tuple(sorted(set(map(str, body.trust))))), notes=notes_in(body),
        )  # fmt: skip
        key = caller.idempotency if isinstance(caller.idempotency, Idempotency) else None
        begun = await services.transfers.begin_import(ns, name, body.source, order, by(caller, body.reason), key)
        headers = {"Location": f"/api/v1/registry/transfers/{begun.id}"}
        return answer(transfer_out(begun), 200 if begun.is_over else 202, headers)


def transfer_out(transfer: Transfer) -> schemas.Transfer:
    error = transfer.error
    return schemas.Transfer(
        id=transfer.id,
        kind=transfer.kind,
        namespace=transfer.namespace,
        model=transfer.model,
        version=transfer.version,
        manifest=transfer.manifest or None,
        source=transfer.source,
        state=transfer.state,
        done=transfer.is_over,
        phase=transfer.phase,
        bytes_done=transfer.done,
        bytes_total=transfer.total,
        rate=transfer.rate,
        seconds_left=transfer.seconds_left,
        error=schemas.TransferError(code=error.code, message=error.message) if error else None,
        attempt=transfer.attempt,
        site=transfer.site,
        actor=transfer.actor,
        reason=transfer.reason,
        created_at=transfer.created_at,
        updated_at=transfer.updated_at,
        ended_at=transfer.ended_at,
    )
