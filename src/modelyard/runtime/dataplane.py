"""From a request's body to its answer's body, whatever protocol carried it: frames or HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Final

import orjson

from modelyard.runtime import v2
from modelyard.runtime.calls import Answer, Call
from modelyard.runtime.engines.base import AsyncModel, Model, Outputs, SyncModel
from modelyard.runtime.errors import RequestError
from modelyard.runtime.executor import Executor

PROBLEM_TYPE: Final = "application/problem+json"

_log = logging.getLogger("modelyard.runtime")


def problem_answer(error: RequestError, request_id: str | None = None, path: str | None = None) -> Answer:
    return Answer(error.status, orjson.dumps(error.as_problem(request_id, path)), PROBLEM_TYPE)


class DataPlane:
    """Serves one loaded model under a name and version, for callers on ``loop``."""

    def __init__(self, model: Model, *, name: str, version: str, loop: asyncio.AbstractEventLoop) -> None:
        self.model = model
        self.name = name
        self.version = version
        self._loop = loop
        on_loop = isinstance(model, SyncModel) and model.may_use_loop
        self._executor = Executor(model.concurrency, loop, on_loop=on_loop)

    @property
    def metadata(self) -> dict[str, object]:
        return self.model.signature.metadata(self.model.platform, self.version)

    def submit(self, call: Call, done: Callable[[Answer], None]) -> Callable[[], object] | None:
        """Answer ``call`` by calling ``done``, now or later. What is returned takes the call back (``done``
        is then not called); None: it is answered already."""
        model = self.model
        if isinstance(model, SyncModel):
            return self._executor.submit(partial(self._answer, model, call), len(call.body), done)
        assert isinstance(model, AsyncModel)
        task = self._loop.create_task(self._answer_async(model, call))
        task.add_done_callback(partial(_hand_over, done))
        return task.cancel

    async def infer(self, call: Call) -> Answer:
        """:meth:`submit` as a coroutine; cancelling it takes the call back."""
        future: asyncio.Future[Answer] = self._loop.create_future()
        take_back = self.submit(call, future.set_result)
        try:
            return await future
        except asyncio.CancelledError:
            if take_back is not None:
                take_back()
            raise

    def close(self) -> None:
        self._executor.close()

    # ---------------------------------------------------------------- one call

    def _answer(self, model: SyncModel, call: Call) -> Answer:
        try:
            request = self._decode(call)
            outputs = model.predict(request.inputs, request.outputs, request.parameters)
            return self._encode(request, outputs)
        except BaseException as error:  # the executor's work must not raise, and a model may even call sys.exit
            return self._refuse(error, call)

    async def _answer_async(self, model: AsyncModel, call: Call) -> Answer:
        try:
            request = self._decode(call)
            outputs = await model.predict(request.inputs, request.outputs, request.parameters)
            return self._encode(request, outputs)
        except (Exception, SystemExit) as error:
            return self._refuse(error, call)

    def _decode(self, call: Call) -> v2.Request:
        if call.version and call.version != self.version:
            raise RequestError(
                404,
                "version_not_found",
                f"Version {call.version!r} of {self.name!r} is not served here; this is version {self.version!r}.",
            )
        if call.header_length is None and call.content_type.startswith(v2.BINARY_TYPE):
            raise RequestError(
                400,
                "no_header_length",
                "A binary body needs the header Inference-Header-Content-Length: the length of its JSON part.",
            )
        return v2.decode(call.body, call.header_length, self.model.signature)

    def _encode(self, request: v2.Request, outputs: Outputs) -> Answer:
        encoded = v2.encode(request, outputs, self.name, self.version)
        return Answer(200, encoded.body, encoded.content_type, encoded.header_length)

    def _refuse(self, error: BaseException, call: Call) -> Answer:
        if isinstance(error, MemoryError):
            _log.error("request %s: out of memory", call.request_id)
            error = RequestError(
                500,
                "out_of_memory",
                "The model ran out of memory on this request: send fewer rows at once, or raise resources.memory.",
            )
        elif not isinstance(error, RequestError):
            # Where in the model it went wrong is for the model's owner, in the log, not for its callers.
            _log.error("request %s: the model failed", call.request_id, exc_info=error)
            error = RequestError(500, "model_error", f"The model failed: {type(error).__name__}: {error}")
        return problem_answer(error, call.request_id, call.path)


def _hand_over(done: Callable[[Answer], None], task: asyncio.Task[Answer]) -> None:
    if not task.cancelled():
        done(task.result())
