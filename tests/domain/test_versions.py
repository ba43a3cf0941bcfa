"""Versions and ranges: what they are, how they are ordered, what is in which."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.versions import (
    InvalidRange,
    InvalidVersion,
    SemVer,
    is_range,
    is_version,
    newest,
    parse_range,
    parse_version,
)

# The example of semver.org, rule 11, and what else is easily got wrong.
ASCENDING = (
    "0.0.0-0", "0.0.0", "0.0.9", "0.0.10", "0.1.0", "0.9.0", "0.10.0", "1.0.0-0", "1.0.0-1", "1.0.0-9", "1.0.0-10",
    "1.0.0-10.1", "1.0.0--", "1.0.0-0a", "1.0.0-A", "1.0.0-a", "1.0.0-a-", "1.0.0-alpha", "1.0.0-alpha.1",
    "1.0.0-alpha.beta", "1.0.0-alpha-1", "1.0.0-alpha1", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1",
    "1.0.0", "1.0.1-rc.1", "1.0.1", "2.0.0", "10.0.0", "99999999999999999999.0.0",
)  # fmt: skip

identifiers = st.one_of(
    st.integers(min_value=0, max_value=10**12).map(str),
    st.text("0123456789abzAZ-", min_size=1, max_size=6).filter(lambda text: not text.isdigit()),
)
versions = st.builds(
    SemVer, *[st.integers(min_value=0, max_value=12)] * 3, st.lists(identifiers, max_size=3).map(tuple)
)  # fmt: skip


def by_the_rule(version: SemVer) -> object:
    """Rule 11 of semver.org, word by word: a key of tuples, other than the text that is stored."""
    pre = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in version.pre)
    return version.core, not pre, pre


def test_versions_are_ordered_by_precedence() -> None:
    parsed = [parse_version(text) for text in ASCENDING]
    assert [str(version) for version in parsed] == list(ASCENDING)
    for low, high in itertools.combinations(parsed, 2):
        assert low < high, (str(low), str(high))
        assert low.precedence < high.precedence
        assert not high <= low


@given(versions, versions)
def test_the_order_of_the_stored_text_is_the_rules_order(one: SemVer, other: SemVer) -> None:
    assert (one.precedence < other.precedence) == (by_the_rule(one) < by_the_rule(other))  # type: ignore[operator]
    assert (one.precedence == other.precedence) == (one == other)
    assert one.precedence.isascii()
    assert parse_version(str(one)) == one


@pytest.mark.parametrize(
    "text",
    ["", "1", "1.2", "1.2.3.4", "v1.2.3", "01.2.3", "1.02.3", "1.2.3-01", "1.2.3-", "1.2.3-a..b", "1.2.3+build",
     "1.2.3-rc+b", " 1.2.3", "1.2.3\n", "1.2.٣", "١.2.3", "1.2.x", "-1.2.3", "1.2.3-ä", "1." + "9" * 130 + ".0"],
)  # fmt: skip
def test_what_is_no_version_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(InvalidVersion, match=r"Write for example 1\.4\.2"):
        parse_version(text)
    assert not is_version(text)


def test_build_metadata_is_named_as_what_is_wrong() -> None:
    with pytest.raises(InvalidVersion, match="no build metadata"):
        parse_version("1.2.3+build.5")


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("^1.4", "1.4.0 1.4.9 1.9.0", "1.3.9 2.0.0 2.0.0-rc.1 1.5.0-rc.1 1.4.0-rc.1"),
        ("^1.4.2", "1.4.2 1.99.0", "1.4.1 2.0.0"),
        ("^0.4", "0.4.0 0.4.9", "0.3.9 0.5.0 1.0.0"),
        ("^0.4.2", "0.4.2 0.4.3", "0.4.1 0.5.0"),
        ("^0.0.3", "0.0.3", "0.0.2 0.0.4"),
        ("^0.0", "0.0.0 0.0.9", "0.1.0"),
        ("^0", "0.0.0 0.9.0", "1.0.0"),
        ("^1", "1.0.0 1.9.9", "0.9.9 2.0.0"),
        ("~1.4.2", "1.4.2 1.4.9", "1.4.1 1.5.0"),
        ("~1.4", "1.4.0 1.4.9", "1.3.9 1.5.0"),
        ("~1", "1.0.0 1.9.0", "2.0.0"),
        (">=1.2,<2", "1.2.0 1.9.9", "1.1.9 2.0.0 2.0.0-rc.1"),
        (">= 1.2  < 2", "1.2.0 1.9.9", "1.1.9 2.0.0"),
        (">1.2", "1.3.0 2.0.0", "1.2.0 1.2.9"),
        (">1.2.3", "1.2.4", "1.2.3"),
        ("<=1.2", "1.2.0 1.2.9 0.1.0", "1.3.0"),
        ("<=1.2.3", "1.2.3", "1.2.4"),
        ("<1.2", "1.1.9", "1.2.0 1.2.0-rc.1"),
        ("1.4", "1.4.0 1.4.9", "1.5.0 1.3.0 1.4.1-rc.1"),
        ("1.4.x", "1.4.0 1.4.9", "1.5.0"),
        ("1.x", "1.0.0 1.9.0", "2.0.0 0.9.0"),
        ("1.*.*", "1.0.0 1.9.0", "2.0.0"),
        ("1", "1.0.0 1.9.0", "2.0.0"),
        ("*", "0.0.0 9.9.9", "1.0.0-rc.1"),
        ("=1.4.2", "1.4.2", "1.4.3 1.4.2-rc.1"),
        ("1.4.2-rc.1", "1.4.2-rc.1", "1.4.2 1.4.2-rc.2"),
        (">=1.4.2-rc.1", "1.4.2-rc.1 1.4.2-rc.2 1.4.2 1.5.0", "1.4.2-beta 1.5.0-rc.1"),
        ("^1.4.2-rc.1", "1.4.2-rc.1 1.4.2 1.9.0", "1.4.3-rc.1 2.0.0 2.0.0-0"),
        ("1.2.3 || ^2.1", "1.2.3 2.1.0", "1.2.4 2.0.0 3.0.0"),
        (">=1.0.0-rc.1 || 3", "1.0.0-rc.1 3.0.0", "3.0.0-rc.1"),
    ],
)
def test_a_range_holds_what_node_semver_says_it_holds(text: str, inside: str, outside: str) -> None:
    found = parse_range(text)
    assert [v for v in inside.split() if not found.allows(parse_version(v))] == []
    assert [v for v in outside.split() if found.allows(parse_version(v))] == []


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("1.4.x", "1.4"), ("1.x", "1"), ("1.X.*", "1"), ("X", "*"), ("=1.4.2", "1.4.2"), ("=1.4", "1.4"),
        (">= 1.2   <2", ">=1.2,<2"), (">=1.2 , <2", ">=1.2,<2"), ("1 || 2", "1||2"), ("^1.4.x", "^1.4"),
        (" ^1.4 ", "^1.4"), ("~1.4.2-rc.1", "~1.4.2-rc.1"),
    ],
)  # fmt: skip
def test_a_range_has_one_spelling(text: str, spelling: str) -> None:
    assert str(parse_range(text)) == spelling
    assert parse_range(spelling) == parse_range(text)


@pytest.mark.parametrize(
    "text",
    ["", " ", "||", "1||", "stable", "v1", "1.2.3.4", "1.x.3", "*.1", "^*", ">x", "~", "1.4-rc", "1.4.x-rc", "1.2,,3",
     ">=<1", "^^1", "01", "1.2.3+b", "1 - 2", "1;2", "١", "^" + "1" * 300],
)  # fmt: skip
def test_what_is_no_range_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(InvalidRange, match=r"write for example 1\.4\.2"):
        parse_range(text)
    assert not is_range(text)


@given(versions)
def test_a_version_is_a_range_that_holds_itself_alone(version: SemVer) -> None:
    found = parse_range(str(version))
    assert str(found) == str(version)
    assert found.allows(version)
    assert not found.allows(SemVer(version.major, version.minor, version.patch + 1, version.pre))


@given(st.text(max_size=40))
def test_any_text_is_a_range_or_refused(text: str) -> None:
    if is_range(text):
        assert parse_range(parse_range(text).text) == parse_range(text)


def test_the_newest_is_the_highest_release_or_else_the_highest_pre_release() -> None:
    def of(*texts: str) -> str:
        return str(newest(parse_version(text) for text in texts))

    assert of("1.0.0", "2.0.0-rc.1", "1.2.0", "1.10.0") == "1.10.0"
    assert of("2.0.0-rc.1", "2.0.0-rc.10", "2.0.0-rc.9") == "2.0.0-rc.10"
    assert newest([]) is None


@pytest.mark.parametrize(
    ("version", "major", "minor", "patch"),
    [
        ("1.4.2", "2.0.0", "1.5.0", "1.4.3"),
        ("0.0.0", "1.0.0", "0.1.0", "0.0.1"),
        ("2.0.0-rc.1", "2.0.0", "2.0.0", "2.0.0"),
        ("1.5.0-rc.1", "2.0.0", "1.5.0", "1.5.0"),
        ("1.4.2-rc.1", "2.0.0", "1.5.0", "1.4.2"),
    ],
)
def test_the_next_version_after_a_pre_release_may_be_the_one_that_it_leads_up_to(
    version: str, major: str, minor: str, patch: str
) -> None:
    found = parse_version(version)
    assert [str(found.bumped(part)) for part in ("major", "minor", "patch")] == [major, minor, patch]


@given(versions, st.sampled_from(("major", "minor", "patch")))
def test_the_next_version_is_a_higher_release(version: SemVer, part: str) -> None:
    assert version.bumped(part) > version
    assert not version.bumped(part).pre
