"""What the control plane needs of a store and of a gateway. Others implement these; control names them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from modelyard.access.callers import Snapshot
from modelyard.domain.access import Sight
from modelyard.domain.capacity import Claim, Inventory
from modelyard.domain.commands import Change
from modelyard.domain.errors import Problem, Unavailable
from modelyard.domain.model import Amount, DrainReport, Event, Model, ModelRef, Namespace, Revision
from modelyard.domain.names import Registered
from modelyard.domain.operations import Operation
from modelyard.domain.rates import Rate
from modelyard.domain.spec import Artifact, Engine, Spec, Traffic
from modelyard.domain.states import State

T = TypeVar("T")

MODEL_SORTS = ("name", "-name", "created_at", "-created_at", "updated_at", "-updated_at", "state", "-state")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelQuery:
    """Which models to list. ``namespace`` None: all; ``labels`` must all match; ``search`` is part of
    the name; ``scheduled``: only those with a schedule; ``page_token`` is what the page before ended with; ``sight``:
    only what that sees."""

    namespace: str | None = None
    uids: tuple[str, ...] | None = None
    states: tuple[State, ...] = ()
    engine: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    search: str = ""
    scheduled: bool = False
    sort: str = "name"
    page_size: int = 50
    page_token: str = ""
    sight: Sight | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationQuery:
    """Newest first. ``done`` None: both; ``sight``: only those of models that that sees."""

    namespace: str | None = None
    model: str | None = None
    done: bool | None = None
    page_size: int = 50
    page_token: str = ""
    sight: Sight | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventQuery:
    """Newest first, or with ``after`` (an event's id) oldest first from there on. ``sight``: only those of models that
    that sees."""

    namespace: str | None = None
    model: str | None = None
    model_uid: str | None = None
    after: int | None = None
    page_size: int = 50
    page_token: str = ""
    sight: Sight | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One keyset page; ``next_page_token`` is empty on the last."""

    items: tuple[T, ...]
    next_page_token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Idempotency:
    """A caller's key (``scope`` says whose and for what route), and the fingerprint of the request it came with, in the
    form ``KEY.DIGEST``; ``others`` are those of the same request under other keys."""

    scope: str
    key: str
    fingerprint: str
    others: tuple[str, ...] = ()

    def may_be(self, fingerprint: str) -> bool:
        """Whether that may be of the same request. One under a key that is not here cannot be compared, and is
        believed: two homes with keys of their own may share a database."""
        known = {each.rpartition(".")[0]: each for each in (self.fingerprint, *self.others)}
        return known.get(fingerprint.rpartition(".")[0], fingerprint) == fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An item of a bulk request, as what a command on the model ``uid`` is carried out for: once, and only while the
    item waits."""

    bulk: str
    position: int
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """Proof of tenure of a site. Each new holder of a site's lease has a higher ``token``."""

    site: str
    token: int


class LeaseLost(Unavailable):
    """Another control process drives this site now. Nothing was written."""

    code = "lease_lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A control process, told apart for good: its machine (as long as that runs, and the part of it that sees the
    same processes), its id and its start in clock ticks since the machine's."""

    machine: str
    pid: int
    ticks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Premises:
    """What a site is: ``home`` (a path) on ``machine``, reached at ``url``."""

    id: str
    machine: str
    home: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A site on record. ``holder`` holds its lease, unless that ``expired`` (by the database's clock); ``down``: it
    was taken down on purpose; ``seen_at``: when a holder was last heard of; ``inventory``: None until one has
    said what there is."""

    premises: Premises
    holder: Holder | None
    token: int
    expired: bool
    down: bool
    seen_at: datetime
    inventory: Inventory | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What another process has committed: a change of this model, and of these operations. ``site`` is the model's;
    empty where it is not known. ``access``: of members or keys, and of no model."""

    uid: str
    site: str = ""
    operations: tuple[str, ...] = ()
    access: bool = False


class Sites(Protocol):
    """The record of sites, and the leases by which one process at a time drives each.

    Where ``shared`` is false only processes of one machine use the database, and one of them holds it
    whole: leases then never expire, and there is no news.
    """

    shared: bool

    async def list_sites(self) -> Sequence[Site]: ...

    async def get_site(self, site: str) -> Site | None: ...

    async def take_site(
        self, premises: Premises, holder: Holder, ttl: float, *, over: int = 0, even_if_down: bool = True
    ) -> Fence | None:
        """Make ``holder`` the holder of the site's lease for ``ttl`` seconds, with a new token. None if another
        one holds it (unless its token is ``over``: the caller knows that it has ended), or if the site is
        down and not ``even_if_down``."""

    async def renew_site(self, fence: Fence, ttl: float) -> None:
        """Hold it for ``ttl`` seconds from now. Raises LeaseLost."""

    async def release_site(self, fence: Fence, *, down: bool) -> None:
        """Give it back; nothing if it is lost already."""

    async def set_inventory(self, fence: Fence, inventory: Inventory) -> None:
        """Raises LeaseLost."""

    async def adopt_models(self, site: str) -> None:
        """Models without a site become this one's: they are older than sites are. Where the database is not
        ``shared`` all do: it belongs to one home, which may have been moved."""

    async def count_models_of(self) -> Mapping[str, int]:
        """How many models each site has, by its id; sites without models are missing."""

    async def give_models(self, site: str, to: str, unheard_for: float, tell: Callable[[Model], Event]) -> None:
        """Give every model of ``site`` to the site ``to``, with an event each. Whoever held the lease of ``site``
        can write nothing in its name any more: it would have to take it anew, and find no models.

        Raises:
            Refused: it has a holder now, or had one in the last ``unheard_for`` seconds.
        """

    def news(self) -> AsyncIterator[News | None]:
        """What others commit, as they do; None when some of it may have been missed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What a registered source stands for now, and the engine that runs it: the one asked for, or what its files
    tell."""

    engine: Engine
    artifact: Artifact


class Sources(Protocol):
    """Finds out what registered models stand for."""

    async def resolve(self, namespace: str, source: Registered, engine: Engine | None) -> Resolved:
        """Raises InvalidRequest, at ``spec.source`` or ``spec.engine``: there is no such version, or no engine that
        could run it."""

    async def version(self, namespace: str, source: Registered) -> str | None:
        """The version that it means now; None where it means nothing any more."""

    async def problems(self, namespace: str, spec: Spec, *, required: bool = False) -> Sequence[Problem]:
        """Why nothing may be launched from ``spec`` in the namespace now, at paths relative to it
        (:func:`modelyard.domain.signing.launch_problems`). ``required``: as if it required signatures."""


class Store(Protocol):
    """All writes of a model go through :meth:`commit`: one change, one transaction."""

    async def create_namespace(self, namespace: Namespace) -> None:
        """Raises AlreadyExists."""

    async def get_namespace(self, name: str) -> Namespace | None: ...

    async def list_namespaces(self) -> Sequence[Namespace]:
        """All, by name."""

    async def change_namespace(self, name: str, change: Callable[[Namespace], Namespace]) -> Namespace:
        """Write what ``change`` makes of its description, quota and features. Raises NotFound."""

    async def delete_namespace(self, name: str) -> None:
        """Raises Refused (code ``not_empty``) while it holds models, NotFound if there is none."""

    async def get_model(self, namespace: str, name: str) -> Model | None: ...

    async def get_model_by_uid(self, uid: str) -> Model | None: ...

    async def list_models(self, query: ModelQuery) -> Page[Model]:
        """Raises InvalidRequest for a page token or sort that is none."""

    async def model_versions(self, site: str | None = None) -> Mapping[ModelRef, int]:
        """Every model of ``site`` (None: of all) with its version: cheap, so that whoever keeps models at
        hand can find out which have changed."""

    async def following(self, site: str) -> Sequence[str]:
        """The uids of the site's models that follow their source (``follow: auto``)."""

    async def models_of(self, site: str) -> Sequence[Model]:
        """Every model of ``site``."""

    async def held_elsewhere(self, namespace: str, site: str) -> Amount:
        """What instances of the namespace's models on other sites hold, by what has been written of them."""

    async def queue(self) -> Sequence[tuple[str, Claim]]:
        """The site and the claim of every queued model, in the order of rank: of the claims only what that is made
        of, and of their refs the uid."""

    async def held(self) -> Mapping[str, Amount]:
        """What the instances of each namespace hold, by their models' statuses; namespaces that hold nothing may
        be missing."""

    async def count_models(self, sight: Sight | None = None) -> Mapping[str, int]:
        """How many models are in each state, of those that ``sight`` sees (None: all); states without models are
        missing."""

    async def groups_of(self, model_uid: str) -> frozenset[str]:
        """The groups of a model, also of one that is deleted: those that it had at last."""

    async def commit(
        self, change: Change, idempotency: Idempotency | Place | None = None, fence: Fence | None = None
    ) -> Change:
        """Write a change in one transaction and return it as written (versions raised, events numbered).

        Raises:
            LeaseLost: ``fence`` is no longer the newest of its site.
            VersionConflict: ``change.before`` is no longer what is stored; the item at ``idempotency`` no longer waits.
            AlreadyExists: a new model's name is taken.
            NotFound: a new model's namespace does not exist.
        """

    async def recall(self, idempotency: Idempotency | Place) -> Operation | None:
        """The operation that this key, or item, led to before, as it is now.

        Raises:
            IdempotencyMismatch: the key came with another request then.
            Refused: the item is over without one (code ``item_over``).
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
class CanaryShare:
    """Instances of generation ``after`` get ``percent`` per cent of the requests, those of ``before`` the others;
    ``mark`` is what is to be told with the counts."""

    before: int
    after: int
    percent: float
    mark: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What the gateway knows of one model. ``instances`` holds, by id, each instance that may serve; a
    gateway sends nothing new to any other instance of the model. ``generation`` is the target's: during a
    rollout some instances are of another. ``repeatable``: the model changes nothing, so a request whose instance was
    lost may be asked of another."""

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
    hold: Hold | None = None
    repeatable: bool = False
    canary: CanaryShare | None = None
    traffic: Traffic | None = None
    groups: tuple[str, ...] = ()
    rate: Rate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Requests to a model that does not serve (idle, queued or starting, never stopped) wait until it does:
    ``timeout`` seconds at most, beside at most ``max_waiting`` others."""

    max_waiting: int
    timeout: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmLoad:
    """What one arm of a model's traffic has had: of ``kind`` revision (of a canary; since the step ``mark`` began),
    model (of a split) or shadow (both since the gateway has known of them). ``errors``, ``seconds`` and ``buckets``:
    see :class:`modelyard.domain.significance.Counts`; ``missed``: requests meant for it that did not go to it, by
    why."""

    kind: str
    name: str
    mark: int
    requests: int
    errors: int
    seconds: float
    buckets: tuple[int, ...]
    missed: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """How the requests of one model were answered since the gateway began to count: so many ``answers``, of which
    ``errors`` with 5xx (refusals among them) and ``rejected`` with 4xx, and how many of those that reached an instance
    took how long (``buckets``: see :mod:`modelyard.domain.latency`)."""

    answers: int
    errors: int
    buckets: tuple[int, ...]
    rejected: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the gateway has seen of one model since it began to count. ``requests``: how many came in for
    it (held ones when they go on to an instance); ``busy``: seconds spent in instances, all requests added
    up, those in flight included; ``quiet``: seconds since the last request ended or the count began, 0 while one
    is in flight; ``waiting``: requests that are held; ``arms``: those of its traffic, if it has several;
    ``answered``: None while nothing was; ``instances``: those that have requests in flight, and how many."""

    uid: str
    requests: int
    busy: float
    in_flight: int
    waiting: int
    quiet: float
    arms: tuple[ArmLoad, ...] = ()
    answered: Answered | None = None
    instances: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loads:
    """One report: the models of which something has changed since the last one; of a gateway that is new
    (``gateway`` names it: counts begin anew with each) all of them. ``at``: seconds by the gateway's clock."""

    gateway: str
    at: float
    models: tuple[Load, ...]


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

    async def set_access(self, snapshot: Snapshot) -> None:
        """Have these keys and members let in, and nobody else: once this returns a gateway that is there has them. One
        that is away reads them when it starts, and is told when it comes back."""

    def key_uses(self) -> AsyncIterator[Mapping[str, datetime]]:
        """When keys were last used there, by their ids: each use once, about once a minute."""

    def loads(self) -> AsyncIterator[Loads]:
        """What is asked of the models: at once when a request begins to wait, else at most twice a second,
        and nothing while nothing changes."""
