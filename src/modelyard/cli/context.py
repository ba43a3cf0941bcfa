"""What every command shares: where to ask, whom to ask, how to show the answer."""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from modelyard.client import Modelyard
    from modelyard.client.locate import Location

_PANEL = "Where and how"
# The panels of --help that commands of several modules are in.
CHANGES = "Change models"
UPDATES = "Update models"
LOOK = "Look"
USE = "Use and observe"
SHARED = "What models share"
REGISTRY = "Register models"


class Output(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


NamespaceOption = Annotated[
    str | None,
    typer.Option("--namespace", "-n", help="The namespace (default: default).", rich_help_panel=_PANEL),
]
OutputOption = Annotated[
    Output | None,
    typer.Option("--output", "-o", help="How to show the answer (default: table).", rich_help_panel=_PANEL),
]
UrlOption = Annotated[
    str | None,
    typer.Option("--url", help="Where Modelyard is (env: MODELYARD_URL).", rich_help_panel=_PANEL),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file", help="A file with the token (env: MODELYARD_TOKEN).", rich_help_panel=_PANEL,
        exists=True, dir_okay=False, readable=True,
    ),
]  # fmt: skip
CaOption = Annotated[
    Path | None,
    typer.Option(
        "--ca", metavar="FILE", rich_help_panel=_PANEL, exists=True, dir_okay=False, readable=True,
        help="The certificates to trust, in PEM (env: MODELYARD_CA_FILE).",
    ),
]  # fmt: skip
HomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="Modelyard's folder (env: MODELYARD_HOME).", rich_help_panel=_PANEL),
]

SHARED_OPTIONS = {
    "namespace": NamespaceOption,
    "output": OutputOption,
    "url": UrlOption,
    "token_file": TokenFileOption,
    "ca": CaOption,
    "home": HomeOption,
}
_KINDS: dict[str, Callable[[Any], Any]] = {"output": Output, "token_file": Path, "ca": Path, "home": Path}


@dataclass(frozen=True)
class Cli:
    """The shared options of one call, and what follows from them. ``latest`` is the call of this process: what goes
    wrong is told in its words."""

    latest: ClassVar[Cli]

    namespace: str | None = None
    output: Output | None = None
    url: str | None = None
    token_file: Path | None = None
    ca: Path | None = None
    home: Path | None = None
    context: typer.Context | None = None

    @classmethod
    def of(cls, context: typer.Context) -> Cli:
        """Options may stand before the command or after it; the nearer one counts."""
        values: dict[str, Any] = {}
        layer: Any = context
        while layer is not None:
            for name in SHARED_OPTIONS:
                if values.get(name) is None:
                    values[name] = layer.params.get(name)
            layer = layer.parent
        # Some versions of typer leave in a context what was typed.
        for name, kind in _KINDS.items():
            values[name] = None if values[name] is None else kind(values[name])
        return cls(**values, context=context)

    @cached_property
    def client(self) -> Modelyard:
        from modelyard.client import Modelyard

        made = Modelyard(self.url, self.token, self.home, namespace=self.namespace or "default", ca_file=self.ca)
        if self.context is not None:
            self.context.call_on_close(made.close)
        return made

    @property
    def token(self) -> str | None:
        """The one that was given for this call."""
        return self.token_file.read_text().strip() if self.token_file else None

    def locate(self) -> Location:
        """What the client reaches, for those who ask without it."""
        from modelyard.client.locate import locate

        return locate(self.url, self.token, self.home, self.ca)

    @cached_property
    def out(self) -> Console:
        return _console(stderr=False)

    @cached_property
    def err(self) -> Console:
        return _console(stderr=True)

    @property
    def is_plain(self) -> bool:
        """Whether the answer is for a program."""
        return self.output in (Output.JSON, Output.YAML)

    def show(self, data: Any, table: Callable[[], RenderableType]) -> None:
        """Print an answer: ``data`` as it came, or what ``table`` makes of it."""
        if self.output is Output.JSON:
            sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False) + "\n")
        elif self.output is Output.YAML:
            import yaml

            yaml.safe_dump(data, sys.stdout, sort_keys=False, allow_unicode=True)
        else:
            self.draw(table())

    def draw(self, picture: RenderableType) -> None:
        """Print a table or the like, without the blanks that fill its lines up."""
        with self.out.capture() as capture:
            self.out.print(picture)
        sys.stdout.write("".join(line.rstrip() + "\n" for line in capture.get().splitlines()))
        sys.stdout.flush()

    def say(self, text: str) -> None:
        """Print a sentence, unless the output is for a program."""
        if not self.is_plain:
            self.out.print(self.completed(text), soft_wrap=True)

    def note(self, text: str) -> None:
        """Print a sentence beside the answer."""
        self.err.print(self.completed(text), soft_wrap=True)

    def completed(self, text: str) -> str:
        """``text``, in which commands that it suggests have the options of this call."""
        if "modelyard " not in text:
            return text
        from modelyard.cli.wording import completed

        return completed(text, self)


