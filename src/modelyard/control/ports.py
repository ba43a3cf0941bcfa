"""What the control plane needs of a store and of a gateway. Others implement these; control names them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from modelyard.domain.commands import Change
from modelyard.domain.model import DrainReport, Event, Model, ModelRef, Namespace, Revision
from modelyard.domain.operations import Operation
from modelyard.domain.spec import Spec
from modelyard.domain.states import State

T = TypeVar("T")

MODEL_SORTS = ("name", "-name", "created_at", "-created_at", "updated_at", "-updated_at", "state", "-state")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelQuery:
    """Which models to list. ``namespace`` None: all; ``labels`` must all match; ``search`` is part of
    the name; ``page_token`` is what the page before ended with."""

    namespace: str | None = None
    states: tuple[State, ...] = ()
    engine: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    search: str = ""
    sort: str = "name"
    page_size: int = 50
    page_token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationQuery:
    """Newest first. ``done`` None: both."""

    namespace: str | None = None
    model: str | None = None
    done: bool | None = None
    page_size: int = 50
    page_token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventQuery:
    """Newest first, or with ``after`` (an event's id) oldest first from there on."""

    namespace: str | None = None
    model: str | None = None
    model_uid: str | None = None
    after: int | None = None
    page_size: int = 50
    page_token: str = ""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One keyset page; ``next_page_token`` is empty on the last."""

    items: tuple[T, ...]
    next_page_token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Idempotency:
    """A caller's key (``scope`` says whose and for what route), and a digest of the request it came with."""

    scope: str
    key: str
    fingerprint: str


class Store(Protocol):
    """All writes of a model go through :meth:`commit`: one change, one transaction."""

    async def create_namespace(self, namespace: Namespace) -> None:
        """Raises AlreadyExists."""

    async def get_namespace(self, name: str) -> Namespace | None: ...

    async def list_namespaces(self) -> Sequence[Namespace]:
        """All, by name."""

    async def delete_namespace(self, name: str) -> None:
        """Raises Refused (code ``not_empty``) while it holds models, NotFound if there is none."""

    async def get_model(self, namespace: str, name: str) -> Model | None: ...

    async def get_model_by_uid(self, uid: str) -> Model | None: ...

    async def list_models(self, query: ModelQuery) -> Page[Model]:
        """Raises InvalidRequest for a page token or sort that is none."""

    async def model_refs(self) -> Sequence[ModelRef]:
        """Every model there is: what the reconciler starts with."""

    async def count_models(self) -> Mapping[str, int]:
        """How many models are in each state; states without models are missing."""

    async def commit(self, change: Change, idempotency: Idempotency | None = None) -> Change:
        """Write a change in one transaction and return it as written (versions raised, events numbered).

        Raises:
            VersionConflict: ``change.before`` is no longer what is stored.
            AlreadyExists: a new model's name is taken.
            NotFound: a new model's namespace does not exist.
        """

    async def recall(self, idempotency: Idempotency) -> Operation | None:
        """The operation that this key led to before, as it is now.

        Raises:
            IdempotencyMismatch: the key came with another request then.
        """

    async def get_revision_spec(self, model_uid: str, generation: int) -> Spec | None: ...

    async def list_revisions(self, model_uid: str) -> Sequence[Revision]:
        """Newest first."""

    async def get_operation(self, operation_id: str) -> Operation | None: ...

    async def list_operations(self, query: OperationQuery) -> Page[Operation]: ...

    async def running_operations(self, model_uid: str) -> Sequence[Operation]:
        """Oldest first."""

    async def list_events(self, query: EventQuery) -> Page[Event]: ...

    async def last_event_id(self) -> int:
        """0 when there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where one instance is reached (``address``: see ``domain.model.Instance``), and the generation it serves."""

    address: str
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What the gateway knows of one model. ``instances`` holds, by id, each instance that may serve; a
    gateway sends nothing new to any other instance of the model. ``generation`` is the target's: during a
    rollout some instances are of another."""

    ref: ModelRef
    state: State
    message: str
    generation: int
    public: bool
    instances: Mapping[str, Endpoint]
    request_timeout: float
    max_body: int
    max_queue: int
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The gateway's word: requests still in flight in each instance that it no longer serves to, and what
    became of requests since the model began to drain."""

    in_flight: Mapping[str, int]
    report: DrainReport


class Gateway(Protocol):
    """The control plane's side of the gateway's channel."""

    async def set_route(self, route: Route, watch: tuple[str, ...]) -> Closed:
        """Have the model served as ``route`` says; answer for the instances in ``watch``. A gateway that
        is away serves nobody, so each of them then counts as drained; it is told when it comes back. One
        that refuses the route goes on with the one before, so none of them does: logged, never raised."""

    async def remove_route(self, ref: ModelRef) -> None: ...

    def drained(self) -> AsyncIterator[ModelRef]:
        """A model's ref each time one of its closed instances has nothing in flight any more, and each
        time the gateway has come back."""
