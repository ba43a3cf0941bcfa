"""Models over HTTP, without a gateway: a plain ASGI application of the Open Inference Protocol V2, with Triton's
generate and repository routes, and of KServe's V1.

::

    app.mount("/models", modelyard.runtime.http.create_app("digits/model.onnx", name="digits"))

or, as a server of its own, ``python -m modelyard.runtime --model digits/model.onnx``. Of many models, which a
:class:`modelyard.runtime.ModelManager` has, it is ``manager.app``. There is no access control here; that is the
gateway's matter.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
import uuid
from collections.abc import AsyncGenerator, MutableMapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import orjson

from modelyard import __version__
from modelyard.domain.spec import ENGINE_OF_SUFFIX
from modelyard.runtime import engines, v2
from modelyard.runtime.calls import GENERATE, V1, V2, Answer, Call
from modelyard.runtime.dataplane import DataPlane, problem_answer
from modelyard.runtime.engines.base import LoadOptions, Model
from modelyard.runtime.errors import LoadFailure, RequestError
from modelyard.runtime.streams import Disconnected, Receive, Send, stream

Scope = MutableMapping[str, Any]

VERSION: Final = "1"
MAX_BODY: Final = 64 * 2**20
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HEADER_LENGTH: Final = b"inference-header-content-length"
# Of a number of bytes.
_MAX_DIGITS: Final = 12
# What Triton's clients may send with these, and what can be followed here.
_KNOWN_PARAMETERS: Final = {"load": frozenset[str](), "unload": frozenset({"unload_dependents"})}
_EXTENSIONS: Final = ["binary_tensor_data", "model_repository"]


class Served(Protocol):
    """What the routes serve: one model, or many that come and go."""

    async def start(self) -> None:
        """Called where the application is served by itself; one that is mounted in another hears of no beginning."""

    async def stop(self) -> None: ...

    def lend(self, name: str) -> AbstractAsyncContextManager[DataPlane]:
        """The model, as long as it is used.

        Raises:
            RequestError: (404) there is none of that name; (503) it cannot be had now
        """

    def is_ready(self, name: str) -> bool:
        """Raises:
        RequestError: (404) there is none of that name
        """

    def index(self) -> list[dict[str, str]]:
        """Each model as Triton's repository index has it: name, version, state, reason."""

    async def load(self, name: str) -> None:
        """Raises:
        RequestError: it cannot be loaded
        """

    async def unload(self, name: str) -> None:
        """Raises:
        RequestError: it cannot be unloaded
        """

    def information(self, words: list[str]) -> Answer | None:
        """The answer to a GET of any other path; None: there is none."""


def create_app(
    model: Path | str,
    *,
    engine: str | None = None,
    name: str | None = None,
    trusted: bool = False,
    options: dict[str, Any] | None = None,
    max_body: int = MAX_BODY,
) -> Application:
    """Load the model at the path ``model`` and return the application that serves it. ``engine`` and ``name``
    are told by the path if not given; ``options`` are the engine's; ``max_body`` in bytes.

    Raises:
        LoadFailure: if the model cannot be served.
    """
    path = Path(model).absolute()
    name = name or (path.parent.name if path.stem == "model" else path.stem)
    if _NAME.fullmatch(name) is None:
        raise LoadFailure("invalid_name", f"{name!r} is no name for a model: letters, digits, '.', '_' and '-'.")
    threads = len(os.sched_getaffinity(0))
    loaded = engines.load(engine or engine_of(path), LoadOptions(path, options or {}, trusted, threads))
    return Application(_One(loaded, name), max_body, name)


def engine_of(path: Path) -> str:
    """The engine that serves what lies at ``path``.

    Raises:
        LoadFailure: (``unknown_engine``) nobody can tell
    """
    if path.is_dir():
        return "python"
    engine = ENGINE_OF_SUFFIX.get(path.suffix.lower())
    if engine is None:
        known = ", ".join(ENGINE_OF_SUFFIX)
        raise LoadFailure("unknown_engine", f"{path} has none of the suffixes {known}: name the engine (--engine).")
    return engine.value


