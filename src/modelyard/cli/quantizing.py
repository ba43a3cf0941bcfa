"""``quantize``: a smaller version of an ONNX model, beside the original with what it is worth."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.context import REGISTRY, Cli, DryRunOption, ReasonOption, command, seconds
from modelyard.cli.derived import (
    DurationOption,
    FileOption,
    SourceArgument,
    as_file,
    check_finite,
    check_kind,
    latencies,
    milliseconds,
    model_in,
    numbers_after,
    publish,
    pulled,
)
from modelyard.cli.problems import CliError, ExitCode
from modelyard.cli.progress import spinning
from modelyard.cli.stores import registry_errors
from modelyard.cli.views import table
from modelyard.domain.quantities import rounded_bytes

# Light: what is heavy runs in the job's own process.
from modelyard.optimization.jobs import Calibration, Method, Metric, Quantize, Quantized, Rows

if TYPE_CHECKING:
    from rich.table import Table

    from modelyard.client import ModelVersion

_TAGS = {Method.DYNAMIC_INT8: "int8", Method.STATIC_INT8: "int8", Method.FP16: "fp16"}
_ON = {
    "evaluation": "rows of the evaluation data",
    "calibration": "rows of the calibration data, for want of --evaluation",
    "random": "rows of random numbers, for want of --evaluation: real rows may do better or worse",
}  # fmt: skip
_REAL_ROWS = "Compare on real rows first (--evaluation FILE). "
_SHOWN = 6
# A median that differs by less may be noise.
_SLOWER = 1.05


def register(app: typer.Typer) -> None:
    command(app, "quantize", rich_help_panel=REGISTRY)(quantize)


@dataclass(frozen=True)
class _Asked:
    """The command line, less where the model is and where it goes."""

    method: Method
    calibration: Path | None
    calibration_method: Calibration
    evaluation: Path | None
    labels: str | None
    answer: str | None
    metric: Metric | None
    exclude: list[str]
    threads: int
    seconds: float
    limit: float

    def job(self, source: Path, to: Path) -> Quantize:
        return Quantize(
            source=str(source), to=str(to), method=self.method, calibration=_absolute(self.calibration),
            calibration_method=self.calibration_method, evaluation=_absolute(self.evaluation), labels=self.labels,
            answer=self.answer, metric=self.metric, exclude=self.exclude, threads=self.threads, seconds=self.seconds,
        )  # fmt: skip


def quantize(
    cli: Cli,
    source: SourceArgument,
    method: Annotated[Method, typer.Option("--method", help="How its numbers are made smaller.")] = Method.DYNAMIC_INT8,
    calibration: Annotated[
        Path | None,
        typer.Option("--calibration", help="Real inputs for static-int8: .npz, .csv, a folder of .npz.", exists=True),
    ] = None,
    calibration_method: Annotated[
        Calibration, typer.Option("--calibration-method", help="How the range of a tensor is found.")
    ] = Calibration.MINMAX,
    evaluation: Annotated[
        Path | None, typer.Option("--evaluation", help="Rows with labels to measure the accuracy on.", exists=True)
    ] = None,
    labels: Annotated[str | None, typer.Option("--labels", help="What the labels are called among them.")] = None,
    answer: Annotated[str | None, typer.Option("--answer", help="The output that labels are compared with.")] = None,
    metric: Annotated[Metric | None, typer.Option("--metric", help="Default: by labels and outputs.")] = None,
    limit: Annotated[
        float, typer.Option("--max-accuracy-drop", min=0, help="What it may lose before nobody is given it.")
    ] = 0.01,
    version: Annotated[
        str | None, typer.Option("--version", help="The new version's number (default: 1.4.3-int8 after 1.4.2).")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", help="Where the new file goes (default: NAME.int8.onnx beside it).")
    ] = None,
    file: FileOption = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", metavar="NODE", help="Leave this node of the graph as it is.")
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="That both are measured with.")] = 1,
    duration: DurationOption = "4s",
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace a file that is there.")] = False,
    dry_run: DryRunOption = False,
    reason: ReasonOption = "",
) -> None:
    """Make an ONNX model's numbers smaller, and measure what that costs and gains. Of a registered version it makes a
    new one; aliases refuse it if its accuracy drops too far."""
    check_finite(limit, "--max-accuracy-drop")
    asked = _Asked(
        method, calibration, calibration_method, evaluation, labels, answer, metric, exclude or [], threads,
        seconds(duration, "--duration") or 0.0, limit,
    )  # fmt: skip
    here = as_file(source)
    if here is not None:
        check_kind(here, (".onnx",))
        if version is not None:
            raise typer.BadParameter("A file has no version: --to says where the new one goes.", param_hint="--version")
        _of_file(cli, here, to, asked, force=force, dry_run=dry_run)
        return
    if to is not None:
        message = "Of a registered version a version is made (modelyard pull gets its files)."
        raise typer.BadParameter(message, param_hint="--to")
    if version is not None:
        from modelyard.cli.metadata import check_names

        check_names(source.partition("@")[0], version, None, ())
    with pulled(cli, source) as (parent, folder):
        _of_version(cli, parent, folder, file, version, asked, dry_run=dry_run, reason=reason)


def _of_file(cli: Cli, source: Path, to: Path | None, asked: _Asked, *, force: bool, dry_run: bool) -> None:
    to = (to or source.with_name(f"{source.stem}.{_TAGS[asked.method]}.onnx")).absolute()
    if (to.exists() and not force) or to == source:
        hint = "Name another file (--to), or replace it (--force)." if to != source else "Name another file (--to)."
        raise CliError(f"{to} is there already.", hint=hint, exit_code=ExitCode.REFUSED)
    if not to.parent.is_dir():
        raise CliError(f"There is no folder {to.parent}.", hint="Make it first.", exit_code=ExitCode.NOT_FOUND)
    # Beside its place, so that it gets there whole or not at all.
    with tempfile.TemporaryDirectory(prefix=".modelyard-", dir=to.parent) as folder:
        done = _done(cli, source, Path(folder) / to.name, asked)
        lost = _lost(done, asked.limit)
        if not lost:
            _check_places(source, to, Path(folder), force)
        if not dry_run and not lost:
            for path in sorted(Path(folder).iterdir(), key=lambda path: path == Path(folder) / to.name):
                # onnx makes files of weights that only their owner may read.
                shutil.copymode(source, path)
                path.replace(to.parent / path.name)
    data = {**_data(done, asked), "file": None if dry_run or lost else str(to)}
    cli.show(data, lambda: _result(done))
    _say_more(cli, done)
    if lost:
        hint = "Try --method static-int8 or fp16, --exclude NODE, or allow more."
        hint = f"Nothing is written. {_REAL_ROWS if done.score.of is Rows.RANDOM else ''}{hint}"
        raise CliError(lost, hint=hint, exit_code=ExitCode.REFUSED)
    cli.say(f"{to} would be written" if dry_run else f"{to} is written")


def _check_places(source: Path, to: Path, made: Path, force: bool) -> None:
    """Refuse what was ``made`` where a file of it would replace one that it must not: its weights may lie beside it."""
    from modelyard.registry.formats.onnx import external

    needed = {source.parent / tensor.location for tensor in external(source)}
    for path in made.iterdir():
        place = to.parent / path.name
        if place.resolve() in {one.resolve() for one in (source, *needed)}:
            hint = "Name another file (--to)."
            raise CliError(f"{place} belongs to the original.", hint=hint, exit_code=ExitCode.REFUSED)
        if place.exists() and not force:
            hint = "Name another file (--to), or replace it (--force)."
            raise CliError(f"{place} is there already.", hint=hint, exit_code=ExitCode.REFUSED)


def _of_version(
    cli: Cli, parent: ModelVersion, folder: Path, file: str | None, number: str | None, asked: _Asked, *,
    dry_run: bool, reason: str,
) -> None:  # fmt: skip
    model = model_in(folder, (".onnx",), file)
    made = folder.parent / "made"
    made.mkdir()
    done = _done(cli, model, made / model.name, asked)
    lost = _lost(done, asked.limit)
    published: ModelVersion | None = None
    is_new = False
    if not dry_run:
        _replace(folder, model, made)
        numbers: Iterator[str] = iter([number]) if number else numbers_after(parent.version, _TAGS[asked.method])
        about = _about(parent, done, asked)
        published, is_new = publish(cli, parent.name, numbers, folder, about, like=[parent.manifest], reason=reason)
    data = {**_data(done, asked), "parent": f"{parent.name}@{parent.version}", "published": is_new}
    cli.show({**data, "version": published.raw if published else None}, lambda: _result(done))
    _say_more(cli, done)
    what = f"{parent.name}@{published.version}" if published else "It"
    if published and not is_new:
        _say_there_already(cli, what, published, lost)
        return
    if lost:
        hint = f"Aliases do not move to {what} unless they are forced to (modelyard alias set … --force --reason …)."
        if done.score.of is Rows.RANDOM:
            hint = f"Compare on real rows first (--evaluation FILE, and --version for a number of its own). {hint}"
        message = f"{what} is published, but marked. {lost}" if published else lost
        raise CliError(message, hint=hint if published else "", exit_code=ExitCode.REFUSED)
    said = f"; `modelyard alias set {parent.name} stable {published.version}` has it used" if published else ""
    cli.say(f"{what} is published{said}" if published else "Nothing is published: --dry-run")


def _say_there_already(cli: Cli, name: str, version: ModelVersion, lost: str) -> None:
    """Raises CliError where it is marked, or would be by what was measured now (``lost``)."""
    from modelyard.domain.registry_rules import ACCURACY_DROP, ACCURACY_DROP_LIMIT, drop_complaint

    drop, limit = version.metrics.get(ACCURACY_DROP), version.metrics.get(ACCURACY_DROP_LIMIT)
    rows = version.labels.get("compared_on")
    then = "" if drop is None or limit is None else (
        f", measured then with a drop of {drop:.4g} and a limit of {limit:g}{f' on {rows} rows' if rows else ''}"
    )  # fmt: skip
    message = f"{name} is there already, of the same bytes{then}. Nothing was changed."
    own = "--version NUMBER publishes them under another number, with what was measured now."
    if drop_complaint(version.metrics):
        hint = f"It is marked: aliases do not move to it unless they are forced to. {own}"
        raise CliError(message, hint=hint, exit_code=ExitCode.REFUSED)
    if lost:
        raise CliError(message, hint=f"{lost} It is not marked so. {own}", exit_code=ExitCode.REFUSED)
    cli.say(message)


def _done(cli: Cli, source: Path, to: Path, asked: _Asked) -> Quantized:
    from modelyard.optimization.running import run

    with registry_errors(f"{source.name} was not quantized."), spinning(cli, f"Reading {source.name}") as tell:
        return run(asked.job(source, to), Quantized, tell)


def _replace(folder: Path, model: Path, made: Path) -> None:
    """Put what was made in the place of the ``model`` and of the weights that are its alone."""
    from modelyard.registry.formats.onnx import external

    def weights(path: Path) -> set[Path]:
        return {path.parent / tensor.location for tensor in external(path)}

    others = {one for path in folder.rglob("*.onnx") if path != model for one in weights(path)}
    for path in weights(model) - others:
        path.unlink(missing_ok=True)
    model.unlink()
    for path in sorted(made.iterdir()):
        if (place := model.parent / path.name).exists():
            message = f"{place.relative_to(folder)} is another model's: the new weights cannot have its name."
            raise CliError(message, hint="Rename one of the models.", exit_code=ExitCode.INVALID)
        shutil.move(path, place)


# ------------------------------------------------------------------------------------------- what is said


def _lost(done: Quantized, limit: float) -> str:
    """What is wrong with the new model's accuracy; empty for nothing."""
    if done.score.drop <= limit:
        return ""
    metric, drop = done.score.metric, done.score.drop
    how = f"rises by {drop:.4g} of the original's" if metric.is_error else f"drops by {drop:.4g}"
    return f"Its {metric} {how}, past the limit of {limit:g}."


