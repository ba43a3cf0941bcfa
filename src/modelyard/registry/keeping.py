"""What users want kept in a site's cache: pins, and versions that are laid out before anybody needs them.

Both name what they mean by a reference and follow it: an alias that moves takes its pin along.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol

from modelyard.domain.errors import InvalidRequest, ModelyardError, NotFound, Problem
from modelyard.domain.keeping import Pin
from modelyard.domain.names import InvalidReference, Registered, parse_pick
from modelyard.registry.catalog import By, Catalog
from modelyard.registry.content.fetching import Progress
from modelyard.registry.ports import PinStore
from modelyard.threads import apart

log = logging.getLogger(__name__)

# Seconds between two looks where nothing is told.
LOOK_EVERY: Final = 60.0
# Seconds before the second try of what could not be laid out; twice as many before each further one.
RETRY_AFTER: Final = 5.0
_RETRY_AT_MOST: Final = 600.0
_COUNTED: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What a pin means now: the number of a version and its manifest; None where it means nothing."""

    pin: Pin
    version: str | None
    manifest: str | None


class Pins:
    """The pins of one site."""

    def __init__(self, store: PinStore, catalog: Catalog, site: str, clock: Callable[[], datetime]) -> None:
        self._store, self._catalog, self._site, self._clock = store, catalog, site, clock
        # Called when there are others.
        self.listeners: list[Callable[[], None]] = []

    async def add(self, namespace: str, name: str, pick: str, by: By, *, preload: bool) -> tuple[Meaning, bool]:
        """Keep what ``pick`` of the model means at any time; whether that is new.

        Raises:
            InvalidRequest: ``pick`` is no version, range or alias
            NotFound: it means nothing now
        """
        reference = _reference(name, pick)
        version = await self._catalog.resolve(namespace, name, pick, "path.pick")
        pin = Pin(
            site=self._site, namespace=namespace, reference=reference, preload=preload, at=self._clock(), by=by.actor,
            reason=by.reason,
        )  # fmt: skip
        new = await self._store.add(pin)
        if new:
            self._tell()
        else:
            pin = next((p for p in await self._store.of_site(self._site) if _is(p, pin)), pin)
        return Meaning(pin=pin, version=version.version, manifest=version.identity.content.manifest), new

    async def remove(self, namespace: str, name: str, pick: str, *, preload: bool) -> None:
        """Raises InvalidRequest, and NotFound where there is no such pin."""
        reference = _reference(name, pick)
        if not await self._store.remove(self._site, namespace, str(reference), preload=preload):
            raise NotFound(f"{reference} is not {'preloaded' if preload else 'pinned'} here.")
        self._tell()

    async def meanings(self) -> Sequence[Meaning]:
        """Of all pins, the first that was asked for first."""
        return [await self._meaning(pin) for pin in await self._store.of_site(self._site)]

    async def manifests(self) -> frozenset[str]:
        """Those that are pinned now."""
        return frozenset(meaning.manifest for meaning in await self.meanings() if meaning.manifest is not None)

    async def _meaning(self, pin: Pin) -> Meaning:
        name, _, pick = str(pin.reference).partition("@")
        try:
            version = await self._catalog.resolve(pin.namespace, name, pick)
        except NotFound:
            return Meaning(pin=pin, version=None, manifest=None)
        return Meaning(pin=pin, version=version.version, manifest=version.identity.content.manifest)

    def _tell(self) -> None:
        for listener in self.listeners:
            listener()


def _reference(name: str, pick: str) -> Registered:
    try:
        return parse_pick(name, pick)
    except InvalidReference as error:
        raise InvalidRequest([Problem("path.pick", "invalid_pick", str(error))]) from None


def _is(pin: Pin, other: Pin) -> bool:
    return (pin.namespace, pin.reference, pin.preload) == (other.namespace, other.reference, other.preload)


# ------------------------------------------------------------------------------------------- laid out ahead


class PreloadState(StrEnum):
    WAITING = "waiting"  # its turn comes
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"  # and is tried again


@dataclass(frozen=True, slots=True, kw_only=True)
class Preload:
    """How far a version is laid out ahead: ``done`` of ``total`` bytes that had to be fetched. After so many
    ``failures`` in a row it is tried again at ``retry_at``; ``error`` says what the last one was."""

    manifest: str
    state: PreloadState = PreloadState.WAITING
    done: int = 0
    total: int = 0
    error: str = ""
    failures: int = 0
    retry_at: datetime | None = None
    path: Path | None = None


class LaysOut(Protocol):
    """See :class:`modelyard.registry.serving.Serving`."""

    def lay_out_ahead(self, manifest: str, progress: Progress) -> Path: ...


class GivenUp(Exception):
    """Nobody waits for it any more."""


Key = tuple[str, str]


