"""Start-up and liveness of one instance: how often its probe and its own check command are asked, and
what follows from the answers. The rules are those of :class:`~modelyard.domain.spec.HealthCheck`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NoReturn, TypeVar

from modelyard.backends.local.probe import CheckFailed, Probe
from modelyard.domain.model import Failure
from modelyard.domain.quantities import format_duration
from modelyard.domain.spec import HealthCheck
from modelyard.domain.spec import Probe as ProbeRequest

T = TypeVar("T")

# Between questions to an instance that is not ready: from the first to the last of these seconds.
_ASK_AGAIN: Final = (0.05, 1.0)
# Characters of an answer to the probe request that a failure quotes.
_QUOTED: Final = 300


class Unfit(Exception):
    """The instance has failed its checks and must go."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Lost(Unfit):
    """It went away while it was asked: how it ended will say more."""


class Health:
    """Asks one instance.

    Args:
        check: the rules.
        probe: the engine's own check.
        run_command: runs the check's command; raises CheckFailed.
        say: told what is wrong for the moment, and an empty text when nothing is (any more).
    """

    def __init__(
        self,
        check: HealthCheck,
        probe: Probe,
        run_command: Callable[[], Awaitable[None]],
        say: Callable[[str], None],
    ) -> None:
        self._check = check
        self._probe = probe
        self._run_command = run_command
        self._say = say
        self._wrong = ""

    async def become_ready(self, within: float) -> Mapping[str, Any]:
        """Wait ``within`` seconds at most until every check has passed once; the model's metadata.

        Raises:
            Unfit: it has not become ready in time.
            LoadFailed: it never will.
        """
        try:
            async with asyncio.timeout(within):
                metadata = await self._until_it_passes(self._probe.ready)
                if self._check.command:
                    await self._until_it_passes(self._run_command)
        except TimeoutError:
            period = format_duration(self._check.start_period)
            last = f" {self._wrong}" if self._wrong else ""
            message = f"Not ready within {period} of its launch (health_check.start_period).{last}"
            raise Unfit(Failure(code="start_timeout", message=message)) from None
        return metadata

    async def try_out(self, request: ProbeRequest) -> None:
        """Have it answer a request like those of callers. Raises Unfit (Lost) if it does not, or not with success."""
        self._say("Answering the probe request.")
        try:
            async with asyncio.timeout(request.timeout):
                status, body = await self._probe.answer(request)
        except TimeoutError:
            wrong = f"was not answered within {format_duration(request.timeout)} (rollout.probe.timeout)."
        except CheckFailed as error:
            raise Lost(_probe_failed(f"was not answered: {error}.")) from None
        else:
            if 200 <= status < 300:
                return
            wrong = f"was answered {status}: {body.decode('utf-8', 'replace')[:_QUOTED]}"
        raise Unfit(_probe_failed(wrong))

    async def stay_well(self) -> NoReturn:
        """Ask for ever. Raises Unfit after ``retries`` failures in a row."""
        failures = 0
        while True:
            await asyncio.sleep(self._check.interval)
            try:
                await self._ask_all()
                failures = 0
                self._say("")
            except CheckFailed as error:
                failures += 1
                wrong = _sentence(error)
                if failures >= self._check.retries:
                    message = f"The health check failed {failures} time(s) in a row. {wrong}"
                    raise Unfit(Failure(code="unhealthy", message=message)) from None
                self._say(f"The health check failed ({failures} of {self._check.retries}). {wrong}")

    async def _until_it_passes(self, question: Callable[[], Awaitable[T]]) -> T:
        delay, longest = _ASK_AGAIN
        while True:
            try:
                return await question()
            except CheckFailed as error:
                self._wrong = _sentence(error)
                self._say(self._wrong)
            await asyncio.sleep(delay)
            delay = min(delay * 2, longest)

    async def _ask_all(self) -> None:
        """The engine and the command at the same time. Raises CheckFailed, the engine's first."""
        questions: list[Awaitable[None]] = [self._ask_engine()]
        if self._check.command:
            questions.append(self._run_command())
        for outcome in await asyncio.gather(*questions, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def _ask_engine(self) -> None:
        try:
            async with asyncio.timeout(self._check.timeout):
                await self._probe.health()
        except TimeoutError:
            timeout = format_duration(self._check.timeout)
            raise CheckFailed(f"the model's server did not answer within {timeout}") from None


def _probe_failed(wrong: str) -> Failure:
    return Failure(code="probe_failed", message=f"The probe request {wrong}")


def _sentence(error: Exception) -> str:
    text = str(error)
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
