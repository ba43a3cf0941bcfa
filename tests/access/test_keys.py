"""API keys: what is kept of them, and when they work."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from modelyard.access.errors import NotAccepted
from modelyard.access.keys import ApiKey, KeyRing, digest, id_of, is_key, new_key, new_secret
from modelyard.domain.access import EVERYWHERE, Permission, Role

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def make(**changes):
    secret, key_id = new_key()
    record = ApiKey(
        **{
            "id": key_id, "name": "ci", "digest": digest(secret), "namespace": "team", "role": Role.USER,
            "created_at": NOW, **changes,
        }
    )  # fmt: skip
    return secret, record


def test_a_key_is_256_random_bits_behind_its_id():
    secret, key_id = new_key()
    prefix, named, random = secret.split("_")
    assert (prefix, named, id_of(secret)) == ("myk", key_id, key_id)
    assert len(bytes.fromhex(random)) == 32
    assert is_key(secret)
    assert digest(secret) == hashlib.sha256(secret.encode()).hexdigest()
    assert len({new_key()[0] for _ in range(100)}) == 100


def test_a_key_is_found_by_its_secret_and_by_nothing_else():
    secret, key = make()
    ring = KeyRing([key, make(name="other")[1]])
    assert ring.find(secret, NOW) == key
    for wrong in (
        "", "myk", "myk__", secret[:-1], secret + "0", secret.upper(), new_secret(key.id), f"myk_{key.id}_", key.digest,
        f"myk_{key.id}_{key.digest}", new_key()[0], secret.replace("_", "-"),
    ):  # fmt: skip
        assert ring.find(wrong, NOW) is None


def test_no_record_and_no_error_holds_a_secret():
    secret, key = make(revoked_at=NOW)
    assert secret.rpartition("_")[2] not in repr(key)
    with pytest.raises(NotAccepted) as refusal:
        KeyRing([key]).check(secret, NOW)
    assert "revoked" in refusal.value.message
    assert secret not in refusal.value.message


def test_a_revoked_key_ends_at_once_and_an_expired_one_at_its_time():
    secret, key = make(expires_at=NOW + timedelta(hours=1))
    ring = KeyRing([key])
    assert ring.find(secret, NOW + timedelta(minutes=59)) is not None
    with pytest.raises(NotAccepted, match="expired at 2026-05-01T13:00:00"):
        ring.check(secret, NOW + timedelta(hours=1))
    ring.replace([])
    assert ring.find(secret, NOW) is None


def test_after_a_rotation_the_former_secret_works_until_its_time():
    old, key = make()
    new = new_secret(key.id)
    rotated = key.rotated(new, NOW + timedelta(hours=1))
    ring = KeyRing([rotated])
    assert ring.find(old, NOW) == ring.find(new, NOW) == rotated
    assert rotated.valid_until(digest(old)) == NOW + timedelta(hours=1)
    assert rotated.valid_until(digest(new)) is None
    with pytest.raises(NotAccepted, match="was rotated"):
        ring.check(old, NOW + timedelta(hours=1))
    assert ring.find(new, NOW + timedelta(days=1)) is not None
    # Of a rotation without overlap nothing of the former one is left.
    assert KeyRing([key.rotated(new, None)]).find(old, NOW) is None
    third = new_secret(key.id)
    again = KeyRing([rotated.rotated(third, NOW + timedelta(hours=2))])
    assert again.find(old, NOW) is None
    assert again.find(new, NOW) is not None


def test_a_rotated_key_still_expires():
    old, key = make(expires_at=NOW + timedelta(minutes=5))
    rotated = key.rotated(new_secret(key.id), NOW + timedelta(hours=1))
    assert rotated.valid_until(digest(old)) == NOW + timedelta(minutes=5)
    assert KeyRing([rotated]).find(old, NOW + timedelta(minutes=5)) is None


def test_uses_are_noted_once_a_minute_a_key():
    noted = []
    (one, first), (two, second) = make(), make(name="other")
    ring = KeyRing([first, second], lambda key_id, at: noted.append((key_id, at)))
    for seconds in (0, 1, 59, 60, 61):
        ring.find(one, NOW + timedelta(seconds=seconds))
    ring.find(two, NOW)
    ring.find(new_secret(second.id), NOW + timedelta(hours=1))
    assert noted == [(first.id, NOW), (first.id, NOW + timedelta(seconds=60)), (second.id, NOW)]


def test_the_bearer_has_the_role_where_the_key_says_and_for_the_models_it_names():
    bearer = make(models=("pat-*",), groups=("science",))[1].principal()
    assert bearer.name == "key:team/ci"
    assert bearer.may(Permission.INFER, "team", "pat-2")
    assert not bearer.may(Permission.INFER, "team", "dig")
    assert not bearer.may(Permission.INFER, "other", "pat-2")
    assert not bearer.may(Permission.OPERATE, "team", "pat-2")
    assert bearer.sees("team", "pat-2", ["science"])
    assert not bearer.sees("team", "pat-2", ["finance"])
    assert make(namespace=EVERYWHERE, role=Role.ADMINISTRATOR)[1].principal().oversees
