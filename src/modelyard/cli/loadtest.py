"""``load-test``: how fast a model answers when many ask, and what it answers then."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from modelyard.cli.context import USE, Cli, ModelArgument, command, seconds
from modelyard.cli.problems import CliError, ExitCode
from modelyard.cli.progress import spinning

if TYPE_CHECKING:
    from modelyard.client import Modelyard
    from modelyard.client.locate import Location
    from modelyard.loadtest.gates import Gate
    from modelyard.loadtest.measuring import Measured, Second
    from modelyard.loadtest.payload import Body
    from modelyard.loadtest.plan import Plan

# Different requests are sent in turns, lest a cache answers; as long as they are small.
_BODIES: Final = 8
_SMALL: Final = 4 * 2**20
_DAY: Final = 86_400.0


def register(app: typer.Typer) -> None:
    command(app, "load-test", rich_help_panel=USE)(load_test)


def load_test(
    cli: Cli,
    name: ModelArgument,
    concurrency: Annotated[
        int, typer.Option("--concurrency", "-c", min=1, max=10_000, help="How many callers, each with a connection.")
    ] = 8,
    duration: Annotated[str, typer.Option("--duration", help="How long is measured.")] = "10s",
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate",
            help="Send so many requests a second whether or not earlier ones are answered (open loop). Latencies count "
            "from when a request was due.",
            show_default=False,
        ),
    ] = None,
    warm_up: Annotated[str, typer.Option("--warm-up", help="Load before that, which is not counted.")] = "1s",
    timeout: Annotated[str, typer.Option("--timeout", help="A request without an answer has failed after this.")] = (
        "30s"
    ),
    data: Annotated[
        str | None, typer.Option("--data", "-d", help="What to ask, as for `predict` (default: random values).")
    ] = None,
    file: Annotated[str | None, typer.Option("--file", "-f", help="The same from a file; - is standard input.")] = None,
    rows: Annotated[
        int | None, typer.Option("--rows", min=1, help="Rows of random values in a request.", show_default="1")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Which random values.")] = 0,
    binary: Annotated[bool, typer.Option("--binary", help="Tensors in binary form, both ways.")] = False,
    processes: Annotated[
        int, typer.Option("--processes", min=1, max=64, help="Processes that make the load, if one is not enough.")
    ] = 1,
    fail_over: Annotated[
        list[str] | None,
        typer.Option("--fail-over", metavar="LIMIT", help="Fail beyond p99=50ms, errors=0.1% or the like; repeatable."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", dir_okay=False, help="Also draw it into this file (SVG).")
    ] = None,
) -> None:
    """Load a model and measure how it answers. Ctrl-C ends it early; what was measured is reported all the same."""
    from modelyard.loadtest.gates import judge

    gates = _gates(fail_over or [])
    if (data is not None) + (file is not None) + (rows is not None) > 1:
        raise typer.BadParameter("Give one of --data, --file and --rows.")
    if processes > concurrency:
        raise typer.BadParameter(
            f"{processes} processes need at least as many callers: raise --concurrency.", param_hint="--processes"
        )
    if rate is not None and not 0.01 <= rate <= 1e6:
        raise typer.BadParameter("A rate is between 0.01 and 1,000,000 requests a second.", param_hint="--rate")
    if plot is not None and not plot.absolute().parent.is_dir():
        raise typer.BadParameter(f"There is no folder {plot.absolute().parent}.", param_hint="--plot")
    if plot is not None and plot.suffix.lower() != ".svg":
        raise typer.BadParameter(
            f"It is drawn as SVG: name a file like {plot.with_suffix('.svg')}.", param_hint="--plot"
        )
    times = {
        "duration": _time(duration, "--duration", 0.1), "warm_up": _time(warm_up, "--warm-up", 0),
        "timeout": _time(timeout, "--timeout", 0.01),
    }  # fmt: skip
    place = _place(cli)
    bodies = _bodies(cli.client, name, data, file, rows=rows, seed=seed, binary=binary)
    plan = _plan(cli, place, name, bodies, connections=concurrency, rate=rate, **times)
    _try_one(plan, place.url)
    measured, interrupted = _measure(cli, plan, processes)
    verdicts = [judge(gate, measured) for gate in gates]
    from modelyard.cli import load_views

    if plot is not None:
        from modelyard.loadtest.svg import picture

        plot.write_text(picture(measured, load_views.title(name, plan)), encoding="utf-8")
    load = load_views.Load(name, place.url, plan, processes, measured, verdicts, interrupted)
    cli.show(load_views.as_data(load), lambda: load_views.as_text(load))
    load_views.remark(cli, load)
    if interrupted:
        raise typer.Exit(ExitCode.INTERRUPTED)
    if not measured.latencies.count or not all(verdict.kept for verdict in verdicts):
        raise typer.Exit(ExitCode.FAILED)


def _gates(texts: Sequence[str]) -> list[Gate]:
    from modelyard.loadtest.gates import gate

    try:
        return [gate(text) for text in texts]
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--fail-over") from None


def _time(text: str, option: str, least: float) -> float:
    value = seconds(text, option) or 0.0
    if not least <= value <= _DAY:
        raise typer.BadParameter(f"{text} is not between {least:g} s and a day.", param_hint=option)
    return value


def _place(cli: Cli) -> Location:
    """Where, and with which token. Raises NotRunning."""
    from modelyard.client import NotRunning

    place = cli.locate()
    if not place.is_known:
        raise NotRunning(place.url)
    return place


def _bodies(
    client: Modelyard, name: str, data: str | None, file: str | None, *, rows: int | None, seed: int, binary: bool
) -> list[Body]:
    from modelyard.loadtest import payload

    encode = payload.as_binary if binary else payload.as_json
    try:
        if data is not None or file is not None:
            return [encode(_request(client, name, data, file))]
        known = client.metadata(name).inputs
        inputs = [payload.Tensor(tensor.name, tensor.datatype, tensor.shape) for tensor in known]
        bodies = [encode(payload.made_up(inputs, rows, seed))]
        while len(bodies) < _BODIES and len(bodies[0].content) < _SMALL:
            bodies.append(encode(payload.made_up(inputs, rows, seed + len(bodies))))
    except payload.Unfit as unfit:
        raise CliError(str(unfit), exit_code=ExitCode.INVALID) from None
    return bodies


def _request(client: Modelyard, name: str, data: str | None, file: str | None) -> dict[str, Any]:
    from modelyard.cli.traffic import json_of, text_of
    from modelyard.client import tensors

    value = json_of(data if data is not None else text_of(str(file)))
    if isinstance(value, dict) and isinstance(value.get("inputs"), list):
        return value
    return tensors.request(value, client.metadata(name))


def _plan(cli: Cli, place: Location, name: str, bodies: Sequence[Body], **how: Any) -> Plan:
    from modelyard.client.calls import inference_path
    from modelyard.loadtest.asking import post, target
    from modelyard.loadtest.plan import Plan

    path = f"{inference_path(cli.client.namespace, name, None)}/infer"
    token = {"Authorization": f"Bearer {place.token}"} if place.token else {}
    try:
        to = target(place.url)
        requests = tuple(post(to, path, {**body.headers, **token}, body.content) for body in bodies)
    except ValueError as error:
        raise CliError(str(error), exit_code=ExitCode.USAGE) from None
    return Plan(
        host=to.host, port=to.port, tls=to.tls, ca_file=place.ca_file, any_name=place.is_own, requests=requests, **how
    )  # fmt: skip


def _try_one(plan: Plan, url: str) -> None:
    """A load of refusals would only say how fast one is refused.

    Raises:
        ModelyardError: what one request was answered with.
    """
    import asyncio

    from modelyard.client import NotRunning, Unreachable
    from modelyard.client.errors import api_error
    from modelyard.loadtest.asking import Target, ask, trust

    try:
        to = Target(plan.host, plan.port, plan.tls, "")
        answer = asyncio.run(ask(to, plan.requests[0], plan.timeout, trust(plan)))
    except ConnectionRefusedError:
        raise NotRunning(url) from None
    except TimeoutError:
        message = f"One request alone had no answer within {plan.timeout:g} s."
        raise CliError(message, exit_code=ExitCode.TIMED_OUT) from None
    except OSError as error:
        raise Unreachable(f"{url} cannot be reached: {error.strerror or error}") from None
    if not 200 <= answer.status < 300:
        raise api_error(answer.status, _document(answer.body), "")


def _document(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return {"detail": body[:200].decode(errors="replace")} if body else {}


def _measure(cli: Cli, plan: Plan, processes: int) -> tuple[Measured, bool]:
    """What came of it, and whether it was interrupted."""
    import asyncio

    from modelyard.cli.load_views import moment
    from modelyard.loadtest.measuring import LoadFailed, measure

    interrupted = False

    async def run() -> Measured:
        stop = asyncio.Event()

        def interrupt() -> None:
            nonlocal interrupted
            interrupted = True
            stop.set()

        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupt)
        return await measure(plan, processes=processes, stop=stop, tell=tell)

    with spinning(cli, "Loading") as say:

        def tell(second: Second) -> None:
            # In a log a line a second would be too many.
            if cli.err.is_terminal:
                say(moment(second, plan))

        try:
            return asyncio.run(run()), interrupted
        except LoadFailed as failed:
            raise CliError(
                f"No load could be made: {failed}",
                exit_code=ExitCode.INTERRUPTED if interrupted else ExitCode.FAILED,
            ) from None
