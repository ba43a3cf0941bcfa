"""The way that nearly all inference requests take: from their connection to a worker and back by calls alone.

What is plain (a POST with a length, to a model that serves, by a caller who may) needs no task, no ASGI messages
and no queue of its own: the request is a :class:`Call` that its connection and its worker tell of what
happens. Everything else, every refusal at its head among it, goes through the ASGI application, which says
the same in more words (:mod:`modelyard.gateway.inference`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from time import monotonic
from typing import Final, NamedTuple, Protocol

from modelyard.gateway.access import Access
from modelyard.gateway.exchange import CLIENT_GONE, ClientGone, Deadlines, Ended, new_request_id, overdue
from modelyard.gateway.inference import LENGTH_HEADER, ask, bad_header_length, is_draining, odd_status, reading
from modelyard.gateway.metrics import GatewayMetrics
from modelyard.gateway.outcomes import answered, refused
from modelyard.gateway.paths import FORMS, target_of
from modelyard.gateway.problems import PROBLEM_TYPE, Header, Refusal, instance_lost, problem_body
from modelyard.gateway.routes import NotServing
from modelyard.gateway.served import Endpoint, RouteTable, ServedModel, Wanted
from modelyard.runtime.calls import GENERATE, V2
from modelyard.runtime.frames import Buffer, FramePeer, Head, pack

log = logging.getLogger(__name__)

# Heads that are remembered, and the longest of them: clients send the same one again and again.
_REMEMBERED: Final = 1024
_REMEMBERED_SIZE: Final = 2048

# Not Triton's generate calls: their answers may come in pieces.
_FORMS: Final = {kind: form for kind, form in FORMS.items() if form != GENERATE}


class Connection(Protocol):
    """What a call needs of the connection it came on."""

    @property
    def is_abandoned(self) -> bool:
        """See :class:`modelyard.gateway.exchange.Connection`."""

    def answer_directly(
        self, call: Call, status: int, content_type: bytes, headers: Sequence[Header], body: Buffer
    ) -> None:
        """Send a whole answer."""

    def abort(self) -> None:
        """End the connection."""


class Plan(NamedTuple):
    """What a request's head asks for, read once for all requests that have it. ``wanted`` is always a worker;
    ``packed`` is the head of the frame to it, up to the request's id; ``length`` is of the body, and
    ``header_length`` of the JSON at its beginning if there is more."""

    namespace: str
    name: str
    version: str | None
    authorization: bytes | None
    path: str
    length: int
    header_length: int | None
    packed: bytes

    def with_id(self, request_id: bytes) -> bytes:
        size = len(request_id)
        return self.packed + (bytes((0xA0 | size,)) if size < 32 else bytes((0xD9, size))) + request_id


class Direct:
    """Begins calls. ``plans`` are remembered by the bytes of their whole heads. With ``cors`` what pages of other
    origins ask is not for here."""

    def __init__(self, routes: RouteTable, access: Access, metrics: GatewayMetrics, *, cors: bool = False) -> None:
        self._routes = routes
        self._access = access
        self._metrics = metrics
        self._cors = cors
        self._plans: dict[bytes, Plan] = {}
        self.deadlines = Deadlines(asyncio.get_running_loop())

    def known(self, head: bytes) -> Plan | None:
        """What this head, byte for byte, asked for before."""
        return self._plans.get(head)

    def remember(self, head: bytes, plan: Plan) -> None:
        if len(head) <= _REMEMBERED_SIZE:
            if len(self._plans) >= _REMEMBERED:
                del self._plans[next(iter(self._plans))]
            self._plans[head] = plan

    def plan(self, target: bytes, fields: list[Header]) -> Plan | None:
        """What a POST of these asks for; None: it is for the application to say."""
        found = target_of(target.partition(b"?")[0])
        if found.kind not in _FORMS:
            return None
        headers = dict(fields)
        if len(headers) < len(fields) and sum(name == b"authorization" for name, _ in fields) > 1:
            return None
        length = headers.get(b"content-length")
        if length is None or b"transfer-encoding" in headers or (self._cors and b"origin" in headers):
            return None
        try:
            params = reading(headers)
        except Refusal:
            return None
        if "encoding" in params:  # what its length would be is not known
            return None
        path = target.decode("ascii", "replace").partition("?")[0]
        params["path"] = path
        if _FORMS[found.kind] != V2:
            params["form"] = _FORMS[found.kind]
        if found.version is not None:
            params["version"] = found.version
        params["id"] = ""
        return Plan(
            found.namespace,
            found.name,
            found.version,
            headers.get(b"authorization"),
            path,
            int(length),
            params.get("header_length"),
            # Without the id's length, which is 0 here.
            pack(Head("infer", 0, params))[:-1],
        )

    def begin(self, plan: Plan, connection: Connection, request_id: bytes | None) -> Call | None:
        """Take a place in the model's queue; None: it is for the application to say why not."""
        model = self._routes.find(plan.namespace, plan.name)
        if model is None:
            return None
        route = model.route
        wanted = Wanted(False, plan.version)
        if (
            plan.length > route.max_body
            or model.queued >= route.max_queue
            or (model.divided and plan.version is None)
            or not model.among(wanted)
            # The last of all, as it counts the request.
            or not self._access.may_infer(plan.authorization, route)
        ):
            return None
        model.queued += 1
        call = Call(self, plan, model, wanted, connection, request_id or new_request_id())
        self.deadlines.set(call, call.began + call.timeout)
        return call

    def refused(self, call: Call, refusal: Refusal) -> Refusal:
        """Count it; as much of it as the caller may know."""
        refused(call.model, call.began, refusal)
        self._metrics.refuse(refusal.code)
        if isinstance(refusal, NotServing) and not self._access.reads(call.plan.authorization, refusal.route):
            return refusal.without_reason()
        return refusal


