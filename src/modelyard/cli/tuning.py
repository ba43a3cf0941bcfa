"""``tune``: how many threads, and how many rows a run, suit a model on this machine."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote, urlsplit

import typer

from modelyard.cli.context import UPDATES, Cli, ReasonOption, WaitOption, WaitTimeoutOption, command, seconds
from modelyard.cli.derived import ESTIMATORS, FileOption, as_file, milliseconds, model_in, pulled
from modelyard.cli.problems import CliError, ExitCode
from modelyard.cli.progress import finish, spinning
from modelyard.cli.stores import registry_errors
from modelyard.cli.views import table

# Light: what is heavy runs in the jobs' own processes.
from modelyard.optimization.jobs import Measure, Trials
from modelyard.optimization.tuning import BATCHES, Found, Plan, Setting, Target, Trial, Verdict, search, threads_up_to

if TYPE_CHECKING:
    from rich.table import Table

_ENGINES = {".onnx": "onnx", **dict.fromkeys(ESTIMATORS, "sklearn")}
# What a model that says nothing of it is served with.
_MAX_ROWS = 64


def register(app: typer.Typer) -> None:
    command(app, "tune", rich_help_panel=UPDATES)(tune)


@dataclass(frozen=True)
class _Tuned:
    """What is measured: a file, and how it is served now; ``model`` is the served model's name, if it is one."""

    path: Path
    engine: str
    now: Setting
    trusted: bool = False
    model: str | None = None


def tune(
    cli: Cli,
    source: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A served model's name, a registered version (pat@1.4.2), or a file.",
            show_default=False,
        ),
    ],
    target: Annotated[Target, typer.Option("--target", help="What is to be best.")] = Target.THROUGHPUT,
    p95: Annotated[
        str | None, typer.Option("--p95", metavar="DURATION", help="Only what keeps this 95th percentile: 20ms.")
    ] = None,
    threads: Annotated[
        str | None, typer.Option("--threads", metavar="N,N", help="Which are tried (default: 1, 2, 4 … all cores).")
    ] = None,
    batches: Annotated[
        str | None, typer.Option("--max-rows", metavar="N,N", help="Which rows a run are tried (default: 1 … 128).")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Real rows: .npz or .csv (default: random ones).", exists=True)
    ] = None,
    duration: Annotated[str, typer.Option("--duration", help="About how long to measure.")] = "30s",
    trusted: Annotated[bool, typer.Option("--trusted", help="Load pickles, too: you vouch for their code.")] = False,
    file: FileOption = None,
    apply: Annotated[bool, typer.Option("--apply", help="Set what is better, if something is.")] = False,
    reason: ReasonOption = "",
    wait: WaitOption = True,
    wait_timeout: WaitTimeoutOption = None,
) -> None:
    """Measure how many threads, and how many rows a run, suit a model on this machine. Only what is better beyond the
    noise is recommended."""
    bound = seconds(p95, "--p95")
    with _tuned(cli, source, file, trusted) as tuned:
        if apply and tuned.model is None:
            raise typer.BadParameter("Only a served model can be changed: give its name.", param_hint="--apply")
        plan = Plan(
            current=tuned.now, target=target, bound=None if bound is None else bound * 1000,
            threads=_numbers(threads, "--threads") or threads_up_to(os.cpu_count() or 1),
            batches=_numbers(batches, "--max-rows") or BATCHES, seconds=seconds(duration, "--duration") or 30.0,
        )  # fmt: skip
        found = _found(cli, tuned, plan, data)
    verdict = found.verdict
    patch = _patch(verdict, found.batches and target is Target.THROUGHPUT) if verdict else {}
    cli.show(_data(found, patch), lambda: _trials(found, tuned.now))
    _say(cli, found, patch, plan, tuned.model)
    if not apply or verdict is None or not verdict.is_better:
        return
    assert tuned.model is not None
    why = reason or f"measured: {verdict.gain:+.0%} {target}"
    operation = cli.client.models.update(tuned.model, patch, reason=why)
    finish(cli, operation, wait=wait, timeout=seconds(wait_timeout, "--wait-timeout"), show=False)


# ------------------------------------------------------------------------------------------- what is measured


@contextmanager
def _tuned(cli: Cli, source: str, file: str | None, trust: bool) -> Iterator[_Tuned]:
    """A file, a registered version where an @ says so or no served model has the name, or the served model."""
    path = as_file(source)
    if path is not None:
        yield _Tuned(path, _engine_of(path), Setting(1, _MAX_ROWS), trust)
        return
    spec = None if "@" in source else _spec_of(cli, source)
    if spec is None:
        with pulled(cli, source) as (_, folder):
            path = model_in(folder, tuple(_ENGINES), file)
            yield _Tuned(path, _engine_of(path), Setting(1, _MAX_ROWS), trust)
        return
    if spec["engine"] not in _ENGINES.values():
        message = f"{source} is served by the {spec['engine']} engine: only those of onnx and sklearn are measured."
        raise CliError(message, exit_code=ExitCode.INVALID)
    now, trusted = _setting_of(spec), trust or bool(spec.get("trusted"))
    address = urlsplit(str(spec["source"]))
    if address.scheme == "file":
        yield _Tuned(Path(unquote(address.path)), spec["engine"], now, trusted, source)
        return
    with pulled(cli, spec["source"]) as (_, folder):
        suffixes = tuple(suffix for suffix, engine in _ENGINES.items() if engine == spec["engine"])
        yield _Tuned(model_in(folder, suffixes, file), spec["engine"], now, trusted, source)


