"""What belongs to nothing any more: found, shown, and cleared when somebody says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from modelyard.backends.port import Backend, Orphan
from modelyard.control.absences import described
from modelyard.control.changes import ChangeFeed
from modelyard.control.ports import OperationQuery, Site, Sites, Store
from modelyard.control.resealing import Former, Resealing
from modelyard.domain.commands import Change
from modelyard.domain.errors import ModelyardError, Refused
from modelyard.domain.model import Event, Model
from modelyard.domain.operations import Operation, OperationKind, cancel, succeed
from modelyard.domain.spec import BackendName

ROW = "row"
SITE = "site"
# A key that is not the newest, and is needed still.
KEY = "key"
# A site may be away for so many seconds (a new version, a reboot of its machine) before it is found.
SILENT_FOR = 60.0
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Cleared:
    """What became of one orphan; ``error`` None: it is gone."""

    orphan: Orphan
    error: ModelyardError | None


class Doctor:
    """Examines the backends that this control process drives for ``site``, and the database, and what there is sealed
    under former keys."""

    def __init__(
        self,
        store: Store,
        sites: Sites,
        feed: ChangeFeed,
        backends: Mapping[BackendName, Backend],
        clock: Callable[[], datetime],
        *,
        site: str,
        resealing: Resealing,
    ) -> None:
        self._store = store
        self._resealing = resealing
        self._sites = sites
        self._site = site
        self._feed = feed
        self._backends = backends
        self._clock = clock

    async def examine(self) -> list[Orphan]:
        """Everything found, processes first."""
        found = [orphan for backend in self._backends.values() for orphan in await self._orphans(backend)]
        found += [_of(operation) for operation in await self._lost_operations()]
        found += [_of_key(former) for former in await self._resealing.formers()]
        return found + [_of_site(site, count) for site, count in await self._silent_sites()]

    async def clear(self, chosen: Sequence[Orphan], actor: str, *, named: bool) -> list[Cleared]:
        """End or remove each of ``chosen`` that is still an orphan; one that cannot be is reported and keeps none
        of the others. ``named``: somebody has said of each that it is to be cleared, as a site wants it, which
        may be away and come back."""
        cleared = []
        orphans = {(orphan.kind, orphan.id) for orphan in await self.examine()}
        for orphan in chosen:
            try:
                if orphan.kind == SITE and not named:
                    raise Refused("not_named", f"A site is only given up by name. {orphan.message}")
                if (orphan.kind, orphan.id) in orphans:
                    await self._clear(orphan, actor)
                cleared.append(Cleared(orphan, None))
            except ModelyardError as error:
                cleared.append(Cleared(orphan, error))
        return cleared

    async def _orphans(self, backend: Backend) -> Sequence[Orphan]:
        # What is left here of a model that was given to another site is an orphan too.
        known = await self._known(self._site)
        while True:
            found = await backend.orphans(known)
            # A model made while the backend looked is no orphan.
            if (now_known := await self._known(self._site)) <= known:
                return found
            known = now_known

    async def _known(self, site: str | None = None) -> set[str]:
        return {ref.uid for ref in await self._store.model_versions(site)}

    async def _clear(self, orphan: Orphan, actor: str) -> None:
        if orphan.kind == SITE:
            await self._sites.give_models(orphan.id, self._site, SILENT_FOR, lambda model: self._given(model, actor))
            self._feed.stir()
            return
        if orphan.kind == KEY:
            await self._resealing.run()
            left = next((former for former in await self._resealing.formers() if former.key == orphan.id), None)
            if left is not None:
                raise Refused("secret_lost", _of_key(left).message)
            return
        if orphan.kind != ROW:
            for backend in self._backends.values():
                await backend.clear(orphan)
            return
        for operation in await self._lost_operations():
            if operation.id == orphan.id:
                now = self._clock()
                ended = (
                    succeed(operation, now, {"deleted": True})
                    if operation.kind is OperationKind.DELETE
                    else cancel(operation, now, "Its model is gone.")
                )
                await self._feed.commit(Change(before=None, after=None, operations=(ended,)))

    async def _lost_operations(self) -> list[Operation]:
        """Operations that run though their model is gone: nothing will ever end them."""
        known = await self._known()
        lost: list[Operation] = []
        token = ""
        while True:
            page = await self._store.list_operations(OperationQuery(done=False, page_size=_PAGE, page_token=token))
            lost += [
                operation
                for operation in page.items
                # One of many models is of none of them.
                if operation.model_uid not in known and operation.kind is not OperationKind.BULK
            ]
            token = page.next_page_token
            if not token:
                return lost

    async def _silent_sites(self) -> list[tuple[Site, int]]:
        """Those of which nothing was heard for long, with how many models wait for them."""
        if not self._sites.shared:
            return []
        counts = await self._sites.count_models_of()
        now = self._clock()
        return [
            (site, counts[site.premises.id])
            for site in await self._sites.list_sites()
            if site.premises.id in counts
            and site.premises.id != self._site
            and site.expired
            and (now - site.seen_at).total_seconds() > SILENT_FOR
        ]

    def _given(self, model: Model, actor: str) -> Event:
        message = (
            f"{actor} gave it to this site, as its own ({model.site}) is not heard of. Its instances there count as "
            "lost: nothing was verified, so some may still run."
        )
        return Event(
            at=self._clock(), namespace=model.namespace, model=model.name, model_uid=model.uid, type="SiteChanged",
            reason="SiteGivenUp", message=message, actor=actor, data={"from": model.site, "to": self._site},
        )  # fmt: skip


def _of_site(site: Site, count: int) -> Orphan:
    known, since = site.premises.id, f"{site.seen_at:%Y-%m-%d %H:%M:%S} UTC"
    what = "was taken down at" if site.down else "has not been heard of since"
    message = (
        f"The {described(site)}, {what} {since} and has {count} model(s). If it is gone for good, take them over "
        f"without verifying that nothing of them runs there: modelyard doctor --fix --site {known}"
    )
    return Orphan(kind=SITE, id=known, message=message)


def _of_key(former: Former) -> Orphan:
    what = f"In {former.count} place(s) secrets of specs or webhooks are sealed under the key {former.key}, which is"
    todo = (
        "not the newest. They are sealed anew by modelyard doctor --fix, and at each start; then it can be thrown away."
        if former.here
        else "not here, so nobody can open them: put it back behind the newest one, or set them anew."
    )
    return Orphan(kind=KEY, id=former.key, message=f"{what} {todo}")


def _of(operation: Operation) -> Orphan:
    message = f"The {operation.kind} of {operation.namespace}/{operation.model} runs, and its model is gone."
    return Orphan(kind=ROW, id=operation.id, message=message)
