"""What ``quantize``, ``convert`` and ``tune`` share: a registered version's files for a while, and the publishing of
what was made of them."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote, urlsplit

import typer

from modelyard.cli.context import Cli
from modelyard.cli.problems import CliError, ExitCode
from modelyard.cli.progress import moving
from modelyard.cli.registry import split_pick
from modelyard.cli.stores import registry_errors, store_of

if TYPE_CHECKING:
    from modelyard.client import ModelVersion
    from modelyard.optimization.jobs import Latency
    from modelyard.registry.importing import Source

SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A file, or a registered version: pat@1.4.2, pat@stable, pat.", show_default=False
    ),
]
FileOption = Annotated[
    str | None, typer.Option("--file", metavar="PATH", help="Which file of the version, if it has several models.")
]
DurationOption = Annotated[str, typer.Option("--duration", help="About how long to measure both.")]
ESTIMATORS = (".skops", ".pkl", ".pickle", ".joblib")
# So many derived versions of one are numbered by themselves.
_TRIES = 100


def as_file(source: str) -> Path | None:
    """The file that ``source`` is; None for the name of a registered model. Raises CliError for a file that is not
    there."""
    path = Path(source).expanduser()
    if path.is_file():
        return path.resolve()
    if "/" in source or path.suffix in (".onnx", *ESTIMATORS) or path.is_dir():
        what = "is a folder: name the model's file in it" if path.is_dir() else "does not exist"
        raise CliError(f"{source} {what}.", exit_code=ExitCode.NOT_FOUND)
    return None


def check_finite(value: float, option: str) -> None:
    """Raises BadParameter: nothing compares with what is no number."""
    if not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no finite number.", param_hint=option)


def check_kind(path: Path, suffixes: Sequence[str]) -> None:
    """Raises CliError for a model of a kind that another command is for than one that takes ``suffixes``."""
    suffix = path.suffix.lower()
    if suffix in suffixes or suffix not in (".onnx", *ESTIMATORS):
        return
    if suffix == ".onnx":
        message, hint = f"{path.name} is ONNX already.", "`modelyard quantize` makes it smaller."
    else:
        kind = "a skops file" if suffix == ".skops" else "a pickle"
        message, hint = f"{path.name} is {kind}, not ONNX.", "`modelyard convert` makes ONNX of it."
    raise CliError(message, hint=hint, exit_code=ExitCode.INVALID)


@contextmanager
def pulled(cli: Cli, name: str) -> Iterator[tuple[ModelVersion, Path]]:
    """A registered version, and a folder with its files, which is gone afterwards. Raises CliError for a name that no
    registered model has."""
    from modelyard.client import NotFound
    from modelyard.registry.content.pulling import pull

    model, pick = split_pick(name)
    try:
        found = cli.client.registry.resolve(model, pick or "latest")
    except NotFound as error:
        if not error.detail.startswith("There is no registered model"):
            raise
        raise _unregistered(cli, model) from error
    storage, _ = store_of(cli)
    with tempfile.TemporaryDirectory(prefix="modelyard-") as temporary:
        folder = Path(temporary) / "files"
        with registry_errors(), moving(cli, f"Pulling {model}@{found.version}") as progress:
            pull(storage, found.manifest, folder, progress=progress)
        yield found, folder


def _unregistered(cli: Cli, name: str) -> CliError:
    from modelyard.client import NotFound

    try:
        source = str(cli.client.models.get(name).raw["spec"]["source"])
    except NotFound:
        message = f"Neither a registered nor a served model is called {name!r}, and no file."
        hint = "`modelyard registry list -A` and `modelyard list -A` show which models there are."
        return CliError(message, hint=hint, exit_code=ExitCode.NOT_FOUND)
    address = urlsplit(source)
    what = f"its file: {unquote(address.path)}" if address.scheme == "file" else f"what it serves: {source}"
    return CliError(f"{name} is deployed, not registered.", hint=f"Give {what}", exit_code=ExitCode.NOT_FOUND)


def model_in(folder: Path, suffixes: Sequence[str], wanted: str | None) -> Path:
    """The one file with such a suffix, or the ``wanted`` one. Raises CliError."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes)
    names = [str(path.relative_to(folder)) for path in found]
    if not found:
        for path in sorted(folder.rglob("*")):
            check_kind(path, suffixes)
    if wanted is not None and wanted in names:
        return folder / wanted
    if len(found) == 1 and wanted is None:
        return found[0]
    have = f"it has {', '.join(names[:8])}" if names else "it has none"
    what = f"no file {wanted}" if wanted is not None else f"not one {' or '.join(suffixes)} file"
    raise CliError(f"The version has {what}: {have}.", hint="Name one: --file PATH.", exit_code=ExitCode.INVALID)


def publish(
    cli: Cli, model: str, numbers: Iterator[str], folder: Path, about: Mapping[str, Any], *,
    like: Sequence[str] = (), reason: str = "",
) -> tuple[ModelVersion, bool]:  # fmt: skip
    """The files of ``folder`` as a version under the first of ``numbers`` that is free, or has these bytes already;
    and whether it is new. One that was there stays as it is: what was measured of it may hold back aliases. The files
    are stored first: until the last moment nothing is published."""
    from modelyard.registry.importing import Trust, opened

    storage, _ = store_of(cli)
    words = about.get("trust", ())
    trust = Trust(code="code" in words, pickle="pickle" in words)
    with registry_errors("These files make no version."), opened(folder, trust) as files:
        with moving(cli, f"Pushing {model}") as progress:
            # Each byte is read twice, to be hashed and to be stored.
            pushed = files.push(storage, like=like, progress=lambda done, total: progress(done // 2, total // 2))
        return _published(cli, model, numbers, pushed.manifest, {**_told(files), **about}, reason)


def _published(
    cli: Cli, model: str, numbers: Iterator[str], manifest: str, about: Mapping[str, Any], reason: str
) -> tuple[ModelVersion, bool]:
    from modelyard.client import NotFound, Refused

    shelf = cli.client.registry
    refusal: Refused | None = None
    for number in numbers:
        try:
            return shelf.publish(model, number, manifest=manifest, reason=reason, **about), True
        except Refused as error:
            if error.code not in ("version_exists", "version_deleted"):
                raise
            refusal = error
        try:
            there = shelf.version(model, number)
        except NotFound:
            continue  # its number outlives it
        if there.manifest == manifest and there.deleted_at is None:
            return there, False
    assert refusal is not None
    raise refusal


def _told(files: Source) -> dict[str, Any]:
    from modelyard.cli.projects import said_by

    models = [file.path for file in files.found if file.kind == "onnx"]
    return said_by(files.root / models[0]) if len(models) == 1 else {}


def numbers_after(parent: str, tag: str) -> Iterator[str]:
    """``1.4.3-int8`` for what was made of 1.4.2, then ``1.4.3-int8.2``: a pre-release, so that neither ``latest`` nor a
    range comes to it before somebody says so."""
    from modelyard.domain.versions import parse_version

    base = f"{parse_version(parent).bumped('patch')}-{tag}"
    yield base
    for number in range(2, _TRIES):
        yield f"{base}.{number}"


def milliseconds(value: float) -> str:
    return f"{value:.3g} ms"


def latencies(before: Latency, after: Latency) -> dict[str, float]:
    """As metrics of a version."""
    return {
        "latency_p50_ms": after.p50, "latency_p95_ms": after.p95,
        "original/latency_p50_ms": before.p50, "original/latency_p95_ms": before.p95,
    }  # fmt: skip