def _spec_of(cli: Cli, name: str) -> dict[str, Any] | None:
    """Of the served model, if there is one of this name."""
    from modelyard.client import NotFound

    try:
        return dict(cli.client.models.get(name).raw["spec"])
    except NotFound:
        return None


def _setting_of(spec: dict[str, Any]) -> Setting:
    cpu = (spec.get("resources") or {}).get("cpu")
    batching = (spec.get("options") or {}).get("batching")
    rows = 1 if batching is False else (batching or {}).get("max_rows", _MAX_ROWS)
    return Setting(max(1, math.ceil(float(cpu or 1))), int(rows))


def _engine_of(path: Path) -> str:
    engine = _ENGINES.get(path.suffix.lower())
    if engine is None:
        message = f"{path.name} is none of {', '.join(_ENGINES)}, which can be measured."
        raise CliError(message, exit_code=ExitCode.INVALID)
    return engine


def _numbers(text: str | None, option: str) -> list[int]:
    try:
        found = [int(one) for one in text.split(",")] if text else []
    except ValueError:
        found = [0]
    if any(not 1 <= one <= 4096 for one in found):
        raise typer.BadParameter(f"{text!r}: write whole numbers from 1 on, 1,2,4.", param_hint=option)
    return found


def _found(cli: Cli, tuned: _Tuned, plan: Plan, data: Path | None) -> Found:
    from modelyard.optimization.running import run

    def measure(threads: int, batches: Sequence[int], each: float) -> Trials:
        job = Measure(
            source=str(tuned.path), engine=tuned.engine, threads=threads, batches=list(batches), seconds=each,
            trusted=tuned.trusted, data=str(data.resolve()) if data else None,
        )  # fmt: skip
        return run(job, Trials)

    hints = dict.fromkeys(("untrusted_pickle", "untrusted_types"), "With --trusted it is loaded here.")
    with registry_errors("It cannot be measured.", hints=hints), spinning(cli, "Measuring") as tell:
        return search(plan, measure, tell)


# ------------------------------------------------------------------------------------------- what is said


def _patch(verdict: Verdict, batches: bool) -> dict[str, Any]:
    """The change of the spec that the best setting is."""
    best = verdict.best.setting
    patch: dict[str, Any] = {"resources": {"cpu": best.threads}}
    if batches:
        patch["options"] = {"batching": {"max_rows": best.max_rows} if best.max_rows > 1 else False}
    return patch


def _data(found: Found, patch: dict[str, Any]) -> dict[str, Any]:
    verdict = found.verdict
    return {
        "trials": [_row(trial) for trial in found.trials],
        "current": _row(verdict.current) if verdict else None,
        "best": _row(verdict.best) if verdict else None,
        "gain": verdict.gain if verdict else None, "noise": verdict.noise if verdict else None,
        "is_better": bool(verdict and verdict.is_better),
        "why": verdict.why if verdict else "no setting keeps the bound",
        "spec": patch,
    }  # fmt: skip


def _row(trial: Trial) -> dict[str, Any]:
    setting = trial.setting
    return {
        "threads": setting.threads, "max_rows": setting.max_rows, "rows_per_second": trial.rate,
        "p50_ms": trial.p50, "p95_ms": trial.p95,
    }  # fmt: skip


def _trials(found: Found, now: Setting) -> Table:
    made = table("THREADS", "ROWS", "ROWS/S", "A CORE", "P50", "P95", "")
    best = found.verdict.best.setting if found.verdict else None
    for trial in found.trials:
        setting = trial.setting
        marks = [word for word, one in (("best", best), ("now", now)) if one == setting]
        made.add_row(
            str(setting.threads), str(setting.max_rows), f"{trial.rate:,.0f}", f"{trial.rate / setting.threads:,.0f}",
            milliseconds(trial.p50), milliseconds(trial.p95), ", ".join(marks),
        )  # fmt: skip
    return made


def _say(cli: Cli, found: Found, patch: dict[str, Any], plan: Plan, model: str | None) -> None:
    verdict = found.verdict
    if verdict is None:
        cli.say(f"No setting keeps a 95th percentile of {milliseconds(plan.bound or 0)}")
        return
    if not found.batches:
        cli.say("The model takes one number of rows only, so there is nothing to batch")
    gain = f"{verdict.gain:+.0%} {plan.target}, give or take {verdict.noise:.0%}"
    if not verdict.is_better:
        cli.say(f"Nothing to change: {verdict.why} ({gain})")
        return
    options = patch.get("options", {}).get("batching")
    rows = "" if options is None else f" --set options.batching.max_rows={options['max_rows']}" if options else (
        " --set options.batching=false"
    )  # fmt: skip
    cli.say(f"Better: {gain}; {verdict.why}")
    where = f"-n {cli.namespace} {model}" if model and cli.namespace else model or "NAME"
    cli.say(f"modelyard update {where} --set resources.cpu={verdict.best.setting.threads}{rows}")