class _One:
    """One model, loaded for good."""

    def __init__(self, model: Model, name: str) -> None:
        self._name = name
        self._model = model
        self._plane: DataPlane | None = None

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        if self._plane is not None:
            self._plane.close()

    @asynccontextmanager
    async def lend(self, name: str) -> AsyncGenerator[DataPlane]:
        self.is_ready(name)
        # Made on the loop that serves: a mounted application sees no lifespan event.
        if self._plane is None:
            self._plane = DataPlane(self._model, name=name, version=VERSION, loop=asyncio.get_running_loop())
        yield self._plane

    def is_ready(self, name: str) -> bool:
        if name != self._name:
            message = f"The only model here is {self._name!r}: /v2/models/{self._name}."
            raise RequestError(404, "model_not_found", message)
        return True

    def index(self) -> list[dict[str, str]]:
        return [{"name": self._name, "version": VERSION, "state": "READY", "reason": ""}]

    async def load(self, name: str) -> None:
        self.is_ready(name)

    async def unload(self, name: str) -> None:
        self.is_ready(name)
        raise RequestError(409, "model_needed", f"{name} cannot be unloaded: it is all that is served here.")

    def information(self, words: list[str]) -> Answer | None:
        match words:
            case ["v2", "health", "live"]:
                return json_answer({"live": True})
            case ["v2", "health", "ready"]:
                return json_answer({"ready": True})
        return None


