"""The Open Inference Protocol V2 (https://github.com/kserve/open-inference-protocol), REST form.

Bodies are opaque here: the worker reads and checks them. What the gateway adds is the choice of an
instance, the queue, the deadline, and what is said when there is nobody to answer.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any, Final

import orjson

from modelyard import __version__
from modelyard.domain.states import State
from modelyard.gateway.exchange import CLIENT_GONE, JSON_TYPE, ClientGone, Exchange
from modelyard.gateway.holding import until_it_serves
from modelyard.gateway.problems import Header, Refusal, instance_lost
from modelyard.gateway.routes import NotServing
from modelyard.gateway.served import Endpoint, ServedModel, Wanted
from modelyard.runtime.frames import Buffer, ConnectionLost, Head, NotSent

_OCTETS: Final = "application/octet-stream"
_CONTENT_TYPES: Final = {
    b"application/json": "application/json",
    b"application/octet-stream": _OCTETS,
    b"application/vnd.sagemaker-triton.binary+json": _OCTETS,
}
_LENGTH_HEADER: Final = b"inference-header-content-length"

SERVER_METADATA: Final = orjson.dumps(
    {"name": "modelyard", "version": __version__, "extensions": ["binary_tensor_data"]}
)


async def infer(exchange: Exchange, model: ServedModel, wanted: Wanted) -> None:
    """Have a worker answer one inference request, and count it."""
    try:
        head, body = await _ask(exchange, model, wanted)
    except Refusal as refusal:
        model.refuse(refusal)
        if refusal.status == 504:
            model.stats.observe(monotonic() - exchange.began)
        raise
    except ClientGone:
        model.stats.count(CLIENT_GONE)
        raise
    model.stats.count(head.status)
    model.stats.observe(monotonic() - exchange.began)
    params = head.params
    content_type = params.get("content_type", "application/json").encode()
    length = params.get("header_length")
    headers: tuple[Header, ...] = () if length is None else ((_LENGTH_HEADER, b"%d" % length),)
    await exchange.respond(head.status, content_type, body, headers)


async def _ask(exchange: Exchange, model: ServedModel, wanted: Wanted) -> tuple[Head, Buffer]:
    route = model.route
    params = _infer_params(exchange)
    if wanted.version is not None:
        params["version"] = wanted.version
    model.admit(wanted)
    try:
        exchange.guard(route.request_timeout)
        content = await exchange.body(model.body_limit)
        length = params.get("header_length")
        if length is not None and length > len(content):
            raise _bad_header_length(f"is {length}, but the body has {len(content)} bytes")
        while True:
            try:
                return await forward(model, wanted, Head("infer", 0, params), content)
            except NotServing:
                # It went idle while this request's body came.
                if not model.holds(wanted.version):
                    raise
                await until_it_serves(exchange, model, wanted.version)
    except asyncio.CancelledError:
        end = exchange.ended(route.request_timeout)
        if end is None:
            raise
        raise end from None
    finally:
        exchange.unguard()
        model.leave()


def _infer_params(exchange: Exchange) -> dict[str, Any]:
    """What the worker must know beside the body.

    Raises:
        Refusal: a header that says how to read the body is wrong.
    """
    headers = exchange.headers
    params: dict[str, Any] = {"id": exchange.id.decode(), "path": exchange.path}
    length = headers.get(_LENGTH_HEADER)
    if length is not None:
        if not length.isdigit() or len(length) > 12:
            raise _bad_header_length("is not a number of bytes")
        params["header_length"] = int(length)
    given = headers.get(b"content-type")
    if given is None:
        params["content_type"] = "application/json" if length is None else _OCTETS
    else:
        content_type = _CONTENT_TYPES.get(given) or _CONTENT_TYPES.get(given.partition(b";")[0].strip().lower())
        if content_type is None:
            raise Refusal(
                415,
                "unsupported_media_type",
                f"Inference takes application/json, or application/octet-stream with Inference-Header-Content-Length, "
                f"not {given.decode('latin-1')[:100]!r}. With curl: -H 'Content-Type: application/json'.",
            )
        params["content_type"] = content_type
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise Refusal(
            415,
            "unsupported_content_encoding",
            "Inference bodies are taken uncompressed: send the request without Content-Encoding.",
            headers=[(b"accept-encoding", b"identity")],
        )
    accept = headers.get(b"accept")
    if accept is not None and accept != b"*/*":
        params["accept"] = accept.decode("latin-1")
    return params


def _bad_header_length(what: str) -> Refusal:
    return Refusal(400, "invalid_header", f"Inference-Header-Content-Length {what}.")


async def forward(
    model: ServedModel, wanted: Wanted, head: Head, body: Buffer, *, probe: bool = False
) -> tuple[Head, Buffer]:
    """Have one of the workers that are wanted answer.

    An instance that cannot be reached, or that is ending and says so, has done nothing: the next one is
    asked. One that is lost after the request left may have done anything: that is for the caller to judge.

    Raises:
        Refusal: none could, or the one asked was lost.
    """
    tried: tuple[Endpoint, ...] = ()
    while True:
        endpoint = model.choose(wanted, tried, probe=probe)
        answered = cut = False
        try:
            peer = endpoint.link.peer
            if peer is None or peer.closed:
                peer = await endpoint.link.connect()
            answer, content = await peer.request(head, body)
            answered = not _is_draining(answer, content)
        except NotSent:
            endpoint.shun()
        except ConnectionLost:
            cut = True
            endpoint.shun()
            raise instance_lost(model.route.name) from None
        except OSError:
            endpoint.shun()
        finally:
            model.release(endpoint, answered=answered, cut=cut, probe=probe)
        if answered:
            return answer, content
        tried = (*tried, endpoint)


def _is_draining(answer: Head, content: Buffer) -> bool:
    """Whether a worker that is ending took nothing of the request."""
    return answer.status == 503 and b'"draining"' in bytes(content)


async def ready(exchange: Exchange, model: ServedModel, version: str | None) -> None:
    """200 while the model (in that version, if one is given) serves, 503 with the reason while it does not."""
    wanted = model.v2(version)
    if not model.among(wanted):
        raise model.unavailable(wanted)
    route = model.route
    body = {"name": route.name, "ready": True, "state": route.state, "version": version or model.versions[-1]}
    await exchange.respond(200, JSON_TYPE, orjson.dumps(body))


async def metadata(exchange: Exchange, model: ServedModel, wanted: Wanted) -> None:
    """The model's name, its versions (during a rollout more than one) and the tensors of the one wanted."""
    if not model.among(wanted):
        raise model.unavailable(wanted)
    route, versions = model.route, model.versions
    # What the route holds is of the last generation that was wholly ready.
    is_settled = route.state is State.RUNNING and versions == (str(route.generation),)
    known: Any = (route.metadata if is_settled else None) or await _worker_metadata(exchange, model, wanted)
    body = {
        "name": route.name,
        "versions": versions,
        "platform": known.get("platform", ""),
        "inputs": known.get("inputs", []),
        "outputs": known.get("outputs", []),
    }
    await exchange.respond(200, JSON_TYPE, orjson.dumps(body))


async def _worker_metadata(exchange: Exchange, model: ServedModel, wanted: Wanted) -> Any:
    timeout = model.route.request_timeout
    exchange.received = True  # a body of a GET means nothing
    try:
        exchange.guard(timeout)
        answer, _ = await forward(model, wanted, Head("metadata"), b"", probe=True)
    except asyncio.CancelledError:
        end = exchange.ended(timeout)
        if end is None:
            raise
        raise end from None
    finally:
        exchange.unguard()
    return answer.params.get("metadata", {})
