"""The kinds of files, and what is said of one that may not be in a version."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Final, Literal

from modelyard.registry.formats.names import shown

Trust = Literal["code", "pickle"]


class Kind(StrEnum):
    SAFETENSORS = "safetensors"
    ONNX = "onnx"
    ONNX_DATA = "onnx_data"  # what an ONNX model of the version names as its external data
    SKOPS = "skops"
    GGUF = "gguf"
    PLAIN = "plain"  # text, arrays without objects, images, a tokenizer's vocabulary
    PYTHON = "python"  # source code, of other languages too
    PICKLE = "pickle"  # unpickled to be loaded, whatever holds it
    PROGRAM = "program"  # saved with code or names of it: TorchScript, Keras, SavedModel, skops with unknown types
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a file is. One that is refused has a stable ``code`` and a ``message`` that says what to do; ``trust`` is
    what would let it in all the same."""

    kind: Kind
    code: str = ""
    message: str = ""
    trust: Trust | None = None


CODE_SUFFIXES: Final = frozenset(
    (
        *(".py", ".pyw", ".pyi", ".pyx", ".ipynb", ".sh", ".bash", ".zsh", ".fish", ".bat", ".cmd", ".ps1", ".vbs"),
        *(".js", ".mjs", ".cjs", ".ts", ".r", ".jl", ".lua", ".pl", ".rb", ".php", ".java", ".scala", ".go", ".rs"),
        *(".c", ".cc", ".cpp", ".h", ".hpp", ".cu", ".cuh"),
    )
)
PICKLE_SUFFIXES: Final = frozenset((".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt", ".dill", ".cloudpickle"))

_MAX_REASON: Final = 300
_CONVERT: Final = (
    "save the weights with safetensors (safetensors.torch.save_file), the model as ONNX, or a scikit-learn estimator "
    "with skops.io.dump; or have an administrator trust this version."
)


def kind_of(path: str, said: str) -> Kind:
    """What a file of a version is by its manifest, which says that it is ``said``. Whoever pushes writes the manifest,
    so one that says too little of a file is not believed where the suffix tells."""
    kind = Kind(said) if said in set(Kind) else Kind.UNKNOWN
    suffix = PurePosixPath(path).suffix.lower()
    if kind in (Kind.PICKLE, Kind.PROGRAM, Kind.UNKNOWN):
        return kind
    if suffix in PICKLE_SUFFIXES:
        return Kind.PICKLE
    return Kind.PYTHON if suffix in CODE_SUFFIXES else kind


def pickle(holder: str = "a pickle") -> Verdict:
    message = f"It is {holder}, which runs whatever code it holds when it is loaded: {_CONVERT}"
    return Verdict(Kind.PICKLE, "pickle_refused", message, "pickle")


def program(what: str, instead: str) -> Verdict:
    message = f"It is {what}: {instead}, or have an administrator trust this version."
    return Verdict(Kind.PROGRAM, "program_refused", message, "pickle")


def code() -> Verdict:
    message = "It is source code: leave it out, or publish the version as one that brings its code."
    return Verdict(Kind.PYTHON, "code_refused", message, "code")


def damaged(kind: Kind, reason: object) -> Verdict:
    # A reason may quote the file, which may hold anything.
    text = shown(str(reason)[:_MAX_REASON])
    return Verdict(kind, "damaged_file", f"It is not a whole {kind} file: {text}. Save or fetch it again.")


def unknown(message: str) -> Verdict:
    return Verdict(Kind.UNKNOWN, "unknown_format", message)


def archive(what: str) -> Verdict:
    message = f"It is {what}: a version holds files as they are used, so unpack it and leave the archive out."
    return Verdict(Kind.UNKNOWN, "archive", message)
