"""The Open Inference Protocol V2, gRPC form, on a port of its own, with what HTTP has: tokens, limits, deadlines,
waiting for a model that wakes, metrics, ids. Triton's streamed inference and its repository are there too.

A model in another namespace than the default is named by the metadata ``modelyard-namespace``. Errors carry the
problem's detail as their message and its code as the metadata ``modelyard-code``. Needs grpcio, which only a
gateway imports that is told a port (``MODELYARD_GRPC_PORT``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from time import monotonic
from typing import Any, Final, NoReturn

import grpc
import grpc.aio
import orjson

from modelyard.domain.access import Permission
from modelyard.gateway import messages, repository
from modelyard.gateway.access import Access
from modelyard.gateway.dividing import Dividing
from modelyard.gateway.exchange import CLIENT_GONE, overdue
from modelyard.gateway.grpc_calls import Call, WorkersRefusal, refused_by_worker
from modelyard.gateway.holding import until_it_serves
from modelyard.gateway.inference import SERVER_METADATA, ask, described, forward, settled_metadata
from modelyard.gateway.messages import MESSAGES
from modelyard.gateway.metrics import GatewayMetrics
from modelyard.gateway.outcomes import Counted
from modelyard.gateway.problems import Refusal, body_too_large, model_not_found, unauthenticated
from modelyard.gateway.proxy import Proxy
from modelyard.gateway.room import Room
from modelyard.gateway.routes import NotServing
from modelyard.gateway.served import RouteTable, ServedModel, Wanted
from modelyard.runtime.frames import Buffer, Head, pack

log = logging.getLogger(__name__)

SERVICE: Final = "inference.GRPCInferenceService"
# Seconds from a call's head to the end of its message.
_MESSAGE_TIMEOUT: Final = 60.0
# Seconds between the answer to a stream's message and the end of its next one; then the stream ends.
_STREAM_TIMEOUT: Final = 600.0
# From so many bytes on a message is rewritten beside the loop, which has other calls to serve.
_LARGE: Final = 2**18
_OCTETS: Final = "application/octet-stream"


class InferenceService(grpc.GenericRpcHandler):
    """Which method answers what. Made inside the loop it runs in; ``is_closing`` says that no new work should come."""

    def __init__(
        self, routes: RouteTable, access: Access, proxy: Proxy, metrics: GatewayMetrics, is_closing: Callable[[], bool]
    ) -> None:
        self._routes = routes
        self._access = access
        self._proxy = proxy
        self._metrics = metrics
        self._is_closing = is_closing
        self._dividing = Dividing(routes)
        self.room = Room()
        self._handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            # Unary on the wire: this form lets the message be waited for by a clock.
            f"/{SERVICE}/{name}": grpc.stream_unary_rpc_method_handler(self._unary(name, answer))
            for name, answer in {
                "ServerLive": self._server_live,
                "ServerReady": self._server_ready,
                "ServerMetadata": self._server_metadata,
                "ModelReady": self._model_ready,
                "ModelMetadata": self._model_metadata,
                "ModelInfer": self._infer,
                "RepositoryIndex": self._index,
                "RepositoryModelLoad": self._load,
                "RepositoryModelUnload": self._unload,
            }.items()
        }
        self._handlers[f"/{SERVICE}/ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(self._stream)
        self._refusal: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(self._refuse_unread)
        self._open = {f"/{SERVICE}/{name}" for name in ("ServerLive", "ServerReady", "ServerMetadata")}

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        """Called before anything of a request but its metadata is read: while there is no public model, nothing
        more is read of one without a token."""
        handler = self._handlers.get(details.method)
        if handler is None or details.method in self._open:
            return handler
        for name, value in details.invocation_metadata or ():
            shown = str(value).encode()
            if name == "authorization" and (self._access.allows(shown) or self._access.may_be_known(shown)):
                return handler
        return handler if self._routes.any_public else self._refusal

    def _unary(self, name: str, answer: Callable[[Call, Any], Awaitable[Any]]) -> Any:
        """A handler from one message's bytes to another's."""

        async def handle(requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            call = Call(context)
            context.set_trailing_metadata((("x-request-id", call.id),))
            try:
                if not self._routes.any_public and f"/{SERVICE}/{name}" not in self._open:
                    # Of a token that is to be checked first nothing more is read, either.
                    await self._access.identify(call.authorization)
                content = await _message(self.room, context)
                # How long it took to send is the caller's affair.
                call.began = monotonic()
                try:
                    message = await answer(call, messages.read(f"{name}Request", content))
                finally:
                    self.room.give_back(content)
            except Refusal as refusal:
                await self._abort(call, refusal)
            except asyncio.CancelledError:
                raise
            except Exception:
                log.exception("%s failed (request %s)", name, call.id)
                await self._abort(call, _failed())
            return message if isinstance(message, bytes) else message.SerializeToString()

        return handle

    async def _refuse_unread(
        self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> None:
        await self._abort(Call(context), unauthenticated())

    async def _abort(self, call: Call, refusal: Refusal) -> NoReturn:
        await call.abort(self._told(call, refusal))

    def _told(self, call: Call, refusal: Refusal) -> Refusal:
        """Count it, if it is the gateway's; as much of it as the caller may know."""
        if not isinstance(refusal, WorkersRefusal):
            self._metrics.refuse(refusal.code)
        if isinstance(refusal, NotServing) and not self._access.reads(call.authorization, refusal.route):
            return refusal.without_reason()
        return refusal

    async def _model(self, call: Call, name: str, permission: Permission) -> ServedModel:
        """The model of that name, if the caller may do with it what needs ``permission``.

        Raises:
            Refusal: without a token nobody learns which models there are, except public ones, and with one only of
                those that its bearer may know of.
        """
        model = self._routes.find(call.namespace, name)
        if model is not None and model.route.public:
            call.caller = self._access.known(call.authorization)
            return model
        call.caller = await self._access.identify(call.authorization)
        if model is None:
            raise model_not_found(call.namespace, name)
        self._access.demand(call.caller, permission, model.route)
        return model

    # ---------------------------------------------------------------- the server and its models

    async def _server_live(self, call: Call, message: Any) -> Any:
        return MESSAGES["ServerLiveResponse"](live=True)

    async def _server_ready(self, call: Call, message: Any) -> Any:
        return MESSAGES["ServerReadyResponse"](ready=not self._is_closing())

    async def _server_metadata(self, call: Call, message: Any) -> Any:
        return MESSAGES["ServerMetadataResponse"](**orjson.loads(SERVER_METADATA))

    async def _model_ready(self, call: Call, message: Any) -> Any:
        model = await self._model(call, message.name, Permission.READ)
        return MESSAGES["ModelReadyResponse"](ready=bool(model.among(model.v2(message.version or None))))

    async def _model_metadata(self, call: Call, message: Any) -> Any:
        model = await self._model(call, message.name, Permission.READ)
        wanted = _worker(model, message.version)
        if not model.among(wanted):
            raise model.unavailable(wanted)
        known = settled_metadata(model)
        if not known:
            timeout = model.route.request_timeout
            try:
                async with asyncio.timeout(timeout):
                    answer, _ = await forward(model, wanted, pack(Head("metadata")), b"", probe=True)
            except TimeoutError:
                raise overdue(timeout, received=True) from None
            known = answer.params.get("metadata", {})
        return MESSAGES["ModelMetadataResponse"](**described(model, known))

    # ---------------------------------------------------------------- inference

    async def _infer(self, call: Call, message: Any) -> bytes:
        """One inference, by the arm that is chosen where there are several."""
        model = await self._model(call, message.model_name, Permission.INFER)
        self._access.count(call.caller, model.route)
        answers: list[bytes] = []

        async def infer(chosen: ServedModel, generation: int | None) -> None:
            answers.append(await self._infer_by(call, chosen, generation, message))

        if model.divided and not message.model_version:
            await self._dividing.answer(call, model, infer)
            told = [(name.decode(), value.decode()) for name, value in call.fields]
            call.context.set_trailing_metadata((("x-request-id", call.id), *told))
        else:
            await infer(model, None)
        return answers[0]

    async def _infer_by(self, call: Call, model: ServedModel, generation: int | None, message: Any) -> bytes:
        """One inference, counted."""
        with Counted(model, call.began) as counted:
            try:
                head, content = await self._ask(call, model, generation, message)
            except asyncio.CancelledError:
                # By its caller, or as the time is over that the caller gave it.
                left = call.context.time_remaining()
                counted.left(504 if left is not None and left <= 0 else CLIENT_GONE)
                raise
        call.status = head.status
        counted.answered(head.status)
        if head.status != 200:
            raise refused_by_worker(head.status, content)
        raw = bool(message.raw_input_contents) or not message.inputs
        if raw or len(content) < _LARGE:
            return messages.response(head, content, raw=raw)
        return await asyncio.to_thread(messages.response, head, content, raw=raw)

    async def _ask(self, call: Call, model: ServedModel, generation: int | None, message: Any) -> tuple[Head, Buffer]:
        timeout, version = model.route.request_timeout, message.model_version or None
        # What it is on the wire, nearly; what HTTP has as a body is of that size.
        if message.ByteSize() > model.route.max_body:
            raise body_too_large(model.body_limit)
        # It has a clock of its own.
        await until_it_serves(call, model, version)
        try:
            async with asyncio.timeout(timeout - (monotonic() - call.began)):
                wanted = _worker(model, message.model_version)._replace(generation=generation)
                model.admit(wanted)
                try:
                    return await self._ask_worker(call, model, wanted, message)
                finally:
                    model.leave()
        except TimeoutError:
            raise overdue(timeout, received=True) from None

    async def _ask_worker(self, call: Call, model: ServedModel, wanted: Wanted, message: Any) -> tuple[Head, Buffer]:
        limit = model.body_limit
        if message.raw_input_contents or message.ByteSize() < _LARGE:
            body, length = messages.request_body(message, limit)
        else:
            body, length = await asyncio.to_thread(messages.request_body, message, limit)
        params = {"id": call.id, "path": f"/{SERVICE}/ModelInfer", "content_type": _OCTETS, "header_length": length}
        if wanted.version is not None:
            params["version"] = wanted.version
        head = pack(Head("infer", 0, params))
        call.asked = params, body
        return await ask(call, model, wanted, head, body)

    async def _stream(
        self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> AsyncIterator[bytes]:
        """An answer a request, in their order; one that is refused ends nothing but itself. A stream in which nothing
        comes for long ends as if its caller had ended it, so that it does not keep its place from others."""
        if not self._routes.any_public:
            # What a token says of itself is not enough to hold a stream.
            call = Call(context)
            try:
                await self._access.identify(call.authorization)
            except Refusal as refusal:
                await self._abort(call, refusal)
        while True:
            try:
                request = await self.room.read(context, _STREAM_TIMEOUT)
            except TimeoutError:
                return
            except Refusal as refusal:
                await self._abort(Call(context), refusal)
            if request is None:
                return
            try:
                answer = await self._answer_in_stream(Call(context), request)
            finally:
                self.room.give_back(request)
            yield answer

    async def _answer_in_stream(self, call: Call, request: bytes) -> bytes:
        answer = MESSAGES["ModelStreamInferResponse"]
        try:
            message = messages.read("ModelInferRequest", request)
            response = MESSAGES["ModelInferResponse"].FromString(await self._infer(call, message))
            said = answer(infer_response=response)
        except Refusal as refusal:
            said = answer(error_message=self._told(call, refusal).detail)
        except Exception:
            log.exception("ModelStreamInfer failed (request %s)", call.id)
            said = answer(error_message=_failed().detail)
        encoded: bytes = said.SerializeToString()
        return encoded

    # ---------------------------------------------------------------- the repository

    async def _index(self, call: Call, message: Any) -> Any:
        found = await repository.visible(self._routes, self._access, call.authorization, call.namespace)
        entries = repository.index(found, ready=message.ready)
        return MESSAGES["RepositoryIndexResponse"](models=list(entries))

    async def _load(self, call: Call, message: Any) -> Any:
        await self._command(call, "load", message)
        return MESSAGES["RepositoryModelLoadResponse"]()

    async def _unload(self, call: Call, message: Any) -> Any:
        await self._command(call, "unload", message)
        return MESSAGES["RepositoryModelUnloadResponse"]()

    async def _command(self, call: Call, action: str, message: Any) -> None:
        if call.authorization is None:
            raise unauthenticated()
        await self._access.identify(call.authorization)
        repository.check_parameters(action, messages.parameters(message.parameters))
        model = await self._model(call, message.model_name, Permission.READ)
        client = call.headers.get(b"user-agent", b"").decode()
        caller = repository.Caller(call.authorization.decode(), call.id, call.address, client)
        await repository.command(self._proxy, caller, action, *model.labels)


def _worker(model: ServedModel, version: str) -> Wanted:
    """Raises:
    Refusal: the model is a server of its user's, which is spoken to over HTTP.
    """
    wanted = model.v2(version or None)
    if wanted.server:
        raise Refusal(
            501,
            "not_over_grpc",
            f"Model {model.route.name!r} is a server of its own, to which HTTP is passed on: ask it under "
            f"/v2/models/{model.route.name} of the HTTP port.",
        )
    return wanted


async def _message(room: Room, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    try:
        message = await room.read(context, _MESSAGE_TIMEOUT)
    except TimeoutError:
        raise Refusal(
            408, "body_timeout", f"The request's message did not arrive within {_MESSAGE_TIMEOUT:g} s. Send it faster."
        ) from None
    if message is None:
        raise Refusal(400, "malformed_message", "The request has no message.")
    return message


def _failed() -> Refusal:
    return Refusal(500, "internal_error", "The gateway failed on this request; its log says more.")
