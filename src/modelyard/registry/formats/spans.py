"""Where the tensors of any file lie: the one question that whoever stores files asks of their formats."""

from __future__ import annotations

from pathlib import Path

from modelyard.registry.formats import gguf, onnx, safetensors
from modelyard.registry.formats.parts import Malformed, Span

__all__ = ["Span", "spans"]


def spans(path: Path) -> tuple[Span, ...] | None:
    """The spans of the file at ``path``, in order, without gap or overlap; None for a file without tensors, and for one
    that is not what its beginning or its suffix says: it can be stored, only not cut by tensor.

    safetensors and GGUF are known by their content, ONNX (which has no mark of its own) by its suffix too. Which
    tensors a file of ONNX's external data holds says ``onnx.spans_of_data``.

    Raises:
        OSError: it cannot be read
    """
    with path.open("rb") as file:
        beginning = file.read(9)
    try:
        if beginning.startswith(gguf.MAGIC):
            found = gguf.spans(path)
        elif path.suffix.lower() == onnx.SUFFIX:
            found = onnx.spans(path)
        elif beginning[8:] == b"{":
            found = safetensors.spans(path)
        else:
            return None
    except Malformed:
        return None
    return found if any(span.tensor is not None for span in found) else None