Cli.latest = Cli()


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    # Into a pipe or file nothing is wrapped or cut to an imagined width.
    return Console(file=stream, width=None if stream.isatty() else 1000, highlight=False, emoji=False)


def command(app: typer.Typer, name: str, **settings: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command whose first parameter is the :class:`Cli`; the shared options are added to it."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        keyword = inspect.Parameter.KEYWORD_ONLY
        shared = [inspect.Parameter(n, keyword, default=None, annotation=a) for n, a in SHARED_OPTIONS.items()]
        context = inspect.Parameter("context", keyword, annotation=typer.Context)

        @functools.wraps(function)
        def run(**values: Any) -> None:
            cli = Cli.latest = Cli.of(values.pop("context"))
            for shared_name in SHARED_OPTIONS:
                values.pop(shared_name)
            function(cli, **values)

        parameters = [context, *(p.replace(kind=keyword) for p in own), *shared]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        del run.__wrapped__
        app.command(name, **settings)(run)
        return function

    return register


def complete_model(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of models that start with what is typed; nothing when nobody answers at once."""
    from dataclasses import replace

    from modelyard.client import ModelyardError, model_calls

    cli = Cli.of(ctx)
    call = model_calls.list_models(
        cli.client.namespace, state=(), engine=None, label=None, search=incomplete, sort=None, page_size=200
    )
    try:
        page = cli.client.send(replace(call, repeatable=False, read_timeout=1.0))
    except (ModelyardError, OSError):
        return []
    return [model.name for model in page.items if model.name.startswith(incomplete)]


ModelArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="The model's name.", autocompletion=complete_model, show_default=False)
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; recorded with the operation.", show_default=False)]
EverywhereOption = Annotated[bool, typer.Option("--all-namespaces", "-A", help="Those of all namespaces.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say what would come of it.")]
AcknowledgeOption = Annotated[
    bool, typer.Option("--acknowledge-restart", help="New instances are fine: changes of the container need them.")
]
WaitOption = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is done.")]
WaitTimeoutOption = Annotated[
    str | None,
    typer.Option("--wait-timeout", help="Give up waiting after this, for example 2m; the work goes on."),
]


def seconds(text: str | None, option: str) -> float | None:
    """A duration of the command line in seconds: ``30s``, ``500ms``, ``2m`` or a number.

    Raises:
        typer.BadParameter: if it is none.
    """
    if text is None:
        return None
    units: Mapping[str, float] = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
    number = text.rstrip("mhs")
    try:
        value = float(number) * units[text[len(number) :] or "s"]
    except (ValueError, KeyError):
        value = -1.0
    if not 0 <= value < float("inf"):
        raise typer.BadParameter(f"{text!r} is not a duration: write for example 30s, 500ms or 2m.", param_hint=option)
    return value
