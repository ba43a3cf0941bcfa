"""One instance, from launch to verified gone. Its task alone changes it; others post to it.

::

    launch ─▶ STARTING ─▶ READY ──▶ TERMINATING ─▶ gone
                 │          │            ▲
                 └──────────┴── asked, or ended unasked (then with an Exit)

What it says of itself is kept in its folder as it happens, so that the next control process goes on
where this one was cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, ParamSpec, TypeVar

from modelyard import tasks
from modelyard.backends.local import process
from modelyard.backends.local.files import InstanceFiles, Launch, Ready
from modelyard.backends.local.health import Health, Lost, Unfit
from modelyard.backends.local.launching import LaunchFailed, Site, launch_process, with_source
from modelyard.backends.local.logs import cut
from modelyard.backends.local.ports import PortInUse
from modelyard.backends.local.probe import (
    CheckFailed,
    Impostor,
    LoadFailed,
    Probe,
    how_it_ended,
    probe_of,
    run_command,
)
from modelyard.backends.local.process import Handle, ProcessId, Tree, in_thread
from modelyard.domain.capacity import amount_of
from modelyard.domain.model import Amount, Failure, Instance, InstancePhase
from modelyard.domain.observation import Exit
from modelyard.domain.spec import Engine

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger(__name__)

# Characters of a failure's message that are kept: it goes into the model's events, each time.
_MAX_MESSAGE: Final = 2000
# One that could not load, or went while it was asked, is given this long to end by itself: how says why.
_LAST_WORDS: Final = 2.0
# An end that was under way when the control process went has this long left, unless a release says less.
_RESUMED_GRACE: Final = 5.0
_RETRY_CLEANING: Final = 1.0
# How long a launch waits for its fixed port while another instance has it.
_PORT_PATIENCE: Final = 10.0
# A launch that takes longer than this waits for its port.
_LAUNCH_TAKES: Final = 2.0
# From the kill of the main process to the first look at what is left of the others.
_KILL_TAKES: Final = 0.05


class LocalInstance:
    """One worker (or user's server) with all processes that come of it.

    With a ``refusal`` it is not launched at all, and ends with that.
    """

    def __init__(self, site: Site, launch: Launch, refusal: Failure | None = None) -> None:
        self.launch = launch
        self.files = InstanceFiles(site.instances_dir, launch.id)
        self.phase = InstancePhase.STARTING
        self.exit: Exit | None = None
        self.gone = asyncio.Event()
        # Set once it is known how an adopted instance is: well, not well, or ending.
        self.settled = asyncio.Event()
        self._site = site
        self._refusal = refusal
        self._since = launch.created_at
        self._message = ""
        self._metadata: Mapping[str, Any] = {}
        self._memory, self._processes = 0, 0
        self._handle: Handle | None = None
        self._adopted = self._unwatched_end = False
        self.tree = Tree(site.home_id, launch.id)
        self._probe: Probe | None = None
        self._launched = asyncio.Event()
        self._asked = asyncio.Event()
        self._deadline: float | None = None
        self._task: asyncio.Task[None] | None = None

    # ---------------------------------------------------------------------------------- for others

    @property
    def id(self) -> str:
        return self.launch.id

    def snapshot(self) -> Instance:
        port = self.launch.port
        if self.launch.spec.engine is Engine.COMMAND:
            address = f"http://127.0.0.1:{port}" if port is not None else ""
        else:
            address = f"unix:{self.files.socket_path}"
        return Instance(
            id=self.id, target=self.launch.target, address=address, since=self._since,
            phase=InstancePhase.TERMINATING if self.ending else self.phase,
            pid=self._handle.id.pid if self._handle else None, memory=self._memory,
            held=self.held, devices=self.launch.devices,
            processes=self._processes or (1 if self._handle else 0), message=self._message,
            metadata=self._metadata,
        )  # fmt: skip

    @property
    def held(self) -> Amount:
        """Its part of the ledger, from the decision to launch it until it is gone."""
        if self._refusal is not None:
            return Amount()
        # A device that the machine has lost is nobody's.
        there = sum(id_ in self._site.devices.ids for id_ in self.launch.devices)
        return replace(amount_of(self.launch.spec.resources), devices=there)

    @property
    def main(self) -> ProcessId | None:
        """Its main process, once there is one."""
        return self._handle.id if self._handle is not None else None

    @property
    def ending(self) -> bool:
        """Asked to end, or ending of itself."""
        return self._deadline is not None or self.phase is InstancePhase.TERMINATING

    def start(self) -> None:
        """Launch it."""
        self._go(self._run())

    def adopt(self, main: ProcessId | None, ready: Ready | None) -> None:
        """Go on with what an earlier control process launched; ``main`` None: it ran before the machine
        was last started, so it is gone."""
        self._take_over(main)
        # Until it has answered it is taken for what it last was: a request may be on its way to it.
        if ready is not None:
            self.phase, self._since, self._metadata = InstancePhase.READY, ready.since, ready.metadata
        self._go(self._run())

    def resume_end(self, main: ProcessId | None, exit_: Exit | None) -> None:
        """Go on ending what an earlier control process began to end, as a failure if with ``exit_``."""
        self._take_over(main)
        self.exit = exit_
        self.phase, self._since = InstancePhase.TERMINATING, _now()
        self.settled.set()
        self.end(0.0 if exit_ is not None else _RESUMED_GRACE)
        self._go(self._wind_up())

    def end(self, grace: float) -> None:
        """End it: ask, kill after ``grace`` seconds. The shortest grace counts."""
        deadline = asyncio.get_running_loop().time() + grace
        if self._deadline is None or deadline < self._deadline:
            self._deadline = deadline
            self._asked.set()
            self._site.changed(self.launch.ref)

    def forget_exit(self) -> None:
        self.exit = None

    async def detach(self) -> None:
        """Leave it running for the next control process."""
        # A launch is rather finished than undone.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAUNCH_TAKES):
                await self._launched.wait()
        await tasks.stop(self._task)
        if self._probe is not None:
            self._probe.close()
        if self._handle is not None:
            self._handle.detach()

    # -------------------------------------------------------------------------------------- running

    def _take_over(self, main: ProcessId | None) -> None:
        self._adopted = True
        self._launched.set()
        self._watch_process(Handle(main) if main is not None else None)
        self._unwatched_end = self._handle is None or self._handle.exited.is_set()

    def _go(self, run: Coroutine[Any, Any, None]) -> None:
        self._task = tasks.spawn(run, f"instance {self.id} of {self.launch.ref}")

    async def _run(self) -> None:
        try:
            failure = await self._live()
        except Exception as error:
            # Whatever went wrong in here, its processes must not stay behind.
            logger.exception("instance %s of %s", self.id, self.launch.ref)
            failure = Failure(code="internal_error", message=f"Watching the instance failed: {error!r}.")
        try:
            await (self._ask_to_end() if failure is None else self._ended_unasked(failure))
        except Exception:
            # It ends all the same, at once, and is seen to.
            logger.exception("instance %s of %s", self.id, self.launch.ref)
            self._deadline = 0.0
            self._terminating("")
        await self._wind_up()

    async def _live(self) -> Failure | None:
        """Until it ends, or must end: why, or None when it was asked to."""
        if not self._adopted:
            try:
                await self._launch()
            except LaunchFailed as error:
                return error.failure if self._deadline is None else None
            finally:
                self._launched.set()
        if self._handle is None:
            return await in_thread(self._why_it_ended)
        self._probe = probe_of(self.launch, self.files)
        watch = tasks.spawn(self._watch(self._probe), f"probe of instance {self.id}")
        exited = asyncio.ensure_future(self._handle.exited.wait())
        asked = asyncio.ensure_future(self._asked.wait())
        try:
            await asyncio.wait((watch, exited, asked), return_when=asyncio.FIRST_COMPLETED)
            if self._deadline is not None:
                return None
            if self._handle.exited.is_set():
                return await in_thread(self._why_it_ended)
            return watch.result()
        finally:
            await tasks.stop(watch, exited, asked)
            self._probe.close()

    async def _launch(self) -> None:
        """Raises LaunchFailed."""
        site = self._site
        if self._refusal is not None:
            raise LaunchFailed(self._refusal)
        if self.launch.spec.engine is Engine.COMMAND:
            wanted = self.launch.spec.options.get("port")
            try:
                port = await site.ports.take(wanted, patience=_PORT_PATIENCE, give_up=lambda: self.ending)
            except PortInUse as error:
                raise LaunchFailed(Failure(code="port_in_use", message=str(error))) from error
            self.launch = replace(self.launch, port=port)
        await self._have_source()
        self._watch_process(await launch_process(site, self.files, self.launch))
        site.changed(self.launch.ref)

    async def _have_source(self) -> None:
        """Raises LaunchFailed; also when it is asked to end meanwhile."""
        if self._site.artifacts is None and self.launch.spec.artifact is None:
            return
        having = asyncio.ensure_future(with_source(self._site, self.launch, self._say))
        asked = asyncio.ensure_future(self._asked.wait())
        try:
            await asyncio.wait((having, asked), return_when=asyncio.FIRST_COMPLETED)
            if self._deadline is not None:
                raise LaunchFailed(Failure(code="cancelled", message="It was asked to end before it was launched."))
            self.launch = having.result()
        finally:
            await tasks.stop(having, asked)

    def _watch_process(self, handle: Handle | None) -> None:
        self._handle = handle
        self.tree.main = handle.id if handle is not None else None
        self._site.ports.keep(self.launch.port)

    # -------------------------------------------------------------------------------------- probing

    async def _watch(self, probe: Probe) -> Failure:
        """Until it must go; says why."""
        health = Health(self.launch.spec.container.health_check, probe, self._run_check_command, self._say)
        try:
            if self._adopted:
                await self._recognise(probe)
            if self.phase is InstancePhase.STARTING:
                await self._become_ready(health)
            await health.stay_well()
        except Impostor as error:
            return Failure(code="adoption_failed", message=f"The instance was not recognised: {error}.")
        except (LoadFailed, Lost) as error:
            assert self._handle is not None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORDS):
                    await self._handle.exited.wait()
            return error.failure
        except Unfit as error:
            return error.failure

    async def _recognise(self, probe: Probe) -> None:
        """Raises Impostor. One that does not answer now is left to the health check."""
        try:
            async with asyncio.timeout(self.launch.spec.container.health_check.timeout):
                await probe.prove()
        except (CheckFailed, TimeoutError):
            logger.warning("adopted instance %s of %s has not answered yet", self.id, self.launch.ref)
        await self._attempt("counting its processes", self._sample)
        self.settled.set()

    async def _become_ready(self, health: Health) -> None:
        """Raises Unfit, LoadFailed."""
        check = self.launch.spec.container.health_check
        # By the clock of the wall, since an earlier control process may have launched it.
        left = (self.launch.created_at + timedelta(seconds=check.start_period) - _now()).total_seconds()
        metadata = await health.become_ready(max(left, check.timeout if self._adopted else 0.0))
        if (request := self.launch.spec.rollout.probe) is not None:
            await health.try_out(request)
        ready = Ready(since=_now(), metadata=dict(metadata))
        await self._attempt("counting its processes", self._sample)
        await self._attempt("noting that it is ready", self.files.write_ready, ready)
        self.phase, self._since, self._metadata, self._message = InstancePhase.READY, ready.since, metadata, ""
        self._site.changed(self.launch.ref)

    async def _run_check_command(self) -> None:
        """Raises CheckFailed."""
        container = self.launch.spec.container
        try:
            env = self._site.environment_of(self.launch)
        except LaunchFailed as error:
            raise CheckFailed(str(error)) from None
        cwd = container.working_dir or str(self.files.folder)
        check = container.health_check
        await run_command(check.command, env=env, cwd=cwd, timeout=check.timeout)

    # --------------------------------------------------------------------------------------- ending

    def _why_it_ended(self) -> Failure:
        """Of a process that is gone: its own word, else what the kernel says. Blocks."""
        own = self.files.failure()
        if own is not None:
            return own
        code = self._handle.returncode if self._handle is not None else None
        if code is not None:
            when = "" if self.phase is InstancePhase.READY else " before it was ready"
            return Failure(code="crashed", message=f"The process {how_it_ended(code)}{when}.")
        if self._unwatched_end:
            message = "The process ended while no control process was watching."
        else:
            message = "The process ended; how is not known, since an earlier control process had started it."
        return Failure(code="crashed", message=message)

    async def _attempt(self, what: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | None:
        """Blocking work that is good to have done but must hold nothing up: None if it fails."""
        try:
            return await in_thread(function, *args, **kwargs)
        except OSError as error:
            logger.warning("instance %s of %s: %s fails: %s", self.id, self.launch.ref, what, error)
        except Exception:
            logger.exception("instance %s of %s: %s fails", self.id, self.launch.ref, what)
        return None

    async def _ended_unasked(self, failure: Failure) -> None:
        log = await self._attempt("reading its log", self._site.logs.excerpt, self.launch.ref, self.id)
        failure = replace(failure, instance=self.id, message=cut(failure.message, _MAX_MESSAGE), log=tuple(log or ()))
        exit_ = Exit(id=self.id, target=self.launch.target, at=_now(), failure=failure)
        await self._attempt("keeping its exit (it is known in memory only)", self.files.write_exit, self.launch, exit_)
        if self._deadline is None:
            # Together, so that nobody sees an instance that is going and does not see why. (One that was
            # asked to end in the meantime has nothing to explain.)
            self.exit = exit_
        self._deadline = 0.0
        self._terminating(failure.message)

    async def _ask_to_end(self) -> None:
        await self._attempt("counting its processes", self._sample)
        await self._attempt("noting that it is being ended", self.files.mark_releasing)
        self._terminating("")
        assert self._deadline is not None
        if self._handle is None or self._deadline <= asyncio.get_running_loop().time():
            return
        try:
            self._handle.signal(signal.SIGTERM)
        except OSError as error:
            logger.warning("process %d of instance %s cannot be asked to end: %s", self._handle.id.pid, self.id, error)

    async def _wind_up(self) -> None:
        """From asked to verified gone."""
        while True:
            try:
                await self._wait_for_main()
                await process.end_all(self.tree.look, self._report)
                exit_ = self.exit
                await in_thread(self._clean, self._site.live())
                if self.exit is not exit_:
                    # Forgotten while its folder was spared for it.
                    await in_thread(self._clean, self._site.live())
                break
            except Exception as error:
                logger.exception("instance %s of %s cannot be cleaned up", self.id, self.launch.ref)
                await self._report(f"Cleaning up fails and is tried again: {error}.")
                await asyncio.sleep(_RETRY_CLEANING)
        self._site.ports.give_back(self.launch.port)
        if self._handle is not None:
            self._handle.detach()
        self.gone.set()
        self.settled.set()
        self._site.changed(self.launch.ref)

    async def _wait_for_main(self) -> None:
        """Until the main process has ended by itself or its time is over; then it is killed."""
        handle, loop = self._handle, asyncio.get_running_loop()
        if handle is None:
            return
        exited = asyncio.ensure_future(handle.exited.wait())
        try:
            while not exited.done() and (left := (self._deadline or 0.0) - loop.time()) > 0:
                self._asked.clear()
                asked = asyncio.ensure_future(self._asked.wait())
                await asyncio.wait((exited, asked), timeout=left, return_when=asyncio.FIRST_COMPLETED)
                asked.cancel()
            handle.kill_group()
            if not exited.done() and handle.signal(signal.SIGKILL):
                await asyncio.wait((exited,), timeout=_KILL_TAKES)
        except PermissionError as error:
            logger.warning("process %d of instance %s may not be killed by us: %s", handle.id.pid, self.id, error)
        finally:
            exited.cancel()

    def _clean(self, live: set[str]) -> None:
        """Blocks. A folder that cannot be removed (a disk gone read-only) holds nothing that runs."""
        try:
            self.files.remove_socket()
            if self.exit is None:
                self.files.remove()
            self._site.logs.prune(self.launch.ref, live)
        except OSError as error:
            logger.warning("files of instance %s stay behind: %s", self.id, error)

    # -------------------------------------------------------------------------------------- helpers

    def _sample(self) -> None:
        """What it holds now. Blocks for one look at all processes."""
        members = self.tree.look()
        if members:
            self._processes = len(members)
            self._memory = sum(stat.memory for stat in members)

    def _terminating(self, message: str) -> None:
        self.phase, self._since = InstancePhase.TERMINATING, _now()
        self._message = message
        self.settled.set()
        self._site.changed(self.launch.ref)

    def _say(self, message: str) -> None:
        if message != self._message:
            self._message = message
            self._site.changed(self.launch.ref)

    async def _report(self, message: str) -> None:
        logger.warning("instance %s of %s: %s", self.id, self.launch.ref, message)
        self._say(message)


def _now() -> datetime:
    return datetime.now(UTC)
