"""One gRPC call: what its head says of the caller, and how it ends with an error. Needs grpcio."""

from __future__ import annotations

from time import monotonic
from typing import Any, Final, NoReturn
from urllib.parse import unquote

import grpc
import grpc.aio
import orjson

from modelyard.access.callers import Known
from modelyard.domain.names import DEFAULT_NAMESPACE
from modelyard.gateway.exchange import REQUEST_ID, new_request_id
from modelyard.gateway.problems import Header, Refusal
from modelyard.runtime.frames import Buffer

_NAMESPACE: Final = "modelyard-namespace"
# Bytes of an error's message: it travels as metadata, of which clients take 8 KiB.
_MAX_MESSAGE: Final = 2048

_CODES: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


class Call:
    """One request, as :mod:`modelyard.gateway.holding` knows it: ``began`` is by time.monotonic."""

    # A caller who goes away cancels the call; nobody has to look.
    is_abandoned: Final = False

    def __init__(self, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        given = context.invocation_metadata() or ()
        metadata = dict(given)
        self.began = monotonic()
        self.context = context
        # Of several credentials nobody could say which are meant.
        shown = [value for name, value in given if name == "authorization"]
        self.authorization = shown[0].encode() if len(shown) == 1 and isinstance(shown[0], str) else None
        self.namespace = str(metadata.get(_NAMESPACE, DEFAULT_NAMESPACE))
        request_id = str(metadata.get("x-request-id", "")).encode()
        self.id = (request_id if REQUEST_ID.match(request_id) else new_request_id()).decode()
        # What :mod:`modelyard.gateway.dividing` asks and says.
        self.headers = {name.encode(): value.encode() for name, value in metadata.items() if isinstance(value, str)}
        self.status = 0
        self.caller: Known | None = None
        self.fields: tuple[Header, ...] = ()
        self.asked: tuple[dict[str, Any], Buffer] | None = None

    @property
    def connection(self) -> Call:
        return self

    @property
    def address(self) -> str:
        """The caller's, in what gRPC calls it: ``ipv4:10.0.0.1:5000``, ``ipv6:%5B::1%5D:5000``; empty: it has none."""
        kind, _, rest = self.context.peer().partition(":")
        return unquote(rest.rpartition(":")[0]).strip("[]") if kind in ("ipv4", "ipv6") else ""

    async def abort(self, refusal: Refusal) -> NoReturn:
        """End it with the problem's detail as the message, and its code, and when to come again, as metadata."""
        message = refusal.detail.encode()[:_MAX_MESSAGE].decode(errors="ignore")
        metadata = [("x-request-id", self.id), ("modelyard-code", refusal.code)]
        metadata += [(name.decode(), value.decode()) for name, value in refusal.headers if name == b"retry-after"]
        await self.context.abort(_CODES.get(refusal.status, grpc.StatusCode.INTERNAL), message, tuple(metadata))


class WorkersRefusal(Refusal):
    """What a worker answered, as this protocol says it."""


def refused_by_worker(status: int, content: Buffer) -> Refusal:
    problem = orjson.loads(content)
    return WorkersRefusal(status, problem.get("code", "model_error"), problem.get("detail", "The model failed."))
