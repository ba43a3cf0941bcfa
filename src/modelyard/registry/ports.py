"""What the registry needs of a store for its catalog. The store implements it; the registry names it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeVar

from modelyard.control.ports import Page
from modelyard.domain.registry import Alias, AliasMove, RegisteredModel, Version
from modelyard.domain.shelf import Change, Shelf

T = TypeVar("T")

REGISTERED_SORTS = ("name", "-name", "created_at", "-created_at", "updated_at", "-updated_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredModelQuery:
    """Which registered models to list. ``namespace`` None: all; ``labels`` must all match; ``framework`` is that of
    one of its versions; ``search`` is part of the name, the description, the series or a label's value, in whatever
    case; ``deleted``: only those that can be restored, else only the others."""

    namespace: str | None = None
    search: str = ""
    series: str = ""
    framework: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    deleted: bool = False
    sort: str = "name"
    page_size: int = 50
    page_token: str = ""


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
