"""Triton's model repository extension: what models there are, and loading and unloading them.

Loading is Modelyard's start, unloading its stop: both are done by the control process and answered when they
are done, as Triton does. What that extension leaves open is settled so: a load that is not done within
``WAIT`` is answered with a 504, and goes on (the index tells how far it is); a model that is loaded already
is not loaded again, as its files never change; a load with other files or another configuration than the
model's own is refused, as that would be an update.
Source: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from time import monotonic
from typing import Any, Final, NamedTuple

import orjson

from modelyard.domain.states import State
from modelyard.gateway.access import Access
from modelyard.gateway.exchange import JSON_TYPE, Exchange
from modelyard.gateway.problems import BodyLimit, Refusal, retry_after, unauthenticated
from modelyard.gateway.proxy import Proxy
from modelyard.gateway.routes import NotServing
from modelyard.gateway.served import RouteTable, ServedModel

# Seconds for a load or an unload to be done. Triton's own client waits for 60.
WAIT: Final = 55.0
_BODY: Final = BodyLimit(64 * 2**10, "nothing: a request to the repository is small")
# Seconds without a byte of a request's body; between two questions to a control process that is away.
_BODY_IDLE: Final = 10.0
_PAUSE: Final = 0.25

_STATES: Final = {
    State.QUEUED: "LOADING",
    State.STARTING: "LOADING",
    State.STOPPING: "UNLOADING",
    State.DELETING: "UNLOADING",
}
# Nothing here depends on another model.
_KNOWN_PARAMETERS: Final = {"load": frozenset(), "unload": frozenset({"unload_dependents"})}
_UNDER_WAY: Final = ("already_starting", "already_queued")
_COMMANDS: Final = {"load": "start", "unload": "stop"}


async def visible(
    routes: RouteTable, access: Access, authorization: bytes | None, namespace: str
) -> list[tuple[ServedModel, bool]]:
    """The models of ``namespace`` that the caller may know of, and whether it may know why one does not serve, too:
    without a token there are the public ones, without that.

    Raises:
        Refusal: a token was shown, but is none.
    """
    if authorization is not None:
        await access.identify(authorization)
    there = [model for model in routes if model.route.namespace == namespace]
    found = [(model, access.reads(authorization, model.route)) for model in there]
    return [(model, reads) for model, reads in found if reads or model.route.public]


def index(models: Iterable[tuple[ServedModel, bool]], *, ready: bool) -> Iterator[dict[str, str]]:
    """An entry for each version that serves and, unless only what is ``ready`` is asked for, for each model
    that does not: with each comes whether to tell what may name paths and quote exceptions."""
    for model, reason in sorted(models, key=lambda found: found[0].route.name):
        route, versions = model.route, model.versions
        for version in versions:
            yield {"name": route.name, "version": version, "state": "READY", "reason": ""}
        if not versions and not ready:
            yield {
                "name": route.name,
                "version": str(route.generation),
                "state": _STATES.get(route.state, "UNAVAILABLE"),
                "reason": NotServing(route, reason=reason).detail,
            }


def check_parameters(action: str, parameters: Mapping[str, Any]) -> None:
    """Raises:
    Refusal: there is one that cannot be followed.
    """
    for name in parameters:
        if name not in _KNOWN_PARAMETERS[action]:
            raise Refusal(
                400,
                "unsupported_parameter",
                f"Models are loaded as their specs say, so {action} takes no parameter {name[:64]!r}. Change the model "
                "with 'modelyard update' or deploy another version.",
            )


class Caller(NamedTuple):
    """On whose behalf the control process is asked: the ``authorization`` and the id of the request, the caller's
    address and program."""

    authorization: str
    request_id: str
    address: str = ""
    client: str = ""

    @property
    def headers(self) -> dict[str, str]:
        said = {"X-Forwarded-For": self.address, "User-Agent": self.client}
        known = {name: value for name, value in said.items() if value}
        return {"Authorization": self.authorization, "X-Request-ID": self.request_id, **known}


async def command(proxy: Proxy, caller: Caller, action: str, namespace: str, name: str) -> None:
    """``load`` or ``unload`` a model, to the end.

    Raises:
        Refusal: it failed, is not to be, or was not done in time.
    """
    until = monotonic() + WAIT
    operation = await _begun(proxy, caller, action, namespace, name)
    while operation is not None and not operation["done"]:
        left = until - monotonic()
        if left <= 0:
            raise Refusal(
                504,
                "not_done_yet",
                f"The {action} of model {name!r} was not done within {WAIT:g} s. It goes on as operation "
                f"{operation['id']}; the repository's index says how far it is.",
                headers=[retry_after(5)],
                retry_after=5,
                operation=operation["id"],
            )
        try:
            path = f"/api/v1/operations/{operation['id']}/wait?timeout={left:.3f}"
            operation = _checked(*await proxy.ask("GET", path, caller.headers, left + 1))
        except Refusal as refusal:
            if refusal.code != "control_unavailable":
                raise
            # The next control process goes on with the operation.
            await asyncio.sleep(_PAUSE)
    if operation is not None and operation["error"] is not None:
        error = operation["error"]
        raise Refusal(400, error["code"], f"The {action} of model {name!r} failed: {error['message']}")


async def _begun(proxy: Proxy, caller: Caller, action: str, namespace: str, name: str) -> Any:
    """The operation to wait for: a new one, or one that is under way already; None if nothing is to be done."""
    path = f"/api/v1/namespaces/{namespace}/models/{name}/{_COMMANDS[action]}"
    status, document = await proxy.ask("POST", path, caller.headers, WAIT)
    code = document.get("code") if status == 409 else None
    if code == "already_running":
        return None
    if code in _UNDER_WAY:
        path = f"/api/v1/operations?namespace={namespace}&model={name}&done=false&page_size=1"
        status, document = await proxy.ask("GET", path, caller.headers, WAIT)
        return next(iter(_checked(status, document)["items"]), None)
    return _checked(status, document)


def _checked(status: int, document: Any) -> Any:
    """The document; what the control process refused is refused here."""
    if status < 300:
        return document
    raise Refusal(status, document.get("code", "refused"), document.get("detail", "The control process refused."))


# ------------------------------------------------------------------ over HTTP


async def answer_index(exchange: Exchange, models: Iterable[tuple[ServedModel, bool]]) -> None:
    document = await _document(exchange)
    ready = document.get("ready", False)
    if type(ready) is not bool:
        raise Refusal(422, "invalid_request", "ready is true or false.")
    entries = list(index(models, ready=ready))
    await exchange.respond(200, JSON_TYPE, orjson.dumps(entries))


async def answer_command(exchange: Exchange, proxy: Proxy, action: str, namespace: str, name: str) -> None:
    """For callers who have shown the token."""
    document = await _document(exchange)
    parameters = document.get("parameters", {})
    if type(parameters) is not dict:
        raise Refusal(422, "invalid_request", "parameters must be an object.")
    check_parameters(action, parameters)
    authorization = exchange.headers.get(b"authorization")
    if authorization is None:
        raise unauthenticated()
    address = exchange.scope["client"][0] if exchange.scope["client"] else ""
    client = exchange.headers.get(b"user-agent", b"").decode("latin-1")
    caller = Caller(authorization.decode("latin-1"), exchange.id.decode(), address, client)
    exchange.guard(None)
    try:
        await command(proxy, caller, action, namespace, name)
    except asyncio.CancelledError:
        end = exchange.ended(0)
        if end is None:
            raise
        raise end from None
    finally:
        exchange.unguard()
    await exchange.respond(200, JSON_TYPE, b"{}")


async def _document(exchange: Exchange) -> dict[str, Any]:
    """The body's JSON object; none at all is an empty one."""
    exchange.check_length(_BODY)
    body = b"".join([piece async for piece in exchange.chunks(_BODY, _BODY_IDLE)])
    try:
        document = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise Refusal(400, "invalid_json", f"The body is not valid JSON: {error}.") from None
    if type(document) is not dict:
        raise Refusal(400, "invalid_json", "The body must be a JSON object.")
    return document
