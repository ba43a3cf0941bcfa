"""Formats that are zip files within: numpy's npz and skops, which a version may hold, and those it may not."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path, PurePosixPath
from typing import Final

from modelyard.registry.formats import kinds, plain, zips
from modelyard.registry.formats.kinds import Kind, Verdict
from modelyard.registry.formats.parts import Malformed

SKOPS_SUFFIX: Final = ".skops"
NPZ_SUFFIX: Final = ".npz"
_SCHEMA: Final = "schema.json"
# skops reads it into Python objects, at some ten times its size.
_MAX_SCHEMA: Final = 2**25
_SKOPS_PARTS: Final = (".npy", ".npz", ".bin")


def npz(path: Path) -> Verdict:
    """Arrays without objects, and nothing else."""
    try:
        with zips.opened(path) as content:
            for member in content.infolist():
                if not member.filename.endswith(plain.NPY_SUFFIX):
                    return kinds.damaged(Kind.PLAIN, f"it holds {member.filename!r}, which is no array")
                found = _array(content, member)
                if found.code:
                    return found
    except Malformed as error:
        return kinds.damaged(Kind.PLAIN, error)
    return Verdict(Kind.PLAIN)


def skops(path: Path) -> Verdict:
    """An estimator of which skops knows every type as safe. None of it is made to find out."""
    try:
        with zips.opened(path) as content:
            for member in content.infolist():
                name = PurePosixPath(member.filename)
                if name.suffix not in _SKOPS_PARTS and member.filename != _SCHEMA:
                    return kinds.damaged(Kind.SKOPS, f"it holds {member.filename!r}, which skops does not write")
                if name.suffix == plain.NPY_SUFFIX and (found := _array(content, member)).code:
                    return found
            unknown = _untrusted_types(content)
    except Malformed as error:
        return kinds.damaged(Kind.SKOPS, error)
    if not unknown:
        return Verdict(Kind.SKOPS)
    message = (
        f"It needs types that are not known to be safe: {', '.join(unknown[:10])}. Have an administrator look at them "
        "and trust this version."
    )
    return Verdict(Kind.PROGRAM, "untrusted_types", message, "pickle")


def foreign(path: Path) -> Verdict:
    """Of a zip under another suffix: what it is, and why it is refused."""
    try:
        with zips.opened(path) as content:
            names = set(content.namelist())
    except Malformed as error:
        return kinds.archive(f"a zip, and a bad one ({error})")
    last = {PurePosixPath(name).name for name in names}
    if "constants.pkl" in last and any(PurePosixPath(name).parent.name == "code" or "/code/" in name for name in names):
        return kinds.program(
            "a TorchScript model, which brings its own code", "export the model to ONNX (torch.onnx.export)"
        )
    if any(name.endswith((".pkl", ".pickle")) for name in last):
        return kinds.pickle("an archive with a pickle in it, as torch.save writes")
    if "config.json" in names and any(name.endswith(".h5") for name in names):
        return keras()
    if _SCHEMA in names:
        return kinds.unknown(f"It looks like a skops file: name it *{SKOPS_SUFFIX}.")
    if names and all(name.endswith(plain.NPY_SUFFIX) for name in names):
        return kinds.unknown(f"It holds numpy's arrays: name it *{NPZ_SUFFIX}.")
    return kinds.archive("a zip")


def keras() -> Verdict:
    return kinds.program(
        "a Keras model, whose layers may be code (Lambda) or name code to import",
        'export the model to ONNX (model.export(path, format="onnx"))',
    )


def _array(content: zipfile.ZipFile, member: zipfile.ZipInfo) -> Verdict:
    return plain.npy_verdict(zips.head_of(content, member, plain.NPY_HEAD), member.file_size)


def _untrusted_types(content: zipfile.ZipFile) -> list[str]:
    """The types that the schema names beyond those that skops trusts. skops sees the schema and, in place of the
    arrays, which it would read into memory, nothing."""
    try:
        schema = content.getinfo(_SCHEMA)
    except KeyError:
        raise Malformed(f"it has no {_SCHEMA}") from None
    if schema.file_size > _MAX_SCHEMA:
        raise Malformed(f"its {_SCHEMA} has {schema.file_size} bytes")
    stand_in = io.BytesIO()
    with zipfile.ZipFile(stand_in, "w") as writer:
        writer.writestr(_SCHEMA, zips.head_of(content, schema, _MAX_SCHEMA))
        for name in set(content.namelist()) - {_SCHEMA}:
            writer.writestr(name, b"")
    import skops.io

    try:
        return list(skops.io.get_untrusted_types(data=stand_in.getvalue()))
    except Exception as error:  # a damaged schema fails in as many ways as it has parts
        raise Malformed(f"skops cannot read its schema: {type(error).__name__}: {error}") from error
