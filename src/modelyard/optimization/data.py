"""Rows that a model is calibrated, compared or measured on: read from files, checked against what it takes, cut into
calls; or made up."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.runtime.signature import BYTES, DATATYPES, Array, Signature, TensorSpec

# Under one of these names, the first that there is, labels stand beside the inputs.
LABELS: Final = ("labels", "label", "target", "targets", "y")
# What an axis of any length has in rows that are made up.
_ANY: Final = 8


@dataclass(frozen=True, slots=True)
class Call:
    """One prediction's inputs, of so many ``rows``, with their labels if these are known."""

    inputs: Mapping[str, Array]
    rows: int
    labels: Array | None = None


def fixed_rows(signature: Signature) -> int | None:
    """How many rows each call of the model has: -1, any number; None, its inputs and outputs have no rows. An output
    without a shape is one of which the model does not say it."""
    ends = [*(signature.inputs or ()), *(spec for spec in signature.outputs or () if spec.shape)]
    lengths = {spec.shape[0] if spec.shape else None for spec in ends}
    return lengths.pop() if len(lengths) == 1 else None


def read(path: Path, signature: Signature, field: str, *, labels: str | None = None) -> list[Call]:
    """The rows in the file, or in the .npz files of the folder, at ``path``, a call each. ``labels`` is the name of
    the labels, which must be there if it is given.

    Raises:
        InvalidRequest: with everything that does not fit the model; paths begin with ``field``
    """
    if path.is_dir():
        files = sorted(path.glob("*.npz"))
        if not files:
            raise _problem(field, "no_data", f"There is no .npz file in {path}.")
        return [call for file in files for call in read(file, signature, f"{field}[{file.name}]", labels=labels)]
    if not path.is_file():
        raise _problem(field, "not_found", f"{path} does not exist.")
    match path.suffix.lower():
        case ".npz":
            found = _npz(path, field)
        case ".csv":
            return [_checked(*_csv(path, signature, field, labels), signature, field)]
        case _:
            message = f"{path.name} is neither a .npz nor a .csv file, nor a folder of .npz files: save it as one."
            raise _problem(field, "unknown_format", message)
    wanted = {spec.name for spec in signature.inputs or ()}
    named = next((name for name in ([labels] if labels else LABELS) if name in found and name not in wanted), None)
    if labels and named is None:
        raise _problem(f"{field}.{labels}", "missing_labels", f"{path.name} has only {', '.join(found) or 'nothing'}.")
    answers = found.pop(named) if named is not None else None
    return [_checked(found, answers, signature, field)]


def cut(calls: Sequence[Call], signature: Signature, rows: int) -> Iterator[Call]:
    """The same rows in calls of at most ``rows``, or of as many as the model takes at a time."""
    fixed = fixed_rows(signature)
    for call in calls:
        if fixed is None:
            yield call
            continue
        step = rows if fixed == -1 else fixed
        for first in range(0, call.rows, max(step, 1)):
            last = min(first + step, call.rows)
            labels = call.labels[first:last] if call.labels is not None else None
            yield Call({name: array[first:last] for name, array in call.inputs.items()}, last - first, labels)


def resized(call: Call, signature: Signature, rows: int) -> Call:
    """So many rows, from those of ``call`` over and over; as it is where the model takes another number only."""
    if fixed_rows(signature) != -1:
        return next(cut([call], signature, rows))
    chosen = np.arange(rows) % call.rows
    return Call({name: np.ascontiguousarray(array[chosen]) for name, array in call.inputs.items()}, rows)


def made_up(signature: Signature, rows: int, seed: int) -> Call:
    """Random rows: normally distributed numbers, 0 and 1 where whole numbers are taken."""
    random = np.random.default_rng(seed)
    fixed = fixed_rows(signature)
    count = rows if fixed == -1 else fixed if fixed is not None else 1
    inputs = {}
    for spec in signature.inputs or ():
        shape = [_ANY if size == -1 else size for size in spec.shape]
        if fixed is not None:
            shape[0] = count
        inputs[spec.name] = _random(random, spec, shape)
    return Call(inputs, count)


def _random(random: np.random.Generator, spec: TensorSpec, shape: Sequence[int]) -> Array:
    dtype = DATATYPES[spec.datatype]
    if dtype.kind == "f":
        return random.standard_normal(shape).astype(dtype)
    if dtype.kind == "O":
        texts: Array = np.empty(shape, np.object_)
        texts[...] = b"a"
        return texts
    return random.integers(0, 2, shape).astype(dtype)


# ------------------------------------------------------------------------------------------- files


def _npz(path: Path, field: str) -> dict[str, Array]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        hint = "save text as arrays of type str, not object" if "pickle" in str(error) else "save it with numpy.savez"
        message = f"{path.name} cannot be read as a .npz file of plain arrays ({error}): {hint}."
        raise _problem(field, "unreadable", message) from error


