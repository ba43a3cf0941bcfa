"""What an application uses: register models, have them loaded while it already answers, borrow them.

::

    manager = ModelManager(ProgressiveLoadingConfig(memory_budget="2Gi"))
    manager.register("ranker", "models/ranker.onnx", critical=True)
    manager.register("embedder", load_embedder)          # a callable of one's own, plain or async

    app = FastAPI(lifespan=manager.lifespan)
    app.mount("/models", manager.app)                    # Open Inference Protocol V2 and health, if wanted

    @app.get("/search")
    async def search(text: str):
        async with manager.use("embedder") as embedder:  # not evicted meanwhile
            ...
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from modelyard.domain.quantities import parse_bytes
from modelyard.runtime.manager import phases
from modelyard.runtime.manager.config import OnTimeout, ProgressiveLoadingConfig, Settled
from modelyard.runtime.manager.entries import Entry
from modelyard.runtime.manager.events import Event, Kind, Listener, Listeners
from modelyard.runtime.manager.loaders import FromCallable, FromPath, Loader
from modelyard.runtime.manager.loading import Loading
from modelyard.runtime.manager.memory import keep_apart
from modelyard.runtime.manager.phases import Phase
from modelyard.runtime.manager.refusals import given_up
from modelyard.runtime.manager.status import status
from modelyard.runtime.manager.use import Use

if TYPE_CHECKING:
    from modelyard.runtime.http import Application

Source = Path | str | Callable[[], Any]
Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]

# The phases that the critical models have to serve for.
_WITH_CRITICAL: Final = (Phase.MODELS_READY, Phase.FULLY_READY)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

_log = logging.getLogger("modelyard.runtime")


class ModelManager:
    """The models of one process. All but :meth:`use` belongs to the event loop that it was started on.

    Raises:
        ValueError: the configuration is not valid
    """

    def __init__(self, config: ProgressiveLoadingConfig | None = None) -> None:
        self.config: Settled = (config or ProgressiveLoadingConfig()).settle()
        self.loading = Loading(self.config, self._changed, self._tell)
        self.phase = Phase.INIT
        # When each phase was reached last, in seconds since the start.
        self.reached: dict[Phase, float] = {Phase.INIT: 0.0}
        # The critical models that did not serve when the start's time was up.
        self.late: tuple[str, ...] = ()
        self._serving: bool | None = None
        self._begun = False
        self._began_at = 0.0
        self._listeners = Listeners()
        self._timer: asyncio.TimerHandle | None = None
        self._phase_waiters: list[tuple[Phase, asyncio.Future[None]]] = []

    # ---------------------------------------------------------------- what there is

    def register(
        self,
        name: str,
        source: Source | None = None,
        *,
        engine: str | None = None,
        options: Mapping[str, Any] | None = None,
        trusted: bool = False,
        critical: bool = False,
        preload: bool | None = None,
        priority: int = 0,
        pin: bool = False,
        memory: int | str | None = None,
        depends_on: Sequence[str] = (),
    ) -> None:
        """Make a model known. ``source``: a file or folder that an engine serves (a folder by the rule of
        :func:`~.folders.find`, if it is one model), or a callable (plain, then it gets a thread; or async) that returns
        any object; one with a ``close`` is closed when it goes.

        ``engine``, ``options`` and ``trusted`` are for a path: the engine is told by it if not given. ``critical``: the
        process is not ready without it; it is loaded first and stays. ``preload``: loaded ahead (the configuration
        says which by name). Of a higher ``priority`` it is loaded earlier and evicted later; with ``pin`` never.
        ``memory``: what it takes (else it is measured). ``depends_on``: models, registered before, that have to be
        loaded before it and as long as it is.

        Raises:
            ValueError: one of the arguments is not valid
            LoadFailure: (``unknown_engine``) nobody can tell what serves it
        """
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"{name!r} is no name for a model: up to 128 letters, digits, '.', '_' and '-'.")
        if name in self.loading.entries:
            raise ValueError(f"There is a model {name!r} already.")
        missing = [other for other in depends_on if other not in self.loading.entries]
        if missing:
            raise ValueError(f"{name} depends on {', '.join(missing)}: register that first.")
        if engine == "mock" and not self.config.allow_mock:
            raise ValueError(
                f"{name} is a mock, which production (told by: {self.config.told_by}) does not allow unless allow_mock "
                "is set."
            )
        entry = Entry(
            name=name,
            loader=self._loader(name, source, engine, options or {}, trusted),
            critical=critical,
            preload=self.config.preloads(name) if preload is None else preload,
            priority=priority,
            pin=pin or critical,
            memory=None if memory is None else parse_bytes(memory),
            depends_on=tuple(depends_on),
        )
        self.loading.entries[name] = entry
        if critical:
            self._make_critical(depends_on)
        if self._begun:
            self.loading.see_to(entry)
            self._changed()
            self.loading.pump()

    def _loader(
        self, name: str, source: Source | None, engine: str | None, options: Mapping[str, Any], trusted: bool
    ) -> Loader:
        if callable(source):
            if engine is not None or options or trusted:
                raise ValueError(f"{name}: engine, options and trusted are for a model that is given by its path.")
            return FromCallable(source, name)
        if not isinstance(source, str | Path | None):
            raise ValueError(f"{name}: source is a path (str or Path) or a callable that loads it, not {source!r}.")
        return FromPath(
            None if source is None else Path(source), engine, options, trusted=trusted, threads=self.config.threads
        )

    def _make_critical(self, names: Sequence[str]) -> None:
        for name in names:
            entry = self.loading.entries[name]
            entry.critical = entry.pin = True
            self._make_critical(entry.depends_on)

    async def unregister(self, name: str) -> None:
        """Free a model and forget it.

        Raises:
            RequestError: (404) there is none of that name; (409) it is critical, or another model needs it
        """
        await self.loading.remove(name)

    # ---------------------------------------------------------------- from beginning to end

    @asynccontextmanager
    async def lifespan(self, app: Any) -> AsyncGenerator[None]:
        """For ``FastAPI(lifespan=manager.lifespan)``: the application answers at once, while models are loaded."""
        await self.start()
        try:
            yield
        finally:
            await self.stop()

    def around(self, lifespan: Lifespan) -> Lifespan:
        """A lifespan with another one inside it: ``FastAPI(lifespan=manager.around(mine))``."""

        @asynccontextmanager
        async def both(app: Any) -> AsyncGenerator[Any]:
            async with self.lifespan(app), lifespan(app) as state:
                yield state

        return both

    async def start(self) -> None:
        """Begin to load. Returns at once; each model's failure is in :meth:`status`.

        Raises:
            RuntimeError: it was started before
            ValueError: the configuration's ``preload`` names what was not registered
        """
        if self._serving is not None:
            raise RuntimeError("This model manager was started before: make a new one.")
        unknown = sorted((self.config.preload or frozenset()) - set(self.loading.entries))
        if unknown:
            known = ", ".join(self.loading.entries) or "none yet"
            raise ValueError(f"preload: there is no model {', '.join(unknown)}; there are {known}.")
        loop = asyncio.get_running_loop()
        if self.config.memory_budget is not None:
            keep_apart()
        self.loading.bind(loop)
        self._began_at, self._serving = loop.time(), True
        self._changed()
        self._begun = True
        if self.config.startup_timeout is not None:
            self._timer = loop.call_later(self.config.startup_timeout, self._time_is_up)
        self.loading.begin()
        self._changed()

    async def stop(self) -> None:
        """Load nothing more and free every model, when nobody uses it any more or ``drain_timeout`` is over."""
        if not self._serving:
            return
        self._serving = False
        if self._timer is not None:
            self._timer.cancel()
        self._changed()
        await self.loading.close()

    async def wait(self, phase: Phase | str, timeout: float | None = None) -> None:
        """Return once ``phase`` has been reached.

        Raises:
            TimeoutError: not within ``timeout`` seconds
            RuntimeError: it was stopped before; or a model that it takes failed and is not tried again by itself, or
                was unloaded (which, and why, is said; the others go on)
            ValueError: there is no such phase
        """
        if phase not in tuple(Phase):
            raise ValueError(f"There is no phase {phase!r}; there are {', '.join(Phase)}.")
        wanted = Phase(phase)
        if phases.reached(self.phase, wanted):
            return
        if self.phase is Phase.STOPPED:
            raise _stopped_before(wanted)
        hopeless = self._hopeless(wanted)
        if hopeless is not None:
            raise hopeless
        waiter: asyncio.Future[None] = self.loading.loop.create_future()
        self._phase_waiters.append((wanted, waiter))
        async with asyncio.timeout(timeout):
            await waiter

    # ---------------------------------------------------------------- what is used

    def use(self, name: str, timeout: float | None = None) -> Use:
        """Borrow a model: ``async with manager.use(name) as model``, or, in a thread (as FastAPI runs plain functions
        in), ``with manager.use(name) as model``. It is loaded first if need be, and not evicted meanwhile.

        Entering raises:
            ModelUnavailable: it cannot be had, or not within ``timeout`` seconds (``wait_timeout`` if not given)
            RequestError: (404) there is none of that name
        """
        return Use(self.loading, name, self.config.wait_timeout if timeout is None else timeout)

    async def get(self, name: str, timeout: float | None = None) -> Any:
        """The loaded model. Under a memory budget it may be evicted, and closed, while the caller still has it: use
        :meth:`use`, unless it is pinned.

        Raises:
            as :meth:`use`
        """
        async with self.use(name, timeout) as model:
            return model

    async def load(self, name: str) -> None:
        """Load it now, or anew: the new one takes the old one's place, which is freed when nobody uses it any more.

        Raises:
            ModelUnavailable: it could not be loaded; the old one goes on
            RequestError: (404) there is none of that name
        """
        await self.loading.load(name)

    async def unload(self, name: str) -> None:
        """Free it, and leave it out until it is loaded by :meth:`load`.

        Raises:
            RequestError: (404) there is none of that name; (409) it is critical, or another model needs it
        """
        await self.loading.unload(name)

    # ---------------------------------------------------------------- what is told

    @property
    def is_ready(self) -> bool:
        """Whether every critical model serves."""
        return phases.is_ready(self.phase)

    @property
    def is_live(self) -> bool:
        """Whether it is worth going on: not once the start has failed (``on_timeout`` is ``fail``)."""
        return not (self.late and self.config.on_timeout is OnTimeout.FAIL)

    @property
    def uptime(self) -> float:
        """Seconds since the start; 0 before it."""
        return 0.0 if self._serving is None else self.loading.loop.time() - self._began_at

    def status(self) -> dict[str, Any]:
        """Everything there is to know, as JSON."""
        return status(self)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Have ``listener`` called on the event loop with every :class:`~.events.Event`. Returns what ends that."""
        return self._listeners.add(listener)

    @cached_property
    def app(self) -> Application:
        """An ASGI application to mount, or to serve: V2 with the repository's routes, ``/health/live``,
        ``/health/ready``, ``/status`` and ``/metrics``. It has no access control."""
        from modelyard.runtime.http import Application
        from modelyard.runtime.manager.serving import Managed

        return Application(Managed(self))

    # ---------------------------------------------------------------- phases

    def _changed(self) -> None:
        entries = self.loading.entries.values()
        critical_ready = all(entry.loaded is not None for entry in entries if entry.critical)
        facts = phases.Facts(
            serving=self._serving,
            begun=self._begun,
            critical_ready=critical_ready,
            all_ready=critical_ready and all(entry.settled for entry in entries if entry.preload),
        )
        for phase in phases.path(self.phase, phases.goal(facts)):
            self.phase = phase
            self.reached[phase] = self.uptime
            self._tell(Kind.PHASE, "", "", self.uptime)
        if self._timer is not None and self.is_ready:
            self._timer.cancel()
        for wanted, waiter in tuple(self._phase_waiters):
            if waiter.done():
                self._phase_waiters.remove((wanted, waiter))
            elif phases.reached(self.phase, wanted):
                waiter.set_result(None)
            elif self.phase is Phase.STOPPED:
                waiter.set_exception(_stopped_before(wanted))
            elif (hopeless := self._hopeless(wanted)) is not None:
                waiter.set_exception(hopeless)

    def _hopeless(self, wanted: Phase) -> RuntimeError | None:
        """Why ``wanted`` is not reached unless somebody asks for a load; None: it may be."""
        entries = self.loading.entries
        needed = {
            name for name, entry in entries.items()
            if (wanted in _WITH_CRITICAL and entry.critical and entry.loaded is None)
            or (wanted is Phase.FULLY_READY and entry.preload and not entry.settled)
        }  # fmt: skip
        for name in tuple(needed):
            needed |= self._beneath(entries[name])
        now = self.loading.loop.time()
        reasons = [reason for name in sorted(needed) if (reason := given_up(entries[name], now)) is not None]
        return RuntimeError(f"It does not become {wanted.value} by itself. {' '.join(reasons)}") if reasons else None

    def _beneath(self, entry: Entry) -> set[str]:
        """What it depends on, and that depends on; of what is still registered."""
        there = {name for name in entry.depends_on if name in self.loading.entries}
        return there.union(*(self._beneath(self.loading.entries[name]) for name in there))

    def _time_is_up(self) -> None:
        self.late = tuple(self.loading.lose_patience())
        message = f"Not ready after {self.config.startup_timeout:g} s: {', '.join(self.late)}."
        _log.error("%s", message)
        self._tell(Kind.TIMED_OUT, "", message)

    def _tell(self, kind: Kind, model: str, message: str = "", seconds: float | None = None) -> None:
        self._listeners.tell(Event(kind=kind, phase=self.phase, model=model, message=message, seconds=seconds))


def _stopped_before(phase: Phase) -> RuntimeError:
    return RuntimeError(f"It was stopped before it was {phase.value}.")
