"""Secrets of specs: sealed under keys, opened by them only, and shown to nobody."""

import base64
import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.access.secrets import BadKeys, SecretBox, SecretLost, box_of, parse_keys
from modelyard.domain.differing import differing
from modelyard.domain.secrets import Secret
from modelyard.domain.spec import Container

KEY, OTHER = bytes(range(32)), bytes(32)
VALUE = "hf_verysecretvalue"


def box(*keys):
    return SecretBox(lambda: keys)


@given(st.text(max_size=200))
def test_what_is_sealed_opens_to_itself(value):
    sealed = box(KEY).seal("team", "TOKEN", value)
    assert box(KEY).open("team", "TOKEN", sealed) == value
    assert box(KEY).is_of("team", "TOKEN", sealed, value)
    assert not box(KEY).is_of("team", "TOKEN", sealed, value + "x")


def test_a_sealed_value_shows_nothing_wherever_it_is_printed():
    sealed = box(KEY).seal("team", "TOKEN", VALUE)
    container = Container(secrets={"TOKEN": sealed})
    changed = Container(secrets={"TOKEN": box(KEY).seal("team", "TOKEN", "next")})
    shown = [f"{sealed}", repr(sealed), repr(container), repr(list(differing("container", container, changed)))]
    shown.append(repr(list(differing("spec", None, {"secrets": {"TOKEN": sealed}}))))
    for text in shown:
        assert VALUE not in text
        assert sealed.sealed not in text
    ((path, before, after),) = differing("container", container, changed)
    assert path == "container.secrets.TOKEN"
    assert before.startswith("********")
    assert before != after


def test_the_same_value_is_sealed_differently_each_time():
    assert box(KEY).seal("team", "TOKEN", VALUE) != box(KEY).seal("team", "TOKEN", VALUE)


@pytest.mark.parametrize(("namespace", "variable"), [("other", "TOKEN"), ("team", "PATH"), ("team\x00TOKEN", "")])
def test_a_sealed_value_opens_nowhere_else(namespace, variable):
    sealed = box(KEY).seal("team", "TOKEN", VALUE)
    with pytest.raises(SecretLost, match="sealed for another place"):
        box(KEY).open(namespace, variable, sealed)


def test_a_damaged_value_is_not_opened():
    version, name, text = box(KEY).seal("team", "TOKEN", VALUE).sealed.split(".")
    content = bytearray(base64.urlsafe_b64decode(text))
    content[-1] ^= 1
    for wrong in (base64.urlsafe_b64encode(bytes(content)).decode(), text[:8], "", "é"):
        with pytest.raises(SecretLost, match="damaged"):
            box(KEY).open("team", "TOKEN", Secret(f"{version}.{name}.{wrong}"))
    for wrong in ("", "v2.x.y", f"v2.{name}.{text}", "garbage"):
        with pytest.raises(SecretLost, match="is not here"):
            box(KEY).open("team", "TOKEN", Secret(wrong))


def test_keys_are_rotated_by_a_new_one_before_the_old_one():
    old = box(KEY).seal("team", "TOKEN", VALUE)
    rotated = box(OTHER, KEY)
    assert rotated.open("team", "TOKEN", old) == VALUE
    new = rotated.seal("team", "TOKEN", VALUE)
    assert box(OTHER).open("team", "TOKEN", new) == VALUE
    with pytest.raises(SecretLost, match=r"secrets\.key"):
        box(OTHER).open("team", "TOKEN", old)


def test_the_key_of_a_home_is_made_once_and_for_its_owner_only(tmp_path: Path):
    file = tmp_path / "secrets.key"
    sealed = []
    threads = [
        threading.Thread(target=lambda: sealed.append(box_of(file).seal("team", "TOKEN", VALUE))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["secrets.key"]
    assert [box_of(file).open("team", "TOKEN", each) for each in sealed] == [VALUE] * 8
    file.unlink()
    with pytest.raises(SecretLost):
        box_of(file).open("team", "TOKEN", sealed[0])


def test_keys_are_given_as_hex_or_base64_and_errors_do_not_repeat_them(tmp_path):
    plus = bytes([251]) * 32
    for key in (KEY, plus):
        spelled = (key.hex(), base64.b64encode(key).decode(), base64.urlsafe_b64encode(key).decode())
        assert parse_keys(",".join(spelled)) == (key,) * 3
    for text in ("", " ,", "short", "zz" * 32, f"{KEY.hex()},{KEY.hex()[:-2]}"):
        with pytest.raises(BadKeys) as error:
            parse_keys(text)
        assert "zz" not in str(error.value)
        assert KEY.hex()[:-2] not in str(error.value)
    (tmp_path / "k").write_text("nonsense")
    with pytest.raises(SecretLost, match="key 1 is not 32 bytes"):
        box_of(tmp_path / "k").seal("team", "TOKEN", VALUE)


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_what_was_seen_before_is_known_again_by_the_same_keys_only(content, another):
    (mine,) = box(KEY).fingerprints(content)
    assert box(OTHER, KEY).fingerprints(content)[1] == mine
    assert box(OTHER).fingerprints(content)[0].partition(".")[0] != mine.partition(".")[0]
    assert (box(KEY).fingerprints(another) == (mine,)) == (another == content)


def test_without_keys_what_was_seen_is_known_again_while_the_process_lives(tmp_path):
    damaged = tmp_path / "secrets.key"
    damaged.write_text("no key")
    assert (
        box_of(damaged).fingerprints(b"x") == box_of(damaged).fingerprints(b"x") != box_of(damaged).fingerprints(b"y")
    )
