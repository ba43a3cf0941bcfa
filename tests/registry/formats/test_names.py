"""Names that some file system cannot hold, or not beside another."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.registry.formats.names import Names, shown


@pytest.mark.parametrize(
    "path",
    [
        "model.onnx",
        "a/b/c.json",
        ".gitattributes",
        "größe/模型.txt",
        "a b.txt",
        "console.txt",
        "com.txt",
        "a" * 255,
        "/".join(["a" * 200] * 5),
        "👩‍🚀.txt",
    ],
)
def test_a_name_that_every_file_system_holds_is_welcome(path: str) -> None:
    assert Names().problem(path) is None


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        ("/etc/passwd", "path_escape", "absolute"),
        ("C:/x", "path_escape", "absolute"),
        ("c:x", "path_escape", "absolute"),
        ("a:b", "path_escape", "absolute"),
        ("../x", "path_escape", "'..'"),
        ("a/../../x", "path_escape", "'..'"),
        ("a//b", "invalid_name", "empty name"),
        ("a/./b", "invalid_name", "without '.'"),
        ("", "invalid_name", "empty name"),
        ("a\\b", "invalid_name", "Windows allows no \\"),
        ("ab:c", "invalid_name", "Windows allows no :"),
        ("what?", "invalid_name", "Windows allows no ?"),
        ("a\nb", "invalid_name", "U+000A"),
        ("a\0b", "invalid_name", "U+0000"),
        ("a\x85b", "invalid_name", "U+0085"),
        ("txt.\u202eexe", "invalid_name", "U+202E"),
        ("a\u2028b", "invalid_name", "U+2028"),
        ("nul", "invalid_name", "device"),
        ("a/Com1.txt", "invalid_name", "device"),
        ("LPT³", "invalid_name", "device"),
        ("aux .tar.gz", "invalid_name", "device"),
        ("name.", "invalid_name", "a dot or a blank"),
        ("folder /x", "invalid_name", "a dot or a blank"),
        ("a" * 256, "invalid_name", "over 255 bytes"),
        ("ü" * 128, "invalid_name", "over 255 bytes"),
        ("/".join(["a" * 205] * 5), "invalid_name", "1029 bytes"),
        ("a\udcff", "invalid_name", "not UTF-8"),
    ],
)
def test_a_name_that_some_file_system_cannot_hold_is_refused(path: str, code: str, words: str) -> None:
    problem = Names().problem(path)
    assert problem is not None
    assert problem.code == code
    assert words in problem.message
    assert problem.path == shown(path)
    assert problem.path.isprintable()
    problem.path.encode()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Model.onnx", "model.ONNX"),
        ("a/x", "A/y"),
        ("gr\u00f6\u00dfe", "gro\u0308\u00dfe"),
        ("stra\u00dfe", "STRASSE"),
        ("\u212b", "\u00e5"),
        ("\ufb01le", "file"),
        ("a", "a"),
        ("a", "a/b"),
        ("a/b", "a"),
    ],
)
def test_names_that_fall_together_on_some_file_system_are_refused(first: str, second: str) -> None:
    names = Names()
    assert names.problem(first) is None
    problem = names.problem(second)
    assert problem is not None
    assert problem.code == "name_collision"


def test_a_folder_may_be_named_as_often_as_there_is_something_in_it() -> None:
    names = Names()
    assert [names.folder_problem("a"), names.folder_problem("a/b"), names.problem("a/b/c")] == [None] * 3
    assert names.folder_problem("a") is None
    problem = names.folder_problem("a/b/c")
    assert problem is not None
    assert problem.code == "name_collision"


@given(st.text(max_size=20))
def test_a_name_falls_together_with_its_other_spellings(name: str) -> None:
    names = Names()
    if names.problem(name) is None:
        for form in ("NFC", "NFD"):
            assert names.problem(unicodedata.normalize(form, name)) is not None
