"""YAML that calls Python when it is loaded, however its tags are spelled; and YAML that only looks a little like it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.registry.formats import plain
from modelyard.registry.formats.scan import Kind, scan
from tests.registry.formats.making import kinds, only, write

SCHEMA = "tag:yaml.org,2002:"
CALL = f"{SCHEMA}python/object/apply:os.getpid"
ON_FILES = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
# Where a node may have a tag. No blank need be before it in a flow.
PLACES = [
    "--- TAG []\n", "\ufeffTAG []\n", "TAG\n", "a: TAG []\n", "- TAG []\n", "? TAG []\n", "a: &b TAG []\n",
    "--- [a,TAG []]\n", "--- [TAG []]\n", "--- {TAG [] : b}\n", '--- {"a":TAG []}\n', "--- {?TAG []}\n",
    "# a\rTAG []\n", "# a\x85TAG []\n", "# a\u2028TAG []\n", "# a\u2029TAG []\n",
    "a:\n  b\n--- TAG []\n...\nno: : YAML\n",
]  # fmt: skip
# What may be before a directive.
STARTS = ["", "\ufeff", "# a\n", "# a\r", "# a\x85", "# a\u2028", "# a\u2029", "%YAML 1.1\n", "%OTHER\n", "a: b\n...\n"]


def calls_python(document: str) -> bool:
    """As PyYAML reads it. Of a stream of documents it loads the first ones before it comes to a damaged one."""

    def events() -> Iterator[yaml.Event]:
        try:
            yield from yaml.parse(document.encode(), yaml.SafeLoader)
        except yaml.YAMLError:
            return

    return any((getattr(event, "tag", None) or "").startswith(f"{SCHEMA}python/") for event in events())


def is_let_in(path: Path, document: str) -> bool:
    return not plain.text(write(path, document.encode())).code


@st.composite
def spelled(draw: st.DrawFn, text: str) -> str:
    """``text`` with some of its characters escaped."""
    escaped = draw(st.sets(st.integers(0, len(text) - 1))) if text else set()
    cased = draw(st.sampled_from(["%{:02x}", "%{:02X}"]))
    return "".join(
        cased.format(ord(character)) if number in escaped else character for number, character in enumerate(text)
    )


@st.composite
def calls(draw: st.DrawFn) -> str:
    """A document with a tag of Python's, in one of the ways to write it."""
    way, place = draw(st.sampled_from(["verbatim", "schema", "directive"])), draw(st.sampled_from(PLACES))
    if way == "verbatim":
        return place.replace("TAG", f"!<{draw(spelled(CALL))}>")
    if way == "schema":
        return place.replace("TAG", f"!!{draw(spelled(CALL.removeprefix(SCHEMA)))}")
    at, handle = draw(st.integers(1, len(CALL) - 1)), draw(st.sampled_from(["!", "!!", "!p!", "!p-1!"]))
    prefix, tag = draw(spelled(CALL[:at])), handle + draw(spelled(CALL[at:]))
    blanks = draw(st.sampled_from([" ", "   "]))
    return f"{draw(st.sampled_from(STARTS))}%TAG{blanks}{handle}{blanks}{prefix}\n--- {tag} []\n"


@ON_FILES
@given(calls())
def test_a_call_of_python_is_found_however_it_is_spelled(home: Path, document: str) -> None:
    assert calls_python(document)
    assert not is_let_in(home / "a.yaml", document)


FRAGMENTS = [
    "%TAG", "!", "!!", "!p!", "!<", ">", SCHEMA, "tag:yaml.org,2002", "python/", "%70ython/", "p%79thon/tuple", "%3a",
    "name:a", " ", " ", "\n", "\n", "--- ", "...\n", "\r", "\t", "\x85", "\u2028", "\ufeff", "%YAML 1.1", "[", "]", "{",
    "}", ",", ":", ": ", "?", "- ", "a", "b", '"', "'", "#", "|\n", "&a ", "*a ", "(", "=",
]  # fmt: skip


@settings(ON_FILES, max_examples=500)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join))
def test_what_is_let_in_calls_no_python(home: Path, document: str) -> None:
    assert not (is_let_in(home / "a.yaml", document) and calls_python(document))


@pytest.mark.parametrize("name", ["a.yaml", "a.YML", "MLmodel"])
@pytest.mark.parametrize(
    "document",
    [
        "%TAG !p! tag:yaml.org,2002:py\n--- !p!thon/object/apply:os.getpid []\n",
        "a: !<tag:yaml.org,2002:p%79thon/object/apply:os.getpid> []\n",
        "a: !!%70ython/object/apply:os.getpid []\n",
        "a: !!python/object/apply:os.getpid []\n",
    ],
)
def test_a_version_with_such_yaml_is_refused_unless_it_is_trusted(folder: Path, name: str, document: str) -> None:
    write(folder / name, document.encode())
    report = scan(folder)
    assert (only(report).path, only(report).code) == (name, "program_refused")
    assert kinds(report)[name] is Kind.PROGRAM
    assert scan(folder, allow_pickle=True).problems == ()


@pytest.mark.parametrize(
    "document",
    [
        "%YAML 1.2\n---\na: b\n",
        "rate: 100%\nformat: '%TAG %d%% !%s'\n# %TAG ! tag:yaml.org,2002:py\n",
        "url: https://example.org/well!/a%20b#!/c%20d\n",
        "filters: '!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~'\npattern: '(?<!<pad>)(?!<s>)[^!%]'\n",
        "a: !Ref b\nc: !!binary aGk=\nd: !!set {e, f}\ng: !<tag:example.org,2002:h> i\ntext: Oh !<br>\n",
        "message: |\n  %TAG is a directive\n  Ready! %20 of them\n",
    ],
)
def test_ordinary_yaml_is_let_in(folder: Path, document: str) -> None:
    write(folder / "a.yaml", document.encode())
    list(yaml.parse(document, yaml.SafeLoader))
    assert scan(folder).problems == ()


@pytest.mark.parametrize("name", ["a.md", "a.txt", "a.json", "a.jinja"])
def test_text_that_is_no_yaml_may_tell_of_it(folder: Path, name: str) -> None:
    write(folder / name, b'"\n%TAG !p! tag:yaml.org,2002:py\n--- !p!thon/name:a\n!!python/name:a !<p%79thon>\n"')
    assert scan(folder).problems == ()


@pytest.mark.parametrize("unit", [b"!", b",!", b" !a", b"\n", b"\xef\xbb\xbf", b"%TAG", b"!<tag:"])
def test_a_long_file_is_not_searched_for_long(home: Path, unit: bytes) -> None:
    path = write(home / "a.yaml", unit * (2**22 // len(unit)))
    assert not plain.text(path).code
