"""``up``: run Modelyard, in the foreground with a live table or in the background."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.context import Cli, command
from modelyard.cli.dashboard import address
from modelyard.cli.down import bring_down
from modelyard.cli.launching import (
    AlreadyRunning,
    Supervisor,
    invocation,
    resolve,
    running_supervisor,
    wait_until_healthy,
)
from modelyard.cli.problems import CliError, ExitCode
from modelyard.cli.progress import spinning
from modelyard.demo import MEMORY, SAMPLES
from modelyard.supervisor.processes import read_record

if TYPE_CHECKING:
    from rich.console import RenderableType

    from modelyard.client import Model, Modelyard, Operation
    from modelyard.settings import Settings

_HEALTHY_WITHIN = 60.0
_DEMO_WITHIN = 60.0


def register(app: typer.Typer) -> None:
    command(app, "up", rich_help_panel="Run Modelyard")(up)


def up(
    cli: Cli,
    demo: Annotated[bool, typer.Option("--demo", help="Train two small models and serve them.")] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when it is ready.")] = False,
    host: Annotated[str | None, typer.Option("--host", help="The address to listen on (default: 127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option("--port", help="The port to listen on (default: 8900).")] = None,
) -> None:
    """Run Modelyard on this machine."""
    settings = resolve(cli.home, host, port)
    supervisor, began = None, time.monotonic()
    with _training(settings, demo) as trained:
        if running_supervisor(settings) is None:
            with spinning(cli, "Starting Modelyard"):
                supervisor = _start(settings)
        if supervisor is None:
            _check_address(settings, host, port)
            wait_until_healthy(_client(settings), _HEALTHY_WITHIN, lambda: None)
        client = _client(settings)
        notes = []
        if demo:
            with spinning(cli, "Preparing the two demo models") as tell:
                trained()
                tell("Starting the two demo models")
                notes = _deploy_demo(client, settings)
    took = None if supervisor is None else time.monotonic() - began
    _print_overview(cli, client, settings, notes, took, states=detach)
    if detach:
        if supervisor is not None:
            supervisor.detach()
        return
    from modelyard.cli.live import watch

    watch(cli, client, settings, supervisor)


# ------------------------------------------------------------------------------------------- starting


def _start(settings: Settings) -> Supervisor | None:
    """Our own supervisor, up and healthy; None when another one was faster."""
    supervisor = Supervisor(settings)
    try:
        supervisor.wait_until_up()
    except AlreadyRunning:
        # It holds the lock already, and says where it is as soon as it is up.
        deadline = time.monotonic() + _HEALTHY_WITHIN
        while running_supervisor(settings) is None:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.03)
        return None
    try:
        wait_until_healthy(_client(settings), _HEALTHY_WITHIN, supervisor.check)
    except BaseException:
        # What cannot be used is not left running.
        bring_down(settings, 5.0, lambda _: None)
        raise
    return supervisor


def _client(settings: Settings) -> Modelyard:
    from modelyard.client import Modelyard

    return Modelyard(token=settings.token or None, home=settings.home)


def _check_address(settings: Settings, host: str | None, port: int | None) -> None:
    """A flag that asks for another address than the one in use is not passed over in silence."""
    record = read_record(settings.run_dir / "up.json")
    if (host, port) == (host and record["host"], port and record["port"]):
        return
    raise CliError(
        f"Modelyard already runs in {settings.home}, at {record['url']}.", exit_code=ExitCode.REFUSED,
        hint="End it with `modelyard down` first, or choose another folder with --home.",
    )  # fmt: skip


# ------------------------------------------------------------------------------------------- the demo


@contextmanager
def _training(settings: Settings, demo: bool) -> Generator[Any]:
    """Train the demo's models beside the start, as both take their time; the function given waits for it."""
    if not demo:
        yield lambda: None
        return
    arguments = [sys.executable, "-P", "-m", "modelyard.demo", str(settings.models_dir)]
    process: subprocess.Popen[str] | None = None

    def begin() -> subprocess.Popen[str]:
        return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    # The home may not exist yet, and it is the supervisor that makes it as it must be.
    if settings.models_dir.exists() and not _demo_is_there(settings):
        process = begin()

    def wait() -> None:
        nonlocal process
        if process is None and _demo_is_there(settings):
            return
        process = process or begin()
        output, _ = process.communicate()
        if process.returncode != 0:
            raise CliError("The demo models could not be trained.", log="\n".join(output.splitlines()[-10:]))

    try:
        yield wait
    finally:
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()


def _demo_is_there(settings: Settings) -> bool:
    """about.json is written last."""
    return all((settings.models_dir / name / "about.json").exists() for name in SAMPLES)


def _deploy_demo(client: Modelyard, settings: Settings) -> list[str]:
    """Serve what is not there yet; leave what is as it is. Gives what to say about it."""
    from modelyard.client import NotFound, OperationFailed, TimedOut

    notes: list[str] = []
    operations: list[Operation] = []
    for name, (file, about) in SAMPLES.items():
        try:
            model = client.models.get(name)
        except NotFound:
            source = str(settings.models_dir / name / file)
            spec = {"source": source, "description": about, "resources": {"memory": MEMORY}}
            operations.append(client.models.create(name, spec, reason="demo"))
            continue
        if model.desired == "stopped":
            notes.append(f"{name} is stopped and was left so: {invocation(settings)} start {name}")
        else:
            _wait_while_starting(client, name)
    for operation in operations:
        try:
            client.operations.wait(operation, timeout=_DEMO_WITHIN)
        except (OperationFailed, TimedOut) as error:
            notes.append(f"{operation.model} does not run: {error.detail}")
    return notes


