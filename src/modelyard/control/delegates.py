"""Backends as others may use them: behind a rule about who may do what, when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence

from modelyard import tasks
from modelyard.backends.port import Backend, BackendObservation, LogLine, Member, Orphan
from modelyard.control.ports import Sites, Store
from modelyard.domain.capacity import Inventory, Ledger
from modelyard.domain.errors import Problem, Unavailable
from modelyard.domain.model import ModelRef
from modelyard.domain.spec import Spec

# So often one who follows logs asks whether their instance still is there, in seconds.
_THERE_EVERY = 1.0


class Delegate(Backend):
    """Passes everything on to the backend that ``of`` gives at that moment."""

    def __init__(self, of: Callable[[], Backend]) -> None:
        self._of = of
        self.capabilities = of().capabilities

    async def open(self) -> None:
        await self._of().open()

    async def close(self, *, release: bool) -> None:
        await self._of().close(release=release)

    async def check(self, spec: Spec) -> list[Problem]:
        return await self._of().check(spec)

    async def inventory(self) -> Inventory:
        return await self._of().inventory()

    async def ledger(self) -> Ledger:
        return await self._of().ledger()

    async def orphans(self, known: Collection[str]) -> Sequence[Orphan]:
        return await self._of().orphans(known)

    async def clear(self, orphan: Orphan) -> None:
        await self._of().clear(orphan)

    async def observe(self, ref: ModelRef) -> BackendObservation:
        return await self._of().observe(ref)

    async def converge(
        self, ref: ModelRef, members: tuple[Member, ...], grace: float, surplus: tuple[str, ...] = ()
    ) -> None:
        await self._of().converge(ref, members, grace, surplus)

    async def release(self, ref: ModelRef, grace: float) -> None:
        await self._of().release(ref, grace)

    async def forget(self, ref: ModelRef, exits: tuple[str, ...]) -> None:
        await self._of().forget(ref, exits)

    async def remove(self, ref: ModelRef) -> None:
        await self._of().remove(ref)

    def logs(self, ref: ModelRef, instance: str | None, *, follow: bool, tail: int) -> AsyncIterator[LogLine]:
        return self._of().logs(ref, instance, follow=follow, tail=tail)

    def changes(self) -> AsyncIterator[ModelRef]:
        return self._of().changes()

    async def usage(self) -> Mapping[str, int]:
        return await self._of().usage()


class Guarded(Delegate):
    """For the one who drives a site: nothing is launched or ended any more once the lease may be another's.
    ``check`` raises then; a process that was frozen goes on wherever it was."""

    def __init__(self, of: Callable[[], Backend], check: Callable[[], None]) -> None:
        super().__init__(of)
        self._check = check

    async def converge(
        self, ref: ModelRef, members: tuple[Member, ...], grace: float, surplus: tuple[str, ...] = ()
    ) -> None:
        self._check()
        await super().converge(ref, members, grace, surplus)

    async def release(self, ref: ModelRef, grace: float) -> None:
        self._check()
        await super().release(ref, grace)

    async def forget(self, ref: ModelRef, exits: tuple[str, ...]) -> None:
        self._check()
        await super().forget(ref, exits)

    async def remove(self, ref: ModelRef) -> None:
        self._check()
        await super().remove(ref)

    async def clear(self, orphan: Orphan) -> None:
        self._check()
        await super().clear(orphan)


class Shown(Delegate):
    """For the API of a process that may drive its site at the moment or only stand by, on a database that may hold
    models of other sites. ``driving`` says which."""

    def __init__(
        self, of: Callable[[], Backend], store: Store, sites: Sites, site: str, driving: Callable[[], bool]
    ) -> None:
        super().__init__(of)
        self._store = store
        self._sites = sites
        self._site = site
        self._driving = driving

    def logs(self, ref: ModelRef, instance: str | None, *, follow: bool, tail: int) -> AsyncIterator[LogLine]:
        """Raises Unavailable for a model of another site: its logs are where its instances are."""
        lines = super().logs(ref, instance, follow=follow, tail=tail)
        if not self._sites.shared:
            return lines
        if follow and instance is not None:
            lines = self._while_there(ref, instance, lines)
        return self._if_here(ref, lines)

    async def _if_here(self, ref: ModelRef, lines: AsyncIterator[LogLine]) -> AsyncIterator[LogLine]:
        model = await self._store.get_model_by_uid(ref.uid)
        if model is not None and model.site not in ("", self._site):
            site = await self._sites.get_site(model.site)
            there = f"at {site.premises.url} (home {site.premises.home})" if site else "on another site"
            raise Unavailable(
                f"The instances of {ref} run elsewhere, and so their logs are: ask the Modelyard {there}."
            )
        async for line in lines:
            yield line

    async def _while_there(self, ref: ModelRef, instance: str, lines: AsyncIterator[LogLine]) -> AsyncIterator[LogLine]:
        """``lines``, which may never end where another process drives: until the model's status is without the
        instance."""
        following: asyncio.Task[LogLine | None] | None = None
        try:
            while True:
                following = following or asyncio.ensure_future(anext(lines, None))
                done, _ = await asyncio.wait({following}, timeout=_THERE_EVERY)
                if done:
                    line, following = following.result(), None
                    if line is None:
                        return
                    yield line
                elif not self._driving() and not await self._is_there(ref, instance):
                    return
        finally:
            if following is not None:
                await tasks.stop(following)

    async def _is_there(self, ref: ModelRef, instance: str) -> bool:
        model = await self._store.get_model_by_uid(ref.uid)
        return model is not None and any(one.id == instance for one in model.status.instances)

    async def orphans(self, known: Collection[str]) -> Sequence[Orphan]:
        """Raises Unavailable unless this process knows which instances are in use."""
        self._only_driving()
        return await super().orphans(known)

    async def clear(self, orphan: Orphan) -> None:
        self._only_driving()
        await super().clear(orphan)

    def _only_driving(self) -> None:
        if not self._driving():
            raise Unavailable("This control process stands by; the one that drives this home knows. Try again.")
