"""The foreground of ``up``: what the models do, until somebody ends it."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import stat
import termios
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from modelyard.cli.down import bring_down
from modelyard.cli.launching import invocation, running_supervisor
from modelyard.cli.problems import CliError
from modelyard.cli.progress import spinning
from modelyard.cli.views import model_table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from modelyard.cli.context import Cli
    from modelyard.cli.launching import Supervisor
    from modelyard.client import Model, Modelyard
    from modelyard.settings import Settings

# Memory and ages are shown anew this often; states as soon as they change.
_REFRESH = 5.0
_DOWN_TIMEOUT = 30.0


def watch(cli: Cli, client: Modelyard, settings: Settings, supervisor: Supervisor | None) -> None:
    """Show the models until SIGINT, SIGTERM or SIGHUP; then end all, if it was us who started it.

    Raises:
        CliError: the supervisor has ended without us.
    """
    from rich.markup import escape

    wake: queue.SimpleQueue[str] = queue.SimpleQueue()
    ends = _Ends(wake)
    with ends:
        threading.Thread(target=_follow, args=(client, wake), daemon=True).start()
        down = escape(f"{invocation(settings)} down")
        words = "Ctrl-C stops Modelyard" if supervisor else f"Ctrl-C leaves it running; it ends with: {down}"
        cli.err.print(f"[dim]{words}[/]\n", soft_wrap=True)
        with _view(cli) as show:
            while not ends.asked:
                _show(client, show)
                with contextlib.suppress(queue.Empty):
                    wake.get(timeout=_REFRESH)
                if not ends.asked and running_supervisor(settings) is None:
                    _explain_end(cli, settings, supervisor)
                    return
        if supervisor is None:
            return
        with spinning(cli, "Stopping Modelyard") as tell:
            bring_down(settings, _DOWN_TIMEOUT, tell, hurry=lambda: ends.asked > 1)
        supervisor.process.wait()
    cli.err.print("Modelyard is down. Models that ran start again with the next up.")


class _Ends:
    """The signals that end us, counted; a second one is for the impatient, unless the terminal hangs up."""

    def __init__(self, wake: queue.SimpleQueue[str]) -> None:
        self.asked = 0
        self._wake = wake
        self._before: dict[int, object] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._on_signal)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _on_signal(self, number: int, _: object) -> None:
        if number == signal.SIGHUP:
            # The terminal is gone, and writing to it would end us before all else has ended.
            _leave_terminal()
            self.asked = max(1, self.asked)
        else:
            self.asked += 1
        self._wake.put("signal")


def _leave_terminal() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        # A terminal that has hung up is still a character device, but no longer answers to isatty().
        if stat.S_ISCHR(os.fstat(stream).st_mode):
            os.dup2(nowhere, stream)
    os.close(nowhere)


def _follow(client: Modelyard, wake: queue.SimpleQueue[str]) -> None:
    """Wake the view for each event; in a thread, as reading a stream blocks."""
    from modelyard.client import ModelyardError

    # When nobody answers for long, the view finds out why by itself.
    with contextlib.suppress(ModelyardError):
        for _ in client.watch(patience=3600.0):
            wake.put("event")


def _show(client: Modelyard, show: _Show) -> None:
    from modelyard.client import ModelyardError

    # While the control process is being restarted the last picture stays.
    with contextlib.suppress(ModelyardError):
        show(list(client.models.list(namespace="*")))


class _Show:
    """Shows the models as they are now."""

    def __call__(self, models: list[Model]) -> None:
        raise NotImplementedError


class _Lines(_Show):
    """A line for each change of a state: for logs and pipes."""

    def __init__(self, cli: Cli) -> None:
        self._cli = cli
        self._seen: dict[str, str] = {}

    def __call__(self, models: list[Model]) -> None:
        now = {f"{model.namespace}/{model.name}": model for model in models}
        for name in self._seen.keys() - now.keys():
            self._say(name, "deleted", "")
        for name, model in now.items():
            if self._seen.get(name) != model.status.state:
                self._say(name, model.status.state, model.status.message)
        self._seen = {name: model.status.state for name, model in now.items()}

    def _say(self, name: str, state: str, message: str) -> None:
        self._cli.out.print(f"{name}  {state}  {message}".rstrip(), markup=False, soft_wrap=True)
        self._cli.out.file.flush()


class _Table(_Show):
    """A table that stays in its place: for people."""

    def __init__(self, update: object) -> None:
        self._update = update

    def __call__(self, models: list[Model]) -> None:
        from rich.text import Text

        spread = any(model.namespace != "default" for model in models)
        picture: RenderableType = model_table(models, namespaces=spread) if models else Text("No models yet.")
        self._update(picture)  # type: ignore[operator]


@contextmanager
def _view(cli: Cli) -> Generator[_Show]:
    if not cli.out.is_terminal:
        yield _Lines(cli)
        return
    from rich.live import Live

    with _no_echo(), Live(console=cli.out, auto_refresh=False) as live:
        yield _Table(lambda picture: live.update(picture, refresh=True))


@contextmanager
def _no_echo() -> Generator[None]:
    """Keys, the ^C among them, are not shown: they would move the table from its place."""
    try:
        before = termios.tcgetattr(0)
    except termios.error:
        yield
        return
    quiet = [*before]
    quiet[3] &= ~termios.ECHO
    termios.tcsetattr(0, termios.TCSADRAIN, quiet)
    try:
        yield
    finally:
        # A terminal that has hung up has nothing to restore.
        with contextlib.suppress(termios.error):
            termios.tcsetattr(0, termios.TCSADRAIN, before)


def _explain_end(cli: Cli, settings: Settings, supervisor: Supervisor | None) -> None:
    if supervisor is not None:
        supervisor.process.wait()
    record = settings.run_dir / "up.json"
    if not record.exists():
        cli.err.print("Modelyard was stopped.")
        return
    raise CliError(
        "The supervisor was killed. Gateway and models go on without it.",
        hint="`modelyard up` takes them over again; `modelyard down` ends them.",
    )