def _wait_while_starting(client: Modelyard, name: str) -> None:
    """A model of an earlier run comes back by itself, with no operation to wait for."""
    deadline = time.monotonic() + _DEMO_WITHIN
    while client.models.get(name).status.state == "starting" and time.monotonic() < deadline:
        time.sleep(0.05)


# ------------------------------------------------------------------------------------------- the words


def _print_overview(
    cli: Cli, client: Modelyard, settings: Settings, notes: list[str], took: float | None, *, states: bool
) -> None:
    """``states``: of the models, too; not where a table below it shows them as they change."""
    from rich.markup import escape

    models = list(client.models.list(namespace="*"))
    if cli.is_plain:
        cli.show({"url": client.url, "home": str(settings.home), "models": [m.raw for m in models]}, lambda: "")
        return
    state = f"is up ({took:.1f} s)" if took is not None else "is running already"
    cli.draw(_panel(cli, client, settings, models, f"[bold]Modelyard[/] {state}", states))
    for note in notes:
        cli.out.print(f"[yellow]![/] {escape(note)}", soft_wrap=True)
    # Outside the panel and never wrapped, so that they can be copied.
    cli.out.print(f"\n[bold]Dashboard[/]  {escape(address(client))}", soft_wrap=True)
    lines = _lines_to_try(client, settings, {model.name for model in models if model.namespace == "default"})
    cli.out.print("\n[bold]Try[/]\n")
    # No markup: escaping would double a backslash at a line's end.
    cli.out.print("\n".join(lines) + "\n", markup=False, soft_wrap=True)


def _panel(
    cli: Cli, client: Modelyard, settings: Settings, models: list[Model], title: str, states: bool
) -> RenderableType:
    from rich import box
    from rich.console import Group
    from rich.markup import escape
    from rich.panel import Panel
    from rich.text import Text

    from modelyard.cli.views import pairs_table, styled, table

    facts = pairs_table(
        [
            ("API", f"{client.url}/api/v1"),
            ("API docs", f"{client.url}/docs"),
            *([("gRPC", escape(f"{settings.host}:{settings.grpc_port}"))] if settings.grpc_port else []),
            ("Token", "MODELYARD_TOKEN" if settings.token else escape(str(settings.token_file))),
            ("Home", escape(str(settings.home))),
        ]
    )
    parts: list[RenderableType] = [facts]
    if models:
        made = table("MODEL", *(["STATE"] if states else []), "ENDPOINT")
        for model in models:
            path = model.status.endpoints.get("infer") or model.status.endpoints.get("proxy") or ""
            name = model.name if model.namespace == "default" else f"{model.namespace}/{model.name}"
            made.add_row(name, *([styled(model.status.state)] if states else []), f"{client.url}{path}")
        parts += ["", made]
    if cli.out.is_terminal:
        return Panel(Group(*parts), title=title, title_align="left", box=box.ROUNDED, padding=(1, 2), expand=False)
    return Group(Text.from_markup(title), "", *parts)


def _lines_to_try(client: Modelyard, settings: Settings, names: set[str]) -> list[str]:
    """Lines that work as they stand in the shell that this was called from."""
    me = invocation(settings)
    name = "digits"
    sample = settings.models_dir / name / "sample.json"
    if name not in names or not sample.exists():
        return [f"{me} deploy NAME model.onnx", f"{me} list", f"{me} down"]
    token = "$MODELYARD_TOKEN" if settings.token else f"$(cat {shlex.quote(str(settings.token_file))})"
    options, url = _curl_to(client.url, settings.tls_cert)
    return [
        f"curl -s {options}{url}/v2/models/{name}/infer \\",
        f'  -H "Authorization: Bearer {token}" \\',
        '  -H "Content-Type: application/json" \\',
        f"  --data @{shlex.quote(str(sample))}",
        f"{me} predict {name} --file {shlex.quote(str(sample))}",
        f"{me} stop {name}",
        f"{me} start {name}",
    ]


def _curl_to(url: str, certificate: str) -> tuple[str, str]:
    """What curl needs to be told to trust the certificate, and the URL by a name that it is for."""
    if not certificate:
        return "", url
    from pathlib import Path
    from urllib.parse import urlsplit

    from cryptography import x509

    options = f"--cacert {shlex.quote(certificate)} "
    shown = x509.load_pem_x509_certificate(Path(certificate).read_bytes())
    try:
        names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return options, url
    at = urlsplit(url)
    host = str(at.hostname)
    addresses = names.get_values_for_type(x509.IPAddress)
    hosts = [name for name in names.get_values_for_type(x509.DNSName) if "*" not in name]
    if not hosts or host in hosts or any(str(address) == host for address in addresses):
        return options, url
    return f"{options}--resolve {hosts[0]}:{at.port}:{host} ", f"https://{hosts[0]}:{at.port}"