class _Nobody:
    """Stands for the event that uvicorn sets for the application to look at a request."""

    def set(self) -> None:
        """Nobody looks."""


_NOBODY: Final = _Nobody()


class Call:
    """One request, from its head on, with ``timeout`` seconds to its answer. The connection says what comes of its
    body, the worker what the answer is, and the first of answer, deadline and the caller's leaving ends it."""

    __slots__ = (
        "_asked_again", "_body", "_direct", "_endpoint", "_over", "_parts", "_peer", "_stream", "_task", "began",
        "connection", "disconnected", "id", "keep_alive", "model", "more_body", "plan", "response_complete", "timeout",
        "wanted",
    )  # fmt: skip

    # What uvicorn's protocol reads or sets of the request at the head of its connection.
    message_event = _NOBODY
    response_started = False

    def __init__(
        self, direct: Direct, plan: Plan, model: ServedModel, wanted: Wanted, connection: Connection, request_id: bytes
    ) -> None:
        self.began = monotonic()
        self.timeout = model.route.request_timeout
        self.plan, self.model, self.wanted, self.connection, self.id = plan, model, wanted, connection, request_id
        self.keep_alive = self.more_body = True
        self.response_complete = self.disconnected = False
        self._direct = direct
        self._body = b""
        self._parts: list[bytes] | None = None  # of the body, if it comes in several
        self._endpoint: Endpoint | None = None
        self._peer: FramePeer | None = None
        self._stream = 0
        self._task: asyncio.Task[None] | None = None
        self._asked_again = self._over = False

    # ---------------------------------------------------------------- the request

    def body(self, piece: bytes) -> None:
        """More of the body."""
        if self._parts is not None:
            self._parts.append(piece)
        elif self._body:
            self._parts = [self._body, piece]
        else:
            self._body = piece

    def complete(self) -> None:
        """The whole body is there: ask a worker."""
        self.more_body = False
        if self._over:
            return
        content = self._body if self._parts is None else b"".join(self._parts)
        self._body, self._parts = content, None
        header_length = self.plan.header_length
        if header_length is not None and header_length > self.plan.length:
            self._refuse(bad_header_length(f"is {header_length}, but the body has {self.plan.length} bytes"))
            return
        model = self.model
        try:
            endpoint = model.choose(self.wanted)
        except Refusal:
            self._ask_slowly()
            return
        peer = endpoint.link.peer
        if peer is None or not peer.open:
            self._endpoint = endpoint
            self._ask_slowly()
            return
        self._endpoint, self._peer = endpoint, peer
        self._stream = peer.send(self.plan.with_id(self.id), content, self._answered)

    # ---------------------------------------------------------------- the answer

    def _answered(self, head: Head | None, content: memoryview) -> None:
        endpoint, self._endpoint, self._peer = self._endpoint, None, None
        assert endpoint is not None
        if head is None:
            endpoint.shun()
            self.model.release(endpoint, cut=True)
            if self.model.route.repeatable:
                self._asked_again = True
                self._ask_slowly(tried=(endpoint,))
            else:
                self._refuse(instance_lost(self.model.route.name))
        elif is_draining(head):
            self.model.release(endpoint)
            self._ask_slowly(tried=(endpoint,))
        else:
            self.model.release(endpoint, answered=True)
            self._respond(head, content)

    def _ask_slowly(self, tried: tuple[Endpoint, ...] = ()) -> None:
        """Ask with what may take waiting: a connection to be made, another instance, one that is to start."""
        self._task = asyncio.get_running_loop().create_task(self._forward(tried))

    async def _forward(self, tried: tuple[Endpoint, ...]) -> None:
        chosen, self._endpoint = self._endpoint, None
        packed, again = self.plan.with_id(self.id), self._asked_again
        try:
            answer, content = await ask(
                self, self.model, self.wanted, packed, self._body, chosen=chosen, tried=tried, again=again
            )
        except Refusal as refusal:
            self._refuse(refusal)
        except ClientGone:
            self.gone()
            self.connection.abort()
        except Exception:
            log.exception("%s failed (request %s)", self.plan.path, self.id.decode())
            self._refuse(Refusal(500, "internal_error", "The gateway failed on this request; its log says more."))
        else:
            self._respond(answer, content)

    def _respond(self, head: Head, content: Buffer) -> None:
        odd = odd_status(head)
        if odd is not None:
            self._refuse(odd)
            return
        if not self._end():
            return
        answered(self.model, self.began, head.status)
        params = head.params
        length = params.get("header_length")
        self.connection.answer_directly(
            self,
            head.status,
            params.get("content_type", "application/json").encode(),
            () if length is None else ((LENGTH_HEADER, b"%d" % length),),
            content,
        )

    def _refuse(self, refusal: Refusal) -> None:
        if not self._end():
            return
        refusal = self._direct.refused(self, refusal)
        body = problem_body(refusal, self.plan.path, self.id.decode())
        self.connection.answer_directly(self, refusal.status, PROBLEM_TYPE, refusal.headers, body)

    # ---------------------------------------------------------------- early ends

    def end(self, why: Ended) -> None:
        """Its deadline has passed."""
        del why  # the connection says itself when its caller goes away
        self._take_back()
        self._refuse(overdue(self.timeout, received=not self.more_body))

    def stop(self, refusal: Refusal) -> None:
        """Answer with this instead."""
        self._take_back()
        self._refuse(refusal)

    def gone(self, status: int = CLIENT_GONE) -> None:
        """Nobody waits for the answer any more; ``status``: what was said instead."""
        self.disconnected = True
        self._take_back()
        if self._end():
            self.model.stats.count(status)

    def _take_back(self) -> None:
        if self._endpoint is not None:
            if self._peer is not None:
                self._peer.cancel(self._stream)
            endpoint, self._endpoint, self._peer = self._endpoint, None, None
            self.model.release(endpoint)
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    def _end(self) -> bool:
        """Whether this is the end: there is only one."""
        if self._over:
            return False
        self._over = True
        self._body, self._parts = b"", None
        self.model.queued -= 1
        self._direct.deadlines.clear(self)
        return True
