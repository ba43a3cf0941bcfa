"""``predict``, ``logs``, ``events``: what goes into models and what comes out of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.context import USE, Cli, ModelArgument, Output, command
from modelyard.cli.problems import CliError, ExitCode

if TYPE_CHECKING:
    from rich.console import RenderableType

    from modelyard.client import Event

_SHOWN_VALUES = 16


def register(app: typer.Typer) -> None:
    command(app, "predict", rich_help_panel=USE)(predict)
    command(app, "logs", rich_help_panel=USE)(logs)
    command(app, "events", rich_help_panel=USE)(events)


def predict(
    cli: Cli,
    name: ModelArgument,
    data: Annotated[
        str | None, typer.Option("--data", "-d", help="JSON: a V2 request, inputs by name, or the only input.")
    ] = None,
    file: Annotated[str | None, typer.Option("--file", "-f", help="The same from a file; - is standard input.")] = None,
    sample: Annotated[bool, typer.Option("--sample", help="A row of zeros that fits the model's signature.")] = False,
    version: Annotated[str | None, typer.Option("--version", help="Only if this revision serves.")] = None,
) -> None:
    """Ask a model."""
    if (data is not None) + (file is not None) + sample != 1:
        raise typer.BadParameter("Give one of --data, --file and --sample.")
    from modelyard.client import tensors

    client = cli.client
    if sample:
        request = tensors.zeros(client.metadata(name, version=version))
    else:
        value = json_of(data if data is not None else text_of(str(file)))
        if isinstance(value, dict) and isinstance(value.get("inputs"), list):
            request = value
        else:
            request = tensors.request(value, client.metadata(name, version=version))
    answer = client.infer(name, request, version=version)
    cli.show(answer, lambda: _outputs(answer))


def logs(
    cli: Cli,
    name: ModelArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines.")] = False,
    tail: Annotated[int, typer.Option("--tail", min=0, max=10_000, help="How many of the last lines.")] = 100,
    instance: Annotated[str | None, typer.Option("--instance", help="Only this instance's.")] = None,
) -> None:
    """What a model's instances have written."""
    for line in cli.client.models.logs(name, instance=instance, tail=tail, follow=follow):
        if cli.output is Output.JSON:
            _print(json.dumps({"instance": line.instance, "text": line.text}))
        else:
            _print(f"{line.instance}  {line.text}")


def events(
    cli: Cli,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Only of this model.", show_default=False)
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new ones.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=0, help="How many of the last ones.")] = 20,
) -> None:
    """What happened to the models; the newest last."""
    if name is not None:
        _check_known(cli, name)
    namespace = cli.namespace if name is None else cli.client.namespace
    found = cli.client.events(namespace=namespace, model=name, page_size=max(1, limit))
    latest = [event for _, event in zip(range(max(1, limit)), found, strict=False)]
    after = latest[0].id if latest else None
    shown = latest[:limit][::-1]
    if not follow:
        cli.show([event.raw for event in shown], lambda: "\n".join(_event_line(event) for event in shown))
        return
    for event in shown:
        _show_event(cli, event)
    for event in cli.client.watch(namespace=namespace, model=name, after=after or 0):
        _show_event(cli, event)


def _check_known(cli: Cli, name: str) -> None:
    """An unknown name is an error, not an empty list. Served models and registered ones have events."""
    from modelyard.client import NotFound

    try:
        cli.client.models.status(name)
    except NotFound as unknown:
        try:
            cli.client.registry.get(name)
        except NotFound:
            raise unknown from None


def _show_event(cli: Cli, event: Event) -> None:
    if cli.is_plain:
        _print(json.dumps(event.raw))
    else:
        cli.out.print(_event_line(event), soft_wrap=True)
        cli.out.file.flush()


def _event_line(event: Event) -> str:
    from rich.markup import escape

    at = event.at.astimezone()
    given = event.type != "StateChanged" and event.reason not in ("", event.type)
    why = f": {event.reason}" if given else ""
    who = f"  [dim]by {escape(event.actor + why)}[/]" if event.actor != "controller" else ""
    return (
        f"[dim]{at:%H:%M:%S}[/]  {event.namespace}/{event.model}  [bold]{event.type}[/]  {escape(event.message)}{who}"
    )


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def text_of(file: str) -> str:
    """What is in a file; ``-`` is standard input. Raises CliError."""
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"Cannot read {file}: {error}", exit_code=ExitCode.USAGE) from error


def json_of(text: str) -> Any:
    """Raises CliError for what is no JSON."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise CliError(
            f"The input is not JSON: {error}.", exit_code=ExitCode.INVALID,
            hint="Write for example --data '[[1, 2, 3]]' or --data '{\"age\": [[42]], \"weight\": [[70.5]]}'.",
        ) from error  # fmt: skip


def _outputs(answer: dict[str, Any]) -> RenderableType:
    from rich.markup import escape

    from modelyard.cli.views import table

    made = table("OUTPUT", "DATATYPE", "SHAPE", "DATA")
    for output in answer.get("outputs", []):
        values = output.get("data", [])
        shown = ", ".join(_value(value) for value in values[:_SHOWN_VALUES])
        more = f", … {len(values) - _SHOWN_VALUES} more" if len(values) > _SHOWN_VALUES else ""
        shape = "×".join(str(length) for length in output.get("shape", []))
        made.add_row(str(output.get("name")), str(output.get("datatype")), shape, escape(shown + more))
    return made


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
