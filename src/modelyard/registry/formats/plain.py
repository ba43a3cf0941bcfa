"""Plain files: text, images, arrays without objects, vocabularies. What each must be, by its suffix and its content."""

from __future__ import annotations

import codecs
import io
import re
from math import prod
from pathlib import Path
from typing import IO, Any, Final

from modelyard import protobuf
from modelyard.registry.formats import kinds
from modelyard.registry.formats.kinds import Kind, Verdict
from modelyard.registry.formats.parts import Malformed, mapped

TEXT_SUFFIXES: Final = frozenset(
    (
        *("", ".txt", ".md", ".rst", ".json", ".jsonl", ".ndjson", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".conf"),
        *(".csv", ".tsv", ".xml", ".properties", ".license", ".cff", ".bib", ".lock", ".sha256", ".log"),
        *(".vocab", ".merges", ".bpe", ".tiktoken", ".labels", ".names", ".jinja", ".jinja2", ".j2", ".tmpl"),
        *(".proto", ".pbtxt", ".codes", ".dict", ".dic", ".spm", ".lst"),
    )
)
_IMAGES: Final[dict[str, tuple[bytes, ...]]] = {
    ".png": (b"\x89PNG\r\n\x1a\n",),
    ".jpg": (b"\xff\xd8\xff",),
    ".jpeg": (b"\xff\xd8\xff",),
    ".gif": (b"GIF87a", b"GIF89a"),
    ".webp": (b"RIFF",),
}
IMAGE_SUFFIXES: Final = frozenset(_IMAGES)
NPY_SUFFIX: Final = ".npy"
VOCABULARY_SUFFIX: Final = ".model"
NPY_HEAD: Final = 2**15
_NPY_MAGIC: Final = b"\x93NUMPY"
_BLOCK: Final = 2**20
# A file of YAML with Python's tags makes a loader that is not safe_load call Python. There are two ways to spell them
# otherwise, refused whatever they spell: a directive for tags, at a line's beginning, and a percent escape in a tag.
# An escape later than 32 bytes into a tag comes after a name that is found as it is; so far only is looked, lest a file
# made for it takes long.
_YAML_CALL: Final = re.compile(
    rb"!!python/|tag:yaml\.org,2002:python/"
    rb"|(?:\A|[\r\n]|\xc2\x85|\xe2\x80[\xa8\xa9])(?:\xef\xbb\xbf)*%TAG[ \t]"
    rb"|(?<![\w#])![^\s!%]{0,32}+%[0-9A-Fa-f]{2}"
)
_YAML_SUFFIXES: Final = ("", ".yaml", ".yml")
# Messages of sentencepiece_model.proto's ModelProto: the pieces, and four with settings.
_PIECES, _LAST_SETTING = 1, 5
_MAX_PIECES: Final = 10_000_000


def text(path: Path) -> Verdict:
    """UTF-8 without NUL; not one that a program would run."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        shebang = file.read(2) == b"#!"
        file.seek(0)
        try:
            while block := file.read(_BLOCK):
                decoder.decode(block)
                if b"\0" in block:
                    return kinds.unknown(_not_text(path))
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return kinds.unknown(_not_text(path))
    if shebang:
        return kinds.code()
    if path.suffix.lower() in _YAML_SUFFIXES:
        with mapped(path) as content:
            if _YAML_CALL.search(content):
                instead = "write it without !!python tags, %TAG and percent escapes in tags"
                return kinds.program("YAML that may call Python when it is loaded", instead)
    return Verdict(Kind.PLAIN)


def _not_text(path: Path) -> str:
    if path.suffix:
        return f"It is not text in UTF-8, which its suffix {path.suffix} says: save it so, or name it what it is."
    return "It is of no known format: leave it out, or give it the suffix of what it is."


def image(path: Path) -> Verdict:
    with path.open("rb") as file:
        if file.read(12).startswith(_IMAGES[path.suffix.lower()]):
            return Verdict(Kind.PLAIN)
    return kinds.unknown(f"It is not the image that its suffix {path.suffix} says: name it what it is.")


def vocabulary(path: Path) -> Verdict:
    """A vocabulary of SentencePiece."""
    with mapped(path) as content:
        try:
            numbers = {
                field.number if field.wire == protobuf.LENGTH_DELIMITED else -1
                for field in protobuf.Fields(content, _MAX_PIECES).within(0, len(content))
            }
        except protobuf.Malformed:
            numbers = set()
    if _PIECES in numbers and all(0 < number <= _LAST_SETTING for number in numbers):
        return Verdict(Kind.PLAIN)
    return kinds.unknown(
        "It is not a vocabulary of SentencePiece, the only .model file that a version holds: save the model as ONNX, "
        "safetensors, skops or text."
    )


def npy(path: Path) -> Verdict:
    with path.open("rb") as file:
        head = file.read(NPY_HEAD)
        return npy_verdict(head, file.seek(0, io.SEEK_END))


def npy_verdict(head: bytes, size: int) -> Verdict:
    """Of the array of ``size`` bytes in all that begins with ``head`` (:data:`NPY_HEAD` of them, or all)."""
    try:
        has_objects, expected = _npy_header(io.BytesIO(head))
    except Malformed as error:
        return kinds.damaged(Kind.PLAIN, error)
    if has_objects:
        return kinds.pickle("an array of Python objects, which numpy stores as a pickle")
    if expected != size:
        return kinds.damaged(Kind.PLAIN, f"its shape makes {expected} bytes, and it has {size}")
    return Verdict(Kind.PLAIN)


def _npy_header(file: IO[bytes]) -> tuple[bool, int]:
    """Whether the array has objects, and how large its file is if not."""
    from numpy.lib import format as npy_format

    readers: dict[tuple[int, int], Any] = {
        (1, 0): npy_format.read_array_header_1_0,
        (2, 0): npy_format.read_array_header_2_0,
    }
    try:
        version = npy_format.read_magic(file)
        shape, _, dtype = readers[version](file)
        if not all(length >= 0 for length in shape):
            raise Malformed("it has a size below 0")
        return bool(dtype.hasobject), file.tell() + prod(shape) * int(dtype.itemsize)
    except Exception as error:  # a damaged header fails in numpy in as many ways as Python's literals do
        raise Malformed(f"its header cannot be read: {error}") from error
