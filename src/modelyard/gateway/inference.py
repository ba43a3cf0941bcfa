"""The Open Inference Protocol V2 (https://github.com/kserve/open-inference-protocol), REST form.

Bodies are opaque here: the worker reads and checks them. What the gateway adds is the choice of an
instance, the queue, the deadline, and what is said when there is nobody to answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import orjson

from modelyard import __version__
from modelyard.domain.states import State
from modelyard.gateway.exchange import JSON_TYPE, Exchange
from modelyard.gateway.holding import Waiting, until_it_serves
from modelyard.gateway.outcomes import Counted
from modelyard.gateway.problems import Header, Refusal, instance_lost
from modelyard.gateway.routes import NotServing
from modelyard.gateway.served import Endpoint, ServedModel, Wanted
from modelyard.runtime.calls import V2
from modelyard.runtime.frames import Buffer, ConnectionLost, Head, NotSent, TakePart, pack

_OCTETS: Final = "application/octet-stream"
_CONTENT_TYPES: Final = {
    b"application/json": "application/json",
    b"application/octet-stream": _OCTETS,
    b"application/vnd.sagemaker-triton.binary+json": _OCTETS,
}
_ENCODINGS: Final = (b"gzip", b"deflate")
LENGTH_HEADER: Final = b"inference-header-content-length"

SERVER_METADATA: Final = orjson.dumps(
    {"name": "modelyard", "version": __version__, "extensions": ["binary_tensor_data", "model_repository"]}
)


async def infer(exchange: Exchange, model: ServedModel, wanted: Wanted, form: str = V2) -> None:
    """Have a worker answer one inference request, and count it. ``form``: of the body (see
    :mod:`modelyard.runtime.calls`)."""
    with Counted(model, exchange.began) as counted:
        head, body = await _ask(exchange, model, wanted, form)
    counted.answered(head.status)
    params = head.params
    content_type = params.get("content_type", "application/json").encode()
    length = params.get("header_length")
    headers: tuple[Header, ...] = () if length is None else ((LENGTH_HEADER, b"%d" % length),)
    await exchange.respond(head.status, content_type, body, headers)


async def _ask(exchange: Exchange, model: ServedModel, wanted: Wanted, form: str) -> tuple[Head, Buffer]:
    route = model.route
    params = {"id": exchange.id.decode(), "path": exchange.path, **reading(exchange.headers)}
    if wanted.version is not None:
        params["version"] = wanted.version
    if form != V2:
        params["form"] = form
    if "encoding" in params:
        params["max_body"] = route.max_body
    model.admit(wanted)
    try:
        exchange.guard(route.request_timeout)
        content = await exchange.body(model.body_limit)
        length = params.get("header_length")
        if length is not None and length > len(content) and "encoding" not in params:
            raise bad_header_length(f"is {length}, but the body has {len(content)} bytes")
        exchange.asked = params, content
        return await ask(exchange, model, wanted, pack(Head("infer", 0, params)), content)
    except asyncio.CancelledError:
        end = exchange.ended(route.request_timeout)
        if end is None:
            raise
        raise end from None
    finally:
        exchange.unguard()
        model.leave()


def reading(headers: Mapping[bytes, bytes]) -> dict[str, Any]:
    """How the worker is to read the body, by the request's headers.

    Raises:
        Refusal: one of them is wrong.
    """
    params: dict[str, Any] = {}
    length = headers.get(LENGTH_HEADER)
    if length is not None:
        if not length.isdigit() or len(length) > 12:
            raise bad_header_length("is not a number of bytes")
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
    encoding = headers.get(b"content-encoding", b"identity").lower()
    if encoding != b"identity":
        if encoding not in _ENCODINGS:
            raise Refusal(
                415,
                "unsupported_content_encoding",
                f"Inference bodies are taken as they are, as gzip or as deflate, not as "
                f"{encoding.decode('latin-1')[:100]!r}.",
                headers=[(b"accept-encoding", b"gzip, deflate")],
            )
        params["encoding"] = encoding.decode()
    return params


def bad_header_length(what: str) -> Refusal:
    return Refusal(400, "invalid_header", f"Inference-Header-Content-Length {what}.")


async def ask(
    waiting: Waiting,
    model: ServedModel,
    wanted: Wanted,
    head: bytes,
    body: Buffer,
    *,
    chosen: Endpoint | None = None,
    tried: tuple[Endpoint, ...] = (),
    again: bool = False,
    part: TakePart | None = None,
) -> tuple[Head, Buffer]:
    """As :func:`forward`; where the model went idle while the request's body came, once it serves again.

    Raises:
        Refusal: as :func:`forward`, or no instance came in time.
        ClientGone: nobody waits any more.
    """
    while True:
        try:
            return await forward(model, wanted, head, body, chosen=chosen, tried=tried, again=again, part=part)
        except NotServing:
            if not model.holds(wanted.version):
                raise
            await until_it_serves(waiting, model, wanted.version)
            chosen, tried = None, ()


async def forward(
    model: ServedModel,
    wanted: Wanted,
    head: bytes,
    body: Buffer,
    *,
    chosen: Endpoint | None = None,
    tried: tuple[Endpoint, ...] = (),
    again: bool = False,
    probe: bool = False,
    part: TakePart | None = None,
) -> tuple[Head, Buffer]:
    """Have one of the workers that are wanted answer, none of ``tried``, first the one that was ``chosen`` already;
    ``head`` is packed; ``part`` is called with what comes before the answer.

    An instance that cannot be reached, or that is ending and says so, has done nothing: the next one is
    asked. One that is lost after the request left may have done anything. Where that harms nobody, as the
    model changes nothing, another is asked, once (``again``: it was done before): a request that ends
    instances must not end them all. Else that is for the caller to judge.

    Raises:
        Refusal: none could, or the one asked was lost.
    """
    while True:
        try:
            endpoint, chosen = chosen or model.choose(wanted, tried, probe=probe), None
        except Refusal as refusal:
            raise (instance_lost(model.route.name) if again else refusal) from None
        answered = cut = False
        try:
            answer, content = await (await endpoint.link.connect()).request(head, body, part)
            answered = not is_draining(answer)
        except NotSent:
            endpoint.shun()
        except ConnectionLost:
            cut = True
            endpoint.shun()
            if again or part is not None or not model.route.repeatable:
                raise instance_lost(model.route.name) from None
            again = True
        except OSError:
            endpoint.shun()
        finally:
            model.release(endpoint, answered=answered, cut=cut, probe=probe)
        if answered:
            odd = odd_status(answer)
            if odd is not None:
                raise odd
            return answer, content
        tried = (*tried, endpoint)


def is_draining(answer: Head) -> bool:
    """Whether a worker that is ending took nothing of the request."""
    return answer.params.get("draining") is True


def odd_status(answer: Head) -> Refusal | None:
    """What to say instead of an answer whose status a model's code has made up, and HTTP reads otherwise."""
    if answer.status == 200 or 400 <= answer.status < 600:
        return None
    return Refusal(500, "model_error", f"The model answered with status {answer.status}; it may be 400 to 599.")


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
    known = settled_metadata(model) or await _worker_metadata(exchange, model, wanted)
    await exchange.respond(200, JSON_TYPE, orjson.dumps(described(model, known)))


def settled_metadata(model: ServedModel) -> Any:
    """What the route says of the model's tensors, if that is what serves: it is of the last generation that was
    wholly ready."""
    route = model.route
    is_settled = route.state is State.RUNNING and model.versions == (str(route.generation),)
    return route.metadata if is_settled else None


def described(model: ServedModel, known: Any) -> dict[str, Any]:
    """V2's metadata of the model; ``known`` is the worker's."""
    return {
        "name": model.route.name,
        "versions": model.versions,
        "platform": known.get("platform", ""),
        "inputs": known.get("inputs", []),
        "outputs": known.get("outputs", []),
    }


async def _worker_metadata(exchange: Exchange, model: ServedModel, wanted: Wanted) -> Any:
    timeout = model.route.request_timeout
    exchange.received = True  # a body of a GET means nothing
    try:
        exchange.guard(timeout)
        answer, _ = await forward(model, wanted, pack(Head("metadata")), b"", probe=True)
    except asyncio.CancelledError:
        end = exchange.ended(timeout)
        if end is None:
            raise
        raise end from None
    finally:
        exchange.unguard()
    return answer.params.get("metadata", {})