class Preloader:
    """Lays out what is to be there before anybody needs it: one version at a time, in the background, while this
    process is ``driving`` the site."""

    def __init__(
        self, pins: Pins, serving: LaysOut, driving: Callable[[], bool], clock: Callable[[], datetime]
    ) -> None:
        self._pins, self._serving, self._driving, self._clock = pins, serving, driving, clock
        self._told = asyncio.Event()
        self._preloads: dict[Key, Preload] = {}
        # Called when one is done, or has failed.
        self.listeners: list[Callable[[], None]] = []

    def tell(self) -> None:
        """A version may have been published, an alias moved, a pin made."""
        self._told.set()

    def of(self, pin: Pin) -> Preload | None:
        """How far it is; None for one that means nothing, or has not been looked at yet."""
        return self._preloads.get(_key(pin))

    async def is_coming(self, namespace: str, reference: Registered) -> bool:
        """Whether what the reference means now is to be laid out ahead, and neither is nor has failed to be."""
        for meaning in await self._pins.meanings():
            pin = meaning.pin
            if pin.preload and (pin.namespace, pin.reference) == (namespace, reference) and meaning.manifest:
                known = self.of(pin)
                settled = (PreloadState.DONE, PreloadState.FAILED)
                return known is None or known.manifest != meaning.manifest or known.state not in settled
        return False

    async def run(self) -> None:
        """Look when it is told to, and now and then."""
        failures = 0
        while True:
            self._told.clear()
            pause = LOOK_EVERY
            try:
                if self._driving():
                    pause = await self.look()
                failures = 0
            except Exception as error:
                # Whatever it is, it may have passed the next time: who follows a version waits for it to be laid out.
                pause = _pause(failures)
                failures += 1
                log.warning(
                    "What is to be laid out ahead could not be looked through, which is tried again in %.0f s: %s",
                    pause, error, exc_info=None if isinstance(error, ModelyardError) else error,
                )  # fmt: skip
            try:
                async with asyncio.timeout(pause):
                    await self._told.wait()
            except TimeoutError:
                continue

    async def look(self) -> float:
        """Lay out the first that is not there; in how many seconds to look again."""
        wanted = {_key(m.pin): m for m in await self._pins.meanings() if m.pin.preload and m.manifest is not None}
        self._preloads = {key: self._known(key, meaning) for key, meaning in wanted.items()}
        pause = LOOK_EVERY
        for key, meaning in wanted.items():
            preload, now = self._preloads[key], self._clock()
            if preload.retry_at is not None and preload.retry_at > now:
                pause = min(pause, (preload.retry_at - now).total_seconds())
            elif preload.path is None or not await asyncio.to_thread(preload.path.is_dir):
                await self._lay_out(key, meaning)
                # All may mean something else by now.
                return 0.0
        return pause

    def _known(self, key: Key, meaning: Meaning) -> Preload:
        assert meaning.manifest is not None
        known = self._preloads.get(key)
        return known if known is not None and known.manifest == meaning.manifest else Preload(manifest=meaning.manifest)

    async def _lay_out(self, key: Key, meaning: Meaning) -> None:
        what, preload = str(meaning.pin), self._preloads[key]
        given_up = threading.Event()

        def progress(done: int, total: int) -> None:
            if given_up.is_set():
                raise GivenUp
            self._preloads[key] = replace(running, done=done, total=total)

        running = replace(preload, state=PreloadState.RUNNING, retry_at=None, path=None)
        self._preloads[key] = running
        work: asyncio.Future[Path] | None = None
        try:
            work = apart(lambda: self._serving.lay_out_ahead(preload.manifest, progress), f"lay out {what} ahead")
            while not work.done():
                if not await self._is_wanted(key, meaning, work):
                    log.info("%s no longer means %s, which is not laid out ahead.", what, meaning.version)
                    return
            path = work.result()
        except Exception as error:
            if not isinstance(error, (ModelyardError, OSError)):
                log.error("%s could not be laid out ahead, which was not expected", what, exc_info=error)
            self._fail(key, what, preload, str(error) or type(error).__name__)
        else:
            self._preloads[key] = replace(self._preloads[key], state=PreloadState.DONE, path=path, failures=0, error="")
            log.info("%s (version %s) is laid out ahead.", what, meaning.version)
        finally:
            given_up.set()
            if work is not None:
                work.cancel()
        self._tell()

    async def _is_wanted(self, key: Key, meaning: Meaning, work: asyncio.Future[Path]) -> bool:
        """Wait until the work is done, or there is news; whether it is still what is wanted then."""
        news = asyncio.ensure_future(self._told.wait())
        either: set[asyncio.Future[Any]] = {work, news}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()
        if not self._told.is_set():
            return True
        # Before the look: what is told while it lasts is looked at once more.
        self._told.clear()
        return any(_key(m.pin) == key and m.manifest == meaning.manifest for m in await self._pins.meanings())

    def _fail(self, key: Key, what: str, preload: Preload, error: str) -> None:
        after = _pause(preload.failures)
        self._preloads[key] = replace(
            preload, state=PreloadState.FAILED, error=error, failures=preload.failures + 1,
            retry_at=self._clock() + timedelta(seconds=after), path=None,
        )  # fmt: skip
        log.warning("%s cannot be laid out ahead, and is tried again in %.0f s: %s", what, after, error)

    def _tell(self) -> None:
        for listener in self.listeners:
            listener()


def _pause(failures: int) -> float:
    """Seconds before the next try, after so many that failed before this one."""
    return min(RETRY_AFTER * 2.0 ** min(failures, _COUNTED), _RETRY_AT_MOST)


def _key(pin: Pin) -> Key:
    return pin.namespace, str(pin.reference)
