"""From a request's body to its answer's body, whatever protocol carried it: frames or HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from itertools import starmap
from typing import Any, Final

import orjson

from modelyard.runtime import batching, generate, inflating, quick, v1, v2
from modelyard.runtime.calls import GENERATE, V1, V2, Answer, Call, Done, Part
from modelyard.runtime.engines.base import AsyncModel, Model, Outputs, StreamModel, SyncModel
from modelyard.runtime.errors import RequestError
from modelyard.runtime.executor import SMALL, Executor

PROBLEM_TYPE: Final = "application/problem+json"
EVENTS_TYPE: Final = "text/event-stream"

_log = logging.getLogger("modelyard.runtime")


def problem_answer(error: RequestError, request_id: str | None = None, path: str | None = None) -> Answer:
    return Answer(error.status, orjson.dumps(error.as_problem(request_id, path)), PROBLEM_TYPE)


class DataPlane:
    """Serves one loaded model under a name and version, for callers on ``loop``. ``flushed``: who submits calls says
    by :meth:`flush` when those that came together are all there; else that is told by the turns of the loop."""

    def __init__(
        self, model: Model, *, name: str, version: str, loop: asyncio.AbstractEventLoop, flushed: bool = False
    ) -> None:
        self.model = model
        self.name = name
        self.version = version
        self._loop = loop
        self._reader = quick.Reader(model.signature)
        self._writer = quick.Writer(name, version)
        on_loop = isinstance(model, SyncModel) and model.may_use_loop
        self._executor = Executor(model.concurrency, loop, on_loop=on_loop)
        self._waiting: batching.Waiting | None = None
        if isinstance(model, SyncModel) and model.batching is not None and model.may_batch:
            self._waiting = batching.Waiting(
                model, model.batching, self._executor, loop, partial(self._answer_all, model), flushed=flushed
            )

    @property
    def metadata(self) -> dict[str, object]:
        return self.model.signature.metadata(self.model.platform, self.version)

    def submit(self, call: Call, done: Done, part: Part | None = None) -> Callable[[], object] | None:
        """Answer ``call`` by calling ``done``, now or later, and ``part`` before with the pieces of an answer that is
        wanted as a stream. What is returned takes the call back (``done`` is then not called); None: it is answered
        already."""
        model = self.model
        if isinstance(model, SyncModel):
            # What a compressed body will be is not known: never small.
            size = call.max_body if call.encoding else len(call.body)
            if self._waiting is not None and self._waiting.rows != 1:
                return self._waiting.submit(call, size, done)
            return self._executor.submit(partial(self._answer, model, call), size, done)
        if isinstance(model, StreamModel):
            task = self._loop.create_task(self._answer_in_parts(model, call, part))
        else:
            assert isinstance(model, AsyncModel)
            task = self._loop.create_task(self._answer_async(model, call))
        task.add_done_callback(partial(_hand_over, done))
        return task.cancel

    def flush(self) -> None:
        """No more calls come for the moment: begin those that have come."""
        if self._waiting is not None:
            self._waiting.flush()

    async def infer(self, call: Call, part: Part | None = None) -> Answer:
        """:meth:`submit` as a coroutine; cancelling it takes the call back."""
        future: asyncio.Future[Answer] = self._loop.create_future()

        def done(answer: Answer) -> None:
            # A wait that was cancelled in this turn has not taken the call back yet.
            if not future.done():
                future.set_result(answer)

        take_back = self.submit(call, done, part)
        try:
            return await future
        except asyncio.CancelledError:
            if take_back is not None:
                take_back()
            raise

    def close(self) -> None:
        self._executor.close()
        # It refers back: without it the model is freed with its last user, not when a collection comes by.
        self._waiting = None

    # ---------------------------------------------------------------- one call

    def _answer(self, model: SyncModel, call: Call) -> Answer:
        try:
            request = self._decode(call)
        except BaseException as error:  # the executor's work must not raise
            return self._refuse(error, call)
        return self._predict(model, call, request)

    def _predict(self, model: SyncModel, call: Call, request: v2.Request) -> Answer:
        try:
            outputs = model.predict(request.inputs, request.outputs, request.parameters)
            return self._encode(call, request, outputs)
        except BaseException as error:  # a model may even call sys.exit
            return self._refuse(error, call)

    async def _answer_async(self, model: AsyncModel, call: Call) -> Answer:
        try:
            request = await self._decode_beside(call)
            outputs = await model.predict(request.inputs, request.outputs, request.parameters)
            return self._encode(call, request, outputs)
        except (Exception, SystemExit) as error:
            return self._refuse(error, call)

    async def _answer_in_parts(self, model: StreamModel, call: Call, part: Part | None) -> Answer:
        begun = False
        try:
            request = await self._decode_beside(call)
            pieces = model.stream(request.inputs, request.parameters)
            try:
                if not call.stream or part is None:
                    return self._encode(call, request, generate.joined([piece async for piece in pieces]))
                async for piece in pieces:
                    begun = True
                    behind = part(self._encode(call, request, piece))
                    if behind is not None:
                        await behind
            finally:
                await pieces.aclose()
        except (Exception, SystemExit) as error:
            answer = self._refuse(error, call)
            # The status of an answer that has begun is sent: the fault is its last event.
            return Answer(200, generate.event(answer.body), EVENTS_TYPE) if begun else answer
        return Answer(200, b"", EVENTS_TYPE)

    # ---------------------------------------------------------------- several calls

    def _answer_all(self, model: SyncModel, calls: Sequence[Call]) -> Sequence[Answer]:
        """As :meth:`_answer`, where calls that go together share a run."""
        if len(calls) == 1:
            return [self._answer(model, calls[0])]
        answers: list[Any] = [None] * len(calls)
        requests: list[v2.Request | None] = []
        for index, call in enumerate(calls):
            try:
                requests.append(self._decode(call))
            except BaseException as error:
                requests.append(None)
                answers[index] = self._refuse(error, call)
        waiting = self._waiting
        rows, most = (waiting.rows or 1, waiting.most) if waiting is not None else (1, 1)
        try:
            groups = list(batching.groups(requests, rows, most, by_parameters=model.reads_parameters))
        except BaseException:  # parameters may be nested deeper than what compares them can go
            _log.debug("requests are answered alone, as they cannot be compared", exc_info=True)
            groups = [[index] for index, request in enumerate(requests) if request is not None]
        for group in groups:
            chosen = [(calls[index], request) for index in group if (request := requests[index]) is not None]
            shared = self._run_together(model, chosen) if len(group) > 1 else None
            if shared is None:
                # What fails together is tried alone, so that a request answers for its own faults only.
                shared = [self._predict(model, *one) for one in chosen]
            for index, answer in zip(group, shared, strict=True):
                answers[index] = answer
        return answers

    def _run_together(self, model: SyncModel, chosen: Sequence[tuple[Call, v2.Request]]) -> Sequence[Answer] | None:
        """The answers of one run; None if it failed."""
        requests = [request for _, request in chosen]
        counts = [batching.rows_of(request) for request in requests]
        try:
            outputs = model.predict(batching.joined(requests), requests[0].outputs, requests[0].parameters)
            if sum(counts) == len(counts) and all(starmap(_is_plain, chosen)):
                encoded = self._writer.write_rows(requests, outputs)
                if encoded is not None:
                    return [Answer(200, each.body, each.content_type) for each in encoded]
            parts = batching.parted(outputs, counts)
        except batching.WrongRows as error:
            _log.error("%s: its requests run alone from now on", error)
            if (waiting := self._waiting) is not None:
                waiting.give_up()
            return None
        except BaseException:
            return None
        return [self._encoded(*one, part) for one, part in zip(chosen, parts, strict=True)]

    def _encoded(self, call: Call, request: v2.Request, outputs: Outputs) -> Answer:
        try:
            return self._encode(call, request, outputs)
        except BaseException as error:
            return self._refuse(error, call)

    # ---------------------------------------------------------------- bodies

    async def _decode_beside(self, call: Call) -> v2.Request:
        """As :meth:`_decode`, for models that run on the loop: what may take long does not hold it up."""
        if call.encoding or len(call.body) > SMALL:
            return await asyncio.to_thread(self._decode, call)
        return self._decode(call)

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
        body = inflating.inflate(call.body, call.encoding, call.max_body) if call.encoding else call.body
        signature = self.model.signature
        if call.form == V1:
            return v1.decode(body, signature)
        if call.form == GENERATE:
            return generate.decode(body, signature)
        if call.header_length is not None:
            known = self._reader.read_again(body, call.header_length)
            if known is not None:
                return known
        document, binary = v2.split(body, call.header_length)
        text = body if binary is None else body[: call.header_length]
        return self._reader.read(document, text, binary) or v2.check(document, binary, signature)

    def _encode(self, call: Call, request: v2.Request, outputs: Outputs) -> Answer:
        if call.form == V1:
            encoded = v1.encode(outputs)
        elif call.form == GENERATE:
            encoded = generate.encode(request, outputs, self.name, self.version)
        else:
            encoded = self._writer.write(request, outputs) or v2.encode(request, outputs, self.name, self.version)
        if call.stream:
            return Answer(200, generate.event(encoded.body), EVENTS_TYPE)
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


def _hand_over(done: Done, task: asyncio.Task[Answer]) -> None:
    if not task.cancelled():
        done(task.result())


def _is_plain(call: Call, request: v2.Request) -> bool:
    """Whether it is to be answered in V2's JSON form throughout."""
    return call.form == V2 and not (call.stream or request.binary or request.binary_default)
