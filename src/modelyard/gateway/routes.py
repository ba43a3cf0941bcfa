"""What the control process says of each model, and what callers are told of one that does not serve.

A :class:`Route` is read from a file or a frame and never changed; :mod:`modelyard.gateway.served` acts on it.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from modelyard.domain.names import DEFAULT_NAMESPACE, is_name
from modelyard.domain.rates import Rate
from modelyard.domain.states import SHUT_DOWN, State
from modelyard.gateway.problems import Refusal, retry_after

# The states in which nothing is served, whatever instances are still there.
CLOSED_STATES: Final = (State.STOPPED, State.STOPPING, State.DELETING)
DRAINING_STATES: Final = (State.STOPPING, State.DELETING)
# Those in which a request may wait for an instance; the control process starts one by itself.
_WAKING_STATES: Final = (State.IDLE, State.QUEUED, State.STARTING, State.RUNNING, State.UPDATING)

_ADDRESS = re.compile(r"unix:/[^\x00]+\Z|http://[A-Za-z0-9.\[\]:-]+:\d{1,5}\Z")
_UID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")

_ADVICE: Final = {
    State.STOPPED: "Start it with 'modelyard start {model}'.",
    State.STOPPING: "Wait until it is stopped, then start it with 'modelyard start {model}'.",
    State.DELETING: "It is being deleted.",
    State.QUEUED: "It starts by itself once there is room.",
    State.STARTING: "Try again in a moment.",
    State.RUNNING: "Its instances are being restored; try again in a moment.",
    State.UPDATING: "Its instances are being replaced; try again in a moment.",
    State.IDLE: "Start it with 'modelyard start {model}'.",
    State.ERROR: "'modelyard status {model}' and 'modelyard logs {model}' say why.",
}
# Of a model that the window of a policy keeps stopped, until the time that its message says.
_SHUT_DOWN: Final = (
    "Until then a start is refused, unless an administrator overrides the policy ('modelyard policy override {model} "
    "…'); afterwards start it with 'modelyard start {model}'."
)
# Of an idle model whose requests wait for it; what is told so is a probe, or came when it might not wait.
_WAKES: Final = "It wakes with the next request."
# Where waiting a moment helps; a stopped model stays stopped until somebody starts it.
_PASSING: Final = (State.QUEUED, State.STARTING, State.RUNNING, State.UPDATING)


class InvalidRoute(ValueError):
    """The text is not a route."""


class Instance(msgspec.Struct, frozen=True):
    """Where one instance is reached (``unix:/path``: a worker that speaks frames; ``http://host:port``: a
    server that its user brought), and the generation of the model that it serves."""

    address: str
    generation: int


class Hold(msgspec.Struct, frozen=True):
    """Of the requests that come while nothing serves ``max_waiting`` may wait at once for an instance,
    ``timeout`` seconds each."""

    max_waiting: int
    timeout: float


class Canary(msgspec.Struct, frozen=True):
    """Of the requests ``percent`` per cent go to instances of generation ``after``, the others to those of ``before``.
    ``mark`` says of what step of the rollout the counts are."""

    before: int
    after: int
    percent: float
    mark: int


class Traffic(msgspec.Struct, frozen=True):
    """Other models of the namespace, by name, that get some per cent of the requests (``split``) or copies of them
    (``shadow``). ``by`` (none, header, cookie) and ``name`` say what tells callers apart."""

    split: dict[str, float] = {}
    shadow: dict[str, float] = {}
    by: str = "none"
    name: str = ""
    set_cookie: bool = False


class Route(msgspec.Struct, kw_only=True, frozen=True):
    """What the control process says of one model (``run/routes/<uid>.json``, and ``set_route``).

    ``generation`` is what the model is steered to: during a rollout ``instances`` (by id, those that may
    serve) are of others too. ``request_timeout`` is in seconds, ``max_body`` in bytes, ``max_queue`` in
    requests that may run or wait at once. Without ``hold`` no request waits for an instance. ``repeatable``: the
    model changes nothing, so a request whose instance was lost may be asked of another. With ``canary`` or
    ``traffic`` not all requests go the same way. ``groups`` are those who may see and call it, none: all of the
    namespace; ``rate`` is how often it may be called.
    """

    uid: str
    namespace: str
    name: str
    state: State
    generation: int
    message: str = ""
    public: bool = False
    instances: dict[str, Instance] = {}
    request_timeout: float
    max_body: int
    max_queue: int
    metadata: dict[str, Any] = {}
    hold: Hold | None = None
    repeatable: bool = False
    canary: Canary | None = None
    traffic: Traffic | None = None
    groups: tuple[str, ...] = ()
    rate: Rate | None = None

    @property
    def wakes(self) -> bool:
        """Whether a request may wait for an instance; a stopped model is never woken."""
        return self.hold is not None and self.hold.max_waiting > 0 and self.state in _WAKING_STATES

    @property
    def argument(self) -> str:
        """The model as the command line takes it."""
        elsewhere = "" if self.namespace == DEFAULT_NAMESPACE else f" --namespace {self.namespace}"
        return self.name + elsewhere


_decode = msgspec.json.Decoder(Route).decode


def parse_route(text: bytes | memoryview) -> Route:
    """Read a route.

    Raises:
        InvalidRoute: with what is wrong with it.
    """
    try:
        route = _decode(text)
    except msgspec.DecodeError as error:
        raise InvalidRoute(str(error)) from None
    for field in ("namespace", "name"):
        if not is_name(getattr(route, field)):
            raise InvalidRoute(f"{field} {getattr(route, field)!r} is not a name")
    if not _UID.match(route.uid):
        raise InvalidRoute(f"uid {route.uid!r} is not an id")
    if not (route.request_timeout > 0 and route.max_body > 0 and route.max_queue > 0):
        raise InvalidRoute("request_timeout, max_body and max_queue must be above 0")
    if route.hold is not None and not (route.hold.timeout > 0 and route.hold.max_waiting >= 0):
        raise InvalidRoute("hold.timeout must be above 0, hold.max_waiting not below")
    if route.rate is not None and not (route.rate.per_second > 0 and route.rate.room >= 1):
        raise InvalidRoute("rate.per_second must be above 0, rate.burst not below 1")
    for name, instance in route.instances.items():
        if not _UID.match(name):
            raise InvalidRoute(f"instance {name!r} is not an id")
        if not _ADDRESS.match(instance.address):
            raise InvalidRoute(f"address {instance.address!r} of instance {name} is none")
    return route


class NotServing(Refusal):
    """The model serves nothing now; says what to do about it.

    The route's message may name paths and quote exceptions, so :meth:`without_reason` is for callers
    who have not shown the token.
    """

    def __init__(self, route: Route, *, reason: bool = True) -> None:
        wakes = route.state is State.IDLE and route.wakes
        shut = reason and route.state in (State.STOPPED, State.STOPPING) and SHUT_DOWN in route.message
        advice = _WAKES if wakes else _SHUT_DOWN if shut else _ADVICE[route.state]
        advice = advice.format(model=route.argument)
        message = f" ({route.message.rstrip('.')})" if reason and route.message else ""
        passing = route.state in _PASSING
        super().__init__(
            503,
            "model_not_serving",
            f"Model {route.name!r} is {route.state}{message}. {advice}",
            headers=[retry_after(1)] if passing else (),
            state=str(route.state),
            **({"message": route.message} if reason else {}),
            **({"retry_after": 1} if passing else {}),
        )
        self.route = route

    def without_reason(self) -> NotServing:
        """The state and what to do, without why."""
        return NotServing(self.route, reason=False)