class Application:
    """An ASGI application that serves models. ``name``: of the one model, if it is one."""

    def __init__(self, served: Served, max_body: int = MAX_BODY, name: str = "") -> None:
        self.name = name
        self._served = served
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"only HTTP is served here, not {scope['type']}")
        headers = dict(scope["headers"])
        request_id = headers.get(b"x-request-id", b"")
        if _REQUEST_ID.fullmatch(request_id) is None:
            request_id = uuid.uuid4().hex.encode()
        retry_after = None
        answer: Answer | None
        try:
            answer = await self._answer(scope, headers, request_id.decode(), receive, send)
        except RequestError as error:
            answer = problem_answer(error, request_id.decode(), scope["path"])
            retry_after = error.extra.get("retry_after")
        except Disconnected:
            return
        if answer is not None:
            await send_answer(answer, request_id, retry_after, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            starting = message["type"] == "lifespan.startup"
            await (self._served.start() if starting else self._served.stop())
            await send({"type": f"{message['type']}.complete"})
            if not starting:
                return

    # ---------------------------------------------------------------- routes

    async def _answer(
        self, scope: Scope, headers: dict[bytes, bytes], request_id: str, receive: Receive, send: Send
    ) -> Answer | None:
        """None: it was sent already."""
        path: str = scope["path"].removeprefix(scope.get("root_path", ""))
        words = path.strip("/").split("/")
        method: str = scope["method"]
        match words:
            case ["v2", "models", name, *version, "infer" | "generate" | "generate_stream" as action]:
                _require(method, "POST")
                wanted = _version(version)
                call = await self._call(name, scope, headers, request_id, receive)
                call.version = wanted
                call.form = V2 if action == "infer" else GENERATE
                if action == "generate_stream":
                    return await self._stream(name, call, request_id.encode(), receive, send)
                return await self._infer(name, call)
            case ["v1", "models", last] if last.endswith(":predict"):
                _require(method, "POST")
                name = last.removesuffix(":predict")
                call = await self._call(name, scope, headers, request_id, receive)
                call.form = V1
                return await self._infer(name, call)
            case ["v2", "repository", "index"]:
                _require(method, "POST")
                return json_answer(self._index(_parameters(await self._body(receive))))
            case ["v2", "repository", "models", name, "load" | "unload" as action]:
                _require(method, "POST")
                _check_command(action, _parameters(await self._body(receive)))
                await (self._served.load(name) if action == "load" else self._served.unload(name))
                return json_answer({})
        answer = await self._information(words)
        _require(method, "GET", "HEAD")
        return answer

    async def _infer(self, name: str, call: Call) -> Answer:
        async with self._served.lend(name) as plane:
            return await plane.infer(call)

    async def _stream(self, name: str, call: Call, request_id: bytes, receive: Receive, send: Send) -> Answer | None:
        call.stream = True
        async with self._served.lend(name) as plane:
            return await stream(plane, call, request_id, receive, send)

    async def _information(self, words: list[str]) -> Answer:
        match words:
            case ["v2"]:
                return json_answer({"name": "modelyard", "version": __version__, "extensions": _EXTENSIONS})
            case ["v2", "models", name, *version, "ready"]:
                _version(version)
                ready = self._served.is_ready(name)
                return json_answer({"name": name, "ready": ready}, 200 if ready else 503)
            case ["v1", "models"]:
                return json_answer({"models": [model["name"] for model in self._served.index()]})
            case ["v1", "models", name]:
                ready = self._served.is_ready(name)
                return json_answer({"name": name, "ready": ready}, 200 if ready else 503)
            case ["v2", "models", name, *version]:
                _version(version)
                async with self._served.lend(name) as plane:
                    return json_answer({"name": name, **plane.metadata})
        answer = self._served.information(words)
        if answer is None:
            known = ", ".join(f"/v2/models/{model['name']}" for model in self._served.index()[:10])
            raise RequestError(404, "not_found", f"There is nothing here. Models are at: {known or 'none yet'}.")
        return answer

    def _index(self, parameters: dict[str, Any]) -> list[dict[str, str]]:
        models = self._served.index()
        if parameters.get("ready") is True:
            return [model for model in models if model["state"] == "READY"]
        return models

    async def _call(
        self, name: str, scope: Scope, headers: dict[bytes, bytes], request_id: str, receive: Receive
    ) -> Call:
        # Who asks for what is not there is told so before the body is read.
        self._served.is_ready(name)
        length = headers.get(_HEADER_LENGTH)
        if length is not None and (not length.isdigit() or len(length) > _MAX_DIGITS):
            raise RequestError(
                400, "invalid_header_length", "Inference-Header-Content-Length must be a number of bytes."
            )
        return Call(
            await self._body(receive),
            headers.get(b"content-type", b"").decode("latin-1"),
            int(length) if length is not None else None,
            request_id=request_id,
            path=scope["path"],
            encoding=headers.get(b"content-encoding", b"").decode("latin-1").lower().replace("identity", ""),
            max_body=self._max_body,
        )

    async def _body(self, receive: Receive) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > self._max_body:
                raise RequestError(413, "body_too_large", f"At most {self._max_body} bytes of body are accepted.")
            chunks.append(chunk)
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _require(method: str, *allowed: str) -> None:
    if method not in allowed:
        raise RequestError(405, "method_not_allowed", f"{method} is not allowed here; {' or '.join(allowed)} is.")


def _version(words: list[str]) -> str:
    """The version that what follows a model's name asks for, empty if none."""
    match words:
        case []:
            return ""
        case ["versions", version]:
            if version != VERSION:
                raise RequestError(404, "version_not_found", f"Only version {VERSION!r} is served here.")
            return version
    raise RequestError(404, "not_found", "There is nothing here: a model has ready, infer and versions.")


def _parameters(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    try:
        parameters = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(400, "invalid_json", f"The body is not valid JSON: {error}.") from error
    if type(parameters) is not dict:
        raise RequestError(400, "invalid_json", "The body must be a JSON object, or empty.")
    return parameters


def _check_command(action: str, document: dict[str, Any]) -> None:
    """Raises:
    RequestError: it has a parameter that cannot be followed.
    """
    parameters = document.get("parameters", {})
    if type(parameters) is not dict:
        raise RequestError(422, "invalid_request", "parameters must be an object.")
    for name in parameters:
        if name not in _KNOWN_PARAMETERS[action]:
            message = f"Models are loaded as they were registered, so {action} takes no parameter {name[:64]!r}."
            raise RequestError(400, "unsupported_parameter", message)


def json_answer(value: object, status: int = 200) -> Answer:
    return Answer(status, orjson.dumps(value), v2.JSON_TYPE)


async def send_answer(answer: Answer, request_id: bytes, retry_after: object, send: Send) -> None:
    """``retry_after`` in seconds, if it is a number."""
    headers = [
        (b"content-type", answer.content_type.encode()),
        (b"content-length", str(len(answer.body)).encode()),
        (b"x-request-id", request_id),
    ]
    if answer.header_length is not None:
        headers.append((_HEADER_LENGTH, str(answer.header_length).encode()))
    if isinstance(retry_after, (int, float)):
        headers.append((b"retry-after", str(max(math.ceil(retry_after), 1)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