def _csv(path: Path, signature: Signature, field: str, labels: str | None) -> tuple[dict[str, Array], Array | None]:
    """Columns are the one input's, in their order, or an input each, by name."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [line for line in csv.reader(file) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _problem(field, "unreadable", f"{path.name} cannot be read as a .csv file: {error}.") from error
    head = None if not lines or all(map(_is_number, lines[0])) else [name.strip() for name in lines[0]]
    rows = lines[1:] if head else lines
    if not rows:
        raise _problem(field, "no_data", f"{path.name} has no rows.")
    width = len(head or rows[0])
    if ragged := next((i for i, row in enumerate(rows) if len(row) != width), None):
        message = f"Row {ragged + 1} of {path.name} has {len(rows[ragged])} columns, the others have {width}."
        raise _problem(field, "ragged", message)
    columns = {name: [row[i] for row in rows] for i, name in enumerate(head or map(str, range(width)))}
    named = next((name for name in ([labels] if labels else LABELS) if head and name in columns), None)
    if labels and named is None:
        message = f"{path.name} has no column of this name" + ("." if head else ": it has no line of names.")
        raise _problem(f"{field}.{labels}", "missing_labels", message)
    answers = _typed(columns.pop(named)) if named is not None else None
    inputs = signature.inputs or ()
    if len(inputs) == 1 and len(inputs[0].shape) == 2:
        if inputs[0].datatype == BYTES:
            return {inputs[0].name: np.array(list(columns.values())).T}, answers
        return {inputs[0].name: _numbers(columns, field)}, answers
    if all(len(spec.shape) == 1 or spec.shape[1:] == (1,) for spec in inputs):
        tall = {spec.name for spec in inputs if len(spec.shape) == 2}
        typed = {name: _typed(column) for name, column in columns.items()}
        return {name: array[:, None] if name in tall else array for name, array in typed.items()}, answers
    message = "A .csv file holds rows of one input, or a column for each: save these inputs as .npz."
    raise _problem(field, "unknown_format", message)


def _numbers(columns: Mapping[str, list[str]], field: str) -> Array:
    wrong = [name for name, column in columns.items() if not all(map(_is_number, column))]
    if wrong:
        raise InvalidRequest([Problem(f"{field}.{name}", "wrong_type", "Not all of it are numbers.") for name in wrong])
    return np.array([[float(text) for text in column] for column in columns.values()]).T


def _typed(texts: list[str]) -> Array:
    if not all(map(_is_number, texts)):
        return np.array(texts)
    numbers = np.array([float(text) for text in texts])
    is_whole = np.isfinite(numbers).all() and (numbers == np.round(numbers)).all()
    return numbers.astype(np.int64) if is_whole and not any("." in text or "e" in text for text in texts) else numbers


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# ------------------------------------------------------------------------------------------- checks


def _checked(found: Mapping[str, Array], labels: Array | None, signature: Signature, field: str) -> Call:
    wanted = {spec.name: spec for spec in signature.inputs or ()}
    problems = [
        Problem(f"{field}.{name}", "missing_input", f"The model takes {spec}, which is not in the data.")
        for name, spec in wanted.items()
        if name not in found
    ]
    for name in found:
        if name not in wanted:
            message = f"The model has no input {name!r}: it takes {', '.join(map(str, wanted.values()))}."
            problems.append(Problem(f"{field}.{name}", "unknown_input", message))
    inputs, fixed = {}, fixed_rows(signature)
    for name, spec in wanted.items():
        if name in found:
            inputs[name] = _fitted(found[name], spec, fixed is not None, f"{field}.{name}", problems)
    counts = {name: len(array) for name, array in inputs.items() if fixed is not None and array.ndim}
    if labels is not None and fixed is not None:
        counts["labels"] = len(labels)
    if len(set(counts.values())) > 1 and not problems:
        said = ", ".join(f"{name} has {count}" for name, count in counts.items())
        problems.append(Problem(field, "wrong_length", f"They differ in how many rows they have: {said}."))
    rows = next(iter(counts.values()), 1)
    if not problems and (rows == 0 or (fixed is not None and fixed > 0 and rows % fixed)):
        what = "There are no rows." if rows == 0 else f"The model takes {fixed} rows at a time, and these are {rows}."
        problems.append(Problem(field, "wrong_length", what))
    if problems:
        raise InvalidRequest(problems)
    return Call(inputs, rows, labels)


def _fitted(array: Array, spec: TensorSpec, has_rows: bool, path: str, problems: list[Problem]) -> Array:
    """As the model takes it, without loss; what is wrong is added to ``problems``."""
    shape = [-1, *spec.shape[1:]] if has_rows else list(spec.shape)
    if len(shape) != array.ndim or any(w not in (-1, n) for w, n in zip(shape, array.shape, strict=True)):
        message = f"Its shape is {list(array.shape)}, and the model takes {shape} (-1: any)."
        problems.append(Problem(path, "wrong_shape", message))
        return array
    dtype = DATATYPES[spec.datatype]
    if spec.datatype == BYTES:
        texts: Array = np.empty(array.size, np.object_)
        texts[:] = [text if isinstance(text, bytes) else str(text).encode() for text in array.ravel().tolist()]
        return texts.reshape(array.shape)
    with np.errstate(all="ignore"):
        fitted = array.astype(dtype) if array.dtype.kind in "biuf" else None
    if fitted is None or (dtype.kind != "f" and not _same(array, fitted)):
        problems.append(Problem(path, "wrong_type", f"It is {array.dtype}, and the model takes {spec.datatype}."))
        return array
    if dtype.kind == "f" and not np.isfinite(fitted).all():
        message = f"Some of it is not finite, or beyond what {spec.datatype} holds."
        problems.append(Problem(path, "not_finite", message))
    return fitted


def _same(array: Array, fitted: Array) -> bool:
    same: Any = array == fitted
    return bool(np.all(same))


def _problem(path: str, code: str, message: str) -> InvalidRequest:
    return InvalidRequest([Problem(path, code, message)])
