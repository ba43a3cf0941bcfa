"""What the registry needs of a store for its catalog. The store implements it; the registry names it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeVar

from modelyard.control.ports import Idempotency, Page
from modelyard.domain.access import Sight
from modelyard.domain.keeping import Pin
from modelyard.domain.registry import Alias, AliasMove, RegisteredModel, Version
from modelyard.domain.shelf import Change, Shelf
from modelyard.domain.transfers import Transfer

T = TypeVar("T")

REGISTERED_SORTS = ("name", "-name", "created_at", "-created_at", "updated_at", "-updated_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredModelQuery:
    """Which registered models to list. ``namespace`` None: all; ``labels`` must all match; ``framework`` is that of
    one of its versions; ``search`` is part of the name, the description, the series or a label's value, in whatever
    case; ``deleted``: only those that can be restored, else only the others; ``sight``: only what that sees."""

    namespace: str | None = None
    search: str = ""
    series: str = ""
    framework: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    deleted: bool = False
    sort: str = "name"
    page_size: int = 50
    page_token: str = ""
    sight: Sight | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionQuery:
    """Versions of one model, the highest first. ``within`` is the one spelling of a range."""

    model_uid: str
    within: str = ""
    framework: str = ""
    deleted: bool = False
    page_size: int = 50
    page_token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveQuery:
    """Moves of one alias, the last first."""

    model_uid: str
    alias: str
    page_size: int = 50
    page_token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferQuery:
    """Newest first. ``namespace``, ``model`` None: of all; ``done`` None: both those that are over and the others;
    ``sight``: only what that sees."""

    namespace: str | None = None
    model: str | None = None
    done: bool | None = None
    page_size: int = 50
    page_token: str = ""
    sight: Sight | None = None


class CatalogStore(Protocol):
    """All writes under a registered model's name go through :meth:`change`: one command, one transaction, and nobody
    else's in between."""

    async def add(self, change: Change) -> Change:
        """Write a new registered model, and return the change as written.

        Raises:
            AlreadyExists: the name is taken, also by one that is deleted and not purged yet.
            NotFound: its namespace does not exist.
        """

    async def change(self, namespace: str, name: str, decide: Callable[[Shelf], Change]) -> Change:
        """Write what ``decide`` makes of the model, and return it as written (the model's version raised); what
        ``decide`` raises undoes everything.

        Raises:
            NotFound: naming what is missing, the model or its namespace.
        """

    async def look(self, namespace: str, name: str, read: Callable[[Shelf], T]) -> T:
        """What ``read`` makes of the model; it may change meanwhile. Raises NotFound as :meth:`change`."""

    async def list_registered(self, query: RegisteredModelQuery) -> Page[RegisteredModel]:
        """Raises InvalidRequest for a page size, token, sort or search that is none."""

    async def list_versions(self, query: VersionQuery) -> Page[Version]:
        """Without their cards. Raises InvalidRequest for a page size or token that is none."""

    async def list_aliases(self, model_uid: str) -> Sequence[Alias]:
        """By name."""

    async def list_moves(self, query: MoveQuery) -> Page[AliasMove]:
        """Raises InvalidRequest for a page size or token that is none."""

    async def purge(self, now: datetime) -> Sequence[str]:
        """Forget for good the models and versions whose time to be restored is over at ``now``, unless a served model
        names them, and return the manifests that nothing names any more. That a version's number was taken, and by
        which bytes, is kept."""

    async def manifests_in_use(self) -> frozenset[str]:
        """Those of all versions, deleted ones too as long as they can be restored, and of all revisions of served
        models, to each of which its model may go back."""

    async def manifests_served(self) -> frozenset[str]:
        """Those that models which run or are to run are made of, as they are wished and as they are served."""


class TransferStore(Protocol):
    """The record of transfers. ``shared``: others, in other processes, may write it too."""

    shared: bool

    async def add(self, transfer: Transfer, idempotency: Idempotency | None = None) -> None:
        """Write a new one.

        Raises:
            AlreadyExists: a transfer to the same version is under way.
            VersionConflict: the idempotency key was written meanwhile; :meth:`recall` finds its transfer now.
            IdempotencyMismatch: the same, by another request.
        """

    async def recall(self, idempotency: Idempotency) -> Transfer | None:
        """The transfer that the key led to, as it is now. Raises IdempotencyMismatch."""

    async def get(self, transfer_id: str) -> Transfer | None: ...

    async def list(self, query: TransferQuery) -> Page[Transfer]:
        """Raises InvalidRequest for a page size or token that is none."""

    async def active(self, site: str) -> Sequence[Transfer]:
        """Those that are queued or under way there, the oldest first."""

    async def write(self, before: Transfer, after: Transfer) -> None:
        """Go from ``before`` to ``after``.

        Raises:
            VersionConflict: its state, phase or claim is no longer that of ``before``.
            AlreadyExists: ``after`` names a version to which another transfer is under way.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A published version that has these bytes; ``deleted``: it can still be restored."""

    namespace: str
    name: str
    version: str
    deleted: bool = False


class PinStore(Protocol):
    """What is to be kept in the caches of sites, and for whom what is there."""

    async def add(self, pin: Pin) -> bool:
        """Whether it is new; one that is there stays as it is. Raises NotFound for a namespace that there is none
        of."""

    async def remove(self, site: str, namespace: str, reference: str, *, preload: bool) -> bool:
        """Whether it was there."""

    async def of_site(self, site: str) -> Sequence[Pin]:
        """The first that was asked for first."""

    async def versions_of(self, manifests: Collection[str]) -> Mapping[str, Sequence[Known]]:
        """The published versions that have these bytes, by manifest; those of none are left out."""

    async def served(self) -> Mapping[str, frozenset[tuple[str, str]]]:
        """The models (namespace and name) that run or are to run, by the manifests that they are made of."""