def _about(parent: ModelVersion, done: Quantized, asked: _Asked) -> dict[str, Any]:
    from modelyard.domain.registry_rules import ACCURACY_DROP, ACCURACY_DROP_LIMIT

    score = done.score
    metrics = {
        str(score.metric): score.after, f"original/{score.metric}": score.before,
        ACCURACY_DROP: score.drop, ACCURACY_DROP_LIMIT: asked.limit, "compared_rows": score.rows,
        "size": done.size, "original/size": done.size_before, **latencies(done.latency_before, done.latency),
        "latency_threads": done.threads,
    }  # fmt: skip
    labels = {**parent.labels, "quantization": str(asked.method), "compared_on": str(score.of)}
    about = {
        "lineage": {"parent": parent.version}, "metrics": metrics, "labels": labels, "trust": parent.trust,
        "dependencies": parent.dependencies, "licence": parent.licence, "signature": parent.signature,
        "description": f"{parent.name}@{parent.version} in {asked.method}",
    }  # fmt: skip
    if parent.framework is not None:
        is_onnx = parent.framework.name == "onnx"
        version = f"opset {done.opset}" if is_onnx else parent.framework.version
        about["framework"] = {"name": parent.framework.name, "version": version}
    return {key: value for key, value in about.items() if value}


def _data(done: Quantized, asked: _Asked) -> dict[str, Any]:
    import msgspec

    return {"method": str(asked.method), "max_accuracy_drop": asked.limit, **msgspec.to_builtins(done)}


