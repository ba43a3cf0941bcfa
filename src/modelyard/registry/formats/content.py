"""What one file is: its suffix says what it should be, its content must agree. All else is refused, with its reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from modelyard.registry.formats import gguf, kinds, onnx, packed, pickles, plain, safetensors, zips
from modelyard.registry.formats.kinds import Kind, Verdict
from modelyard.registry.formats.names import shown
from modelyard.registry.formats.parts import Malformed, mapped

# Of bzip2 nothing comes out before a whole block of 900 kB went in.
_HEAD: Final = 2**20
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_TAR_MAGIC: Final = slice(257, 262)
_COMPRESSED: Final = (
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ\x00",
    b"\x28\xb5\x2f\xfd",
    b"\x04\x22\x4d\x18",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!\x1a\x07",
)
# ELF, Mach-O, Java.
_PROGRAMS: Final = (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
_NEVER_DATA: Final = kinds.PICKLE_SUFFIXES | frozenset(
    (
        *(".so", ".dll", ".dylib", ".exe", ".com", ".msi", ".jar", ".class", ".pyc", ".pyd", ".lnk", ".html", ".htm"),
        *(".svg", ".h5", ".hdf5", ".keras", ".zip", ".tar", ".gz"),
    )
)
_SAVED_MODEL: Final = ("saved_model.pb", "saved_model.pbtxt")
_ZIPS: Final = frozenset((packed.SKOPS_SUFFIX, packed.NPZ_SUFFIX))


def judge(path: Path, *, is_data: bool) -> Verdict:
    """What the plain file at ``path`` is. ``is_data``: an ONNX model of the version names it as its external data, so
    it may be any bytes, but no pickle, archive or program.

    Raises:
        OSError: it cannot be read
    """
    suffix = path.suffix.lower()
    with mapped(path) as content:
        is_pickle = pickles.is_pickle(content)
        head = content[:_HEAD]
    if is_pickle:
        return kinds.pickle(
            "a pickle" if suffix in kinds.PICKLE_SUFFIXES else f"a pickle, under the name {shown(path.name)}"
        )
    if path.name in _SAVED_MODEL:
        return kinds.program("a SavedModel of TensorFlow", "convert the model to ONNX (python -m tf2onnx.convert)")
    if suffix in kinds.CODE_SUFFIXES:
        found = plain.text(path)
        return found if found.kind is Kind.UNKNOWN else kinds.code()
    check = None if is_data and suffix not in _STRICT else _CHECKS.get(suffix)
    if check is not None:
        found = check(path)
    elif is_data and suffix not in _NEVER_DATA and not head.startswith(_PROGRAMS):
        found = Verdict(Kind.ONNX_DATA)
    else:
        found = _stranger(path, head)
    if not found.code and suffix not in _ZIPS and found.kind is not Kind.PYTHON and zips.is_zip(path):
        message = "It can be read as a zip as well: save it anew, with nothing put to its end."
        return Verdict(Kind.UNKNOWN, "two_formats", message)
    return found


def _safetensors(path: Path) -> Verdict:
    return _whole(Kind.SAFETENSORS, path, safetensors.header_of)


def _gguf(path: Path) -> Verdict:
    return _whole(Kind.GGUF, path, gguf.spans)


def _onnx(path: Path) -> Verdict:
    return _whole(Kind.ONNX, path, onnx.external)


def _whole(kind: Kind, path: Path, read: Callable[[Path], object]) -> Verdict:
    try:
        read(path)
    except Malformed as error:
        return kinds.damaged(kind, error)
    return Verdict(kind)


def _stranger(path: Path, head: bytes) -> Verdict:
    """A file whose suffix is none that a version holds."""
    if pickles.is_compressed_pickle(head):
        return kinds.pickle("a compressed pickle, as joblib writes")
    if head.startswith(_HDF5):
        return packed.keras()
    if head.startswith(b"PK") and zips.is_zip(path):
        return packed.foreign(path)
    if head[_TAR_MAGIC] == b"ustar":
        return kinds.archive("a tar")
    if head.startswith(_COMPRESSED):
        return kinds.archive("compressed")
    if head.startswith(gguf.MAGIC):
        return kinds.unknown(f"It looks like GGUF: name it *{gguf.SUFFIX}.")
    if head[8:9] == b"{" and not _safetensors(path).code:
        return kinds.unknown(f"It is a safetensors file: name it *{safetensors.SUFFIX}.")
    if path.suffix == ".pyc":
        return kinds.unknown("It is compiled Python: leave out the folder __pycache__.")
    if path.suffix.lower() in kinds.PICKLE_SUFFIXES:
        return kinds.unknown(f"It is no pickle, which its suffix {path.suffix} says, nor anything else that is known.")
    return kinds.unknown(
        f"Files with the suffix {path.suffix!r} are not among those that a version holds: save the model as ONNX, "
        "safetensors, GGUF or skops, and what goes with it as text."
    )


_CHECKS: Final[dict[str, Callable[[Path], Verdict]]] = {
    **dict.fromkeys(plain.TEXT_SUFFIXES, plain.text),
    **dict.fromkeys(plain.IMAGE_SUFFIXES, plain.image),
    plain.NPY_SUFFIX: plain.npy,
    plain.VOCABULARY_SUFFIX: plain.vocabulary,
    packed.NPZ_SUFFIX: packed.npz,
    packed.SKOPS_SUFFIX: packed.skops,
    safetensors.SUFFIX: _safetensors,
    gguf.SUFFIX: _gguf,
    onnx.SUFFIX: _onnx,
}
# What these say of themselves is believed by whoever loads them, whoever else names them.
_STRICT: Final = frozenset(
    (*_ZIPS, plain.NPY_SUFFIX, plain.VOCABULARY_SUFFIX, safetensors.SUFFIX, gguf.SUFFIX, onnx.SUFFIX)
)
