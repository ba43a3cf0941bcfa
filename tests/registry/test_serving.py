"""Which engine runs a version, and which of its files it loads."""

from __future__ import annotations

import pytest

from modelyard.domain.errors import InvalidRequest
from modelyard.domain.spec import Engine
from modelyard.registry.content.manifest import File, Manifest
from modelyard.registry.formats.kinds import Kind
from modelyard.registry.serving import entry_of


def manifest(**files: Kind) -> Manifest:
    """Of files by their names, in which ``__`` stands for the dot."""
    return Manifest(
        files=tuple(
            File(path=name.replace("__", "."), size=0, sha256="", kind=kind, parts=()) for name, kind in files.items()
        )
    )


def refusal(of: Manifest, engine: Engine | None) -> str:
    with pytest.raises(InvalidRequest) as caught:
        entry_of(of, engine, "pat@1.0.0")
    return caught.value.problems[0].message


@pytest.mark.parametrize("name", ["a__pkl", "a__PICKLE", "a__joblib"])
def test_a_pickle_is_an_estimator_where_its_suffix_says_so(name: str) -> None:
    path = name.replace("__", ".")
    assert entry_of(manifest(**{name: Kind.PICKLE}, b__txt=Kind.PLAIN), None, "pat") == (Engine.SKLEARN, path)


@pytest.mark.parametrize("name", ["a__pt", "a__ckpt", "a__bin", "a__json"])
def test_what_another_framework_has_pickled_is_no_estimator(name: str) -> None:
    assert "its files do not tell" in refusal(manifest(**{name: Kind.PICKLE}), None)
    assert "has none, only" in refusal(manifest(**{name: Kind.PICKLE}), Engine.SKLEARN)
    both = manifest(**{name: Kind.PICKLE}, m__skops=Kind.SKOPS)
    assert entry_of(both, None, "pat") == (Engine.SKLEARN, "m.skops")


def test_an_estimator_in_skops_is_one_also_with_types_that_had_to_be_trusted() -> None:
    assert entry_of(manifest(m__skops=Kind.PROGRAM), None, "pat") == (Engine.SKLEARN, "m.skops")
    assert "its files do not tell" in refusal(manifest(m__pt=Kind.PROGRAM, saved_model__pb=Kind.PROGRAM), None)


def test_of_several_files_the_usual_one_is_loaded_and_no_other_is_guessed() -> None:
    two = manifest(a__onnx=Kind.ONNX, b__onnx=Kind.ONNX)
    assert "has several: a.onnx, b.onnx" in refusal(two, None)
    assert entry_of(manifest(a__onnx=Kind.ONNX, model__onnx=Kind.ONNX), None, "pat") == (Engine.ONNX, "model.onnx")
    assert "its files do not tell" in refusal(manifest(a__onnx=Kind.ONNX, b__pkl=Kind.PICKLE), None)
    assert entry_of(manifest(a__onnx=Kind.ONNX, model__py=Kind.PYTHON), None, "pat") == (Engine.PYTHON, "")
    assert "needs a model.py" in refusal(two, Engine.PYTHON)
