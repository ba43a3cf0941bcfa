"""Names, references, durations and sizes: what is taken, and what is said about the rest."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.names import (
    FileSource,
    InvalidReference,
    RegisteredAlias,
    RegisteredRange,
    RegisteredVersion,
    is_alias,
    is_name,
    parse_reference,
)
from modelyard.domain.quantities import format_bytes, format_duration, parse_bytes, parse_duration, rounded_bytes


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("pat", RegisteredAlias("pat", "latest")),
        ("pat@1.2.0", RegisteredVersion("pat", "1.2.0")),
        ("pat@1.2.0-rc.1", RegisteredVersion("pat", "1.2.0-rc.1")),
        ("pat@=1.2.0", RegisteredVersion("pat", "1.2.0")),
        ("pat@1.2", RegisteredRange("pat", "1.2")),
        ("pat@1.2.x", RegisteredRange("pat", "1.2")),
        ("pat@^1.2", RegisteredRange("pat", "^1.2")),
        ("pat@>=1.2 <2", RegisteredRange("pat", ">=1.2,<2")),
        ("pat@*", RegisteredRange("pat", "*")),
        ("pat@stable", RegisteredAlias("pat", "stable")),
        ("file:///models/a.onnx", FileSource("/models/a.onnx")),
        ("file://localhost/models/a.onnx", FileSource("/models/a.onnx")),
        ("file:///models/with%20space/", FileSource("/models/with space")),
        ("/models/a.onnx", FileSource("/models/a.onnx")),
    ],
)
def test_a_reference_is_understood(text: str, reference: object) -> None:
    assert parse_reference(text) == reference


@pytest.mark.parametrize(
    "text",
    [
        "", " pat", "Pat", "pat@", "pat@1.2.0+build.5", "pat@01.2.3", "pat@@stable", "s3://bucket/key", "file://host/path",
        "file://models/a", "file:///a/../etc/passwd", "/a/../b", "a/b", "../a", "pat\x00", "file:///a%00b",
        "file:///a?b", "file:///%2e%2e/etc/passwd",
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(InvalidReference) as error:
        parse_reference(text)
    assert str(error.value).endswith((".", "%23.", "."))
    assert len(str(error.value)) > 20


@pytest.mark.parametrize("text", ["x", "1.2.0", "Stable", "-a", "a-", "", "a b", "a@b", "a" * 64, "ä"])
def test_no_alias_reads_as_a_version_or_a_range(text: str) -> None:
    assert not is_alias(text)


@pytest.mark.parametrize("text", ["stable", "latest", "x86", "v1.2.0", "team_a.best", "a" * 63])
def test_other_words_are_aliases(text: str) -> None:
    assert is_alias(text)
    assert parse_reference(f"pat@{text}") == RegisteredAlias("pat", text)


@given(st.one_of(st.text(max_size=80), st.from_regex(r"pat@[\^~<>=0-9.x* ,|-]{1,20}\Z")))
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    try:
        reference = parse_reference(text)
    except InvalidReference:
        return
    if not isinstance(reference, FileSource):
        assert parse_reference(str(reference)) == reference


@given(st.text(max_size=70))
def test_a_name_is_safe_wherever_it_is_put(text: str) -> None:
    if is_name(text):
        assert text.isascii()
        assert text == text.lower()
        assert not set(text) & set("/.\\ %?#\x00\n")
        assert len(text) <= 63


@given(st.integers(min_value=0, max_value=2**50))
def test_sizes_survive_being_shown(size: int) -> None:
    assert parse_bytes(format_bytes(size)) == size


@given(st.integers(min_value=0, max_value=2**59))
def test_sizes_for_people_are_right_to_three_digits(size: int) -> None:
    number, unit = rounded_bytes(size).split()
    assert re.fullmatch(r"\d{1,3}|0\.\d+|\d\.\d\d?|\d\d\.\d", number)
    factor = 1024 ** ["B", "KiB", "MiB", "GiB", "TiB", "PiB"].index(unit)
    assert abs(float(number) * factor - size) <= 0.005 * size


@given(st.integers(min_value=0, max_value=10**8))
def test_durations_survive_being_shown(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)


@pytest.mark.parametrize("text", ["", "-5s", "5 s", "1e3s", "s", "nan", "5x", "infs", "9" * 400 + "h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, True, None, [], {}])
def test_values_that_are_no_duration_nor_size_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(value)
    with pytest.raises(ValueError, match="is not a size"):
        parse_bytes(value)


@pytest.mark.parametrize("text", ["", "5 Mi", "-5", "Mi", "5mb", "0x10", "9" * 400 + "Ti", "9000000Ti"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_bytes(text)
