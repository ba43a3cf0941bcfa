"""``convert``: a scikit-learn model as ONNX, once both are known to answer alike."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.context import REGISTRY, Cli, ReasonOption, command, seconds
from modelyard.cli.derived import (
    ESTIMATORS,
    DurationOption,
    FileOption,
    SourceArgument,
    as_file,
    check_finite,
    check_kind,
    latencies,
    milliseconds,
    model_in,
    publish,
    pulled,
)
from modelyard.cli.problems import CliError, ExitCode
from modelyard.cli.progress import spinning
from modelyard.cli.registry import split_pick
from modelyard.cli.stores import registry_errors
from modelyard.cli.views import table
from modelyard.domain.quantities import rounded_bytes

# Light: what is heavy runs in the job's own process.
from modelyard.optimization.jobs import Convert, Converted

if TYPE_CHECKING:
    from rich.table import Table

    from modelyard.client import ModelVersion

_HINTS = dict.fromkeys(
    ("untrusted_pickle", "untrusted_types"), "With --trusted it is loaded here: you vouch for the code that this runs."
)


def register(app: typer.Typer) -> None:
    command(app, "convert", rich_help_panel=REGISTRY)(convert)


def convert(
    cli: Cli,
    source: SourceArgument,
    to: Annotated[
        Path | None, typer.Option("--to", help="Where the ONNX file goes (default: NAME.onnx here, unless --register).")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--register", metavar="NAME@VERSION", help="Publish it as this version.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Rows to compare both on (.npz with 'input', .csv).", exists=True)
    ] = None,
    features: Annotated[
        int | None, typer.Option("--features", min=1, help="Columns of a row, where the model does not say.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option("--tolerance", min=0, help="What numbers may differ by (relative, above 1).")
    ] = 1e-3,
    duration: DurationOption = "2s",
    trusted: Annotated[bool, typer.Option("--trusted", help="Load pickles, too: you vouch for their code.")] = False,
    file: FileOption = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace a file that is there.")] = False,
    reason: ReasonOption = "",
) -> None:
    """Make ONNX of a scikit-learn model, check that both answer alike, and say how much faster it is."""
    check_finite(tolerance, "--tolerance")
    if target is not None:
        from modelyard.cli.metadata import check_names

        name, number = split_pick(target)
        check_names(name, number, None, ())
    here = as_file(source)
    if here is not None:
        check_kind(here, ESTIMATORS)
    with ExitStack() as stack:
        parent: ModelVersion | None = None
        if here is None:
            parent, folder = stack.enter_context(pulled(cli, source))
            here = model_in(folder, ESTIMATORS, file)
        place = _place(here, to, force) if to is not None or target is None else None
        beside = place.parent if place else None
        made = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".modelyard-", dir=beside))) / "model.onnx"
        job = Convert(
            source=str(here), to=str(made), trusted=trusted, data=str(data.resolve()) if data else None,
            features=features, tolerance=tolerance, seconds=seconds(duration, "--duration") or 0.0,
        )  # fmt: skip
        done = _done(cli, job)
        version, is_new = _registered(cli, target, made, parent, done, reason) if target else (None, False)
        if place is not None:
            made.replace(place)
    import msgspec

    answer = {"file": str(place) if place else None, "version": version.raw if version else None}
    cli.show({**msgspec.to_builtins(done, str_keys=True), **answer}, lambda: _result(done))
    _say_more(cli, done)
    if version is not None:
        name = f"{version.name}@{version.version}"
        cli.say(f"{name} is published" if is_new else f"{name} is there already, of the same bytes; it stays as it is")
    if place is not None:
        cli.say(f"{place} is written")


def _place(source: Path, to: Path | None, force: bool) -> Path:
    place = (to or Path(f"{source.stem}.onnx")).absolute()
    if place.exists() and not force:
        hint = "Name another file (--to), or replace it (--force)."
        raise CliError(f"{place} is there already.", hint=hint, exit_code=ExitCode.REFUSED)
    if not place.parent.is_dir():
        raise CliError(f"There is no folder {place.parent}.", hint="Make it first.", exit_code=ExitCode.NOT_FOUND)
    return place


def _done(cli: Cli, job: Convert) -> Converted:
    from modelyard.optimization.running import run

    name = Path(job.source).name
    with registry_errors(f"{name} was not converted.", hints=_HINTS), spinning(cli, f"Reading {name}") as tell:
        return run(job, Converted, tell)


def _registered(
    cli: Cli, target: str, made: Path, parent: ModelVersion | None, done: Converted, reason: str
) -> tuple[ModelVersion, bool]:
    """The version, and whether it is new."""
    from modelyard.cli.pushing import ensure_registered

    model, number = split_pick(target)
    assert number is not None
    metrics = {
        "max_difference": done.difference, "compared_rows": float(done.rows), "size": float(done.size),
        "original/size": float(done.size_before), **latencies(done.latency_before[1], done.latency[1]),
    }  # fmt: skip
    if done.agreement is not None:
        metrics["agreement"] = done.agreement
    about: dict[str, Any] = {"metrics": metrics, "labels": {"compared_on": str(done.of)}}
    if parent is not None:
        of = parent.version if parent.name == model else f"{parent.name}@{parent.version}"
        about |= {
            "lineage": {"parent": of}, "labels": {**parent.labels, **about["labels"]}, "licence": parent.licence,
            "description": f"{parent.name}@{parent.version} as ONNX",
        }  # fmt: skip
    ensure_registered(cli, model, reason)
    return publish(cli, model, iter([number]), made, about, reason=reason)


def _result(done: Converted) -> Table:
    made = table("", "SCIKIT-LEARN", "ONNX", "TIMES AS FAST")
    made.add_row("size", rounded_bytes(done.size_before), rounded_bytes(done.size), "")
    for rows, before in done.latency_before.items():
        after = done.latency[rows]
        name = f"latency p50, {rows} row{'s' if rows > 1 else ''}"
        made.add_row(name, milliseconds(before.p50), milliseconds(after.p50), f"{before.p50 / after.p50:.1f}")
    return made


def _say_more(cli: Cli, done: Converted) -> None:
    labels = "" if done.agreement is None else f"{done.agreement:.2%} of the labels are equal, "
    where = "rows of yours" if done.of == "evaluation" else "rows of random numbers (--data compares real ones)"
    cli.say(f"On {done.rows} {where} {labels}numbers differ by at most {done.difference:.2g}")