def _result(done: Quantized) -> Table:
    made = table("", "ORIGINAL", "NEW", "CHANGE")
    score = done.score
    before, after = done.latency_before, done.latency
    change = f"{score.drop:+.2%}" if score.metric.is_error else f"{0.0 - round(score.drop, 4):+.4f}"
    made.add_row(str(score.metric), f"{score.before:.4f}", f"{score.after:.4f}", change)
    made.add_row("size", rounded_bytes(done.size_before), rounded_bytes(done.size), _share(done.size, done.size_before))
    for name, old, new in (("p50", before.p50, after.p50), ("p95", before.p95, after.p95)):
        made.add_row(f"latency {name}", milliseconds(old), milliseconds(new), _share(new, old))
    return made


def _share(new: float, old: float) -> str:
    return f"{new / old - 1:+.0%}" if old else "-"


def _say_more(cli: Cli, done: Quantized) -> None:
    score = done.score
    cli.say(f"Compared on {score.rows} {_ON[score.of]}; latency of one row with {done.threads} thread(s)")
    cli.say(f"In smaller numbers: {', '.join(f'{count} {name}' for name, count in done.quantized.items())}")
    if done.skipped:
        more = f" and {len(done.skipped) - _SHOWN} more" if len(done.skipped) > _SHOWN else ""
        cli.say(f"Left as they are: {', '.join(done.skipped[:_SHOWN])}{more}")
    if done.opset != done.opset_before:
        cli.say(f"The opset is {done.opset} now; it was {done.opset_before}")
    for note in done.notes:
        cli.say(f"Note: {note}")
    if worse := _worse(done):
        cli.say(f"Note: {worse}")


def _worse(done: Quantized) -> str:
    """What smaller numbers did not bring here; empty where it is smaller, and not slower."""
    is_larger = done.size > done.size_before
    is_slower = done.latency.p50 > done.latency_before.p50 * _SLOWER
    size = f"it is {'larger' if is_larger else 'smaller'} than the original"
    if is_slower:
        return f"{size}, {'and' if is_larger else 'but'} slower on this machine"
    return size if is_larger else ""


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.resolve())
