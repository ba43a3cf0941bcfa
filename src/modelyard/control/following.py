"""Models whose source is an alias or a range, and which are to follow it: rolled to what it means now.

That an alias has moved is told; what was missed (while this process was not there, or moved through another one) is
found by looking again now and then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from modelyard.control.caller import Caller
from modelyard.control.ports import EventQuery, Sources, Store
from modelyard.control.service import ModelService
from modelyard.domain.commands import CANNOT_FOLLOW
from modelyard.domain.errors import InvalidRequest, ModelyardError, Unavailable, VersionConflict
from modelyard.domain.model import Model
from modelyard.domain.names import Registered
from modelyard.domain.spec import Follow, Spec

log = logging.getLogger(__name__)

ACTOR = "registry"
# Seconds between two looks where nothing is told.
LOOK_EVERY = 60.0
# After a move others often follow (several aliases of one release): one look does for all.
_LULL = 0.1
# Among so many of a model's last events it is looked up whether an earlier process has told of the same.
_LAST_EVENTS = 100


class Follower:
    """Rolls the models of ``site`` that follow their source, while this process is ``driving`` it. What is ``coming``
    (a reference of a namespace) is being laid out ahead: until that is done, or has failed, nobody is rolled to it."""

    def __init__(
        self, store: Store, models: ModelService, sources: Sources, site: str, driving: Callable[[], bool],
        coming: Callable[[str, Registered], Awaitable[bool]],
    ) -> None:  # fmt: skip
        self._store, self._models, self._sources, self._site = store, models, sources, site
        self._driving, self._coming = driving, coming
        self._told = asyncio.Event()
        # By uid, the version that a model cannot follow to, and why: what an event was written of.
        self._stuck: dict[str, tuple[str, str]] = {}

    def tell(self) -> None:
        """An alias may have moved."""
        self._told.set()

    async def run(self) -> None:
        """Look when it is told to, and now and then."""
        while True:
            self._told.clear()
            try:
                if self._driving():
                    await self.look()
            except ModelyardError as error:
                log.warning("Models that follow an alias could not be looked through: %s", error)
            try:
                async with asyncio.timeout(LOOK_EVERY):
                    await self._told.wait()
                await asyncio.sleep(_LULL)
            except TimeoutError:
                continue

    async def look(self) -> None:
        """Roll each model whose source means another version now. One that cannot be is tried again with the next
        look, and an event says why, once; the others are not held up."""
        uids = await self._store.following(self._site)
        self._stuck = {uid: told for uid, told in self._stuck.items() if uid in set(uids)}
        for uid in uids:
            model = await self._store.get_model_by_uid(uid)
            if model is not None and model.spec.follow is Follow.AUTO:
                try:
                    await self._follow(model)
                except ModelyardError as error:
                    log.warning("%s cannot follow %s just now: %s", model.ref, model.spec.source, error)

    async def _follow(self, model: Model) -> None:
        reference, artifact = model.spec.registered, model.spec.artifact
        if reference is None or artifact is None:
            return
        version = await self._sources.version(model.namespace, reference)
        if version is None or version == artifact.version or await self._coming(model.namespace, reference):
            return

        async def revise(now: Model) -> Spec:
            if now.spec.source != model.spec.source or now.spec.follow is not Follow.AUTO:
                return now.spec
            resolved = await self._sources.resolve(now.namespace, reference, now.spec.engine)
            return replace(now.spec, artifact=resolved.artifact)

        reason = f"{reference} means {version} now, no longer {artifact.version}"
        caller = Caller(actor=ACTOR, reason=reason)
        try:
            await self._models.update(model.namespace, model.name, revise, caller, acknowledge_restart=True)
        except (Unavailable, VersionConflict):
            raise  # that passes by itself
        except ModelyardError as error:
            # Nobody has written the request in which the problems' paths would be found.
            found = [problem.message for problem in error.problems] if isinstance(error, InvalidRequest) else []
            await self._tell_stuck(model, version, " ".join(found) or error.message)
            return
        self._stuck.pop(model.uid, None)
        log.info("%s follows: %s", model.ref, reason)

    async def _tell_stuck(self, model: Model, version: str, why: str) -> None:
        if self._stuck.get(model.uid) == (version, why):
            return
        query = EventQuery(model_uid=model.uid, page_size=_LAST_EVENTS)
        told = [e for e in (await self._store.list_events(query)).items if e.type == CANNOT_FOLLOW]
        # Only the last of them counts: an alias that went back and forth is told of anew.
        if not told or told[0].data.get("version") != version or not told[0].message.endswith(why):
            log.warning("%s cannot follow %s to %s: %s", model.ref, model.spec.source, version, why)
            await self._models.tell_stuck(model, version, why, Caller(actor=ACTOR))
        self._stuck[model.uid] = version, why
