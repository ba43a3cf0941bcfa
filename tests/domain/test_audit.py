"""The chain shows every change of the record, and nothing secret goes into it."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.audit import GENESIS, RETAIN, ActorKind, Mark, Record, Verifier, append, chain, verify
from modelyard.domain.masking import HIDDEN, LONGEST, masked, scrubbed

AT = datetime(2030, 1, 1, tzinfo=UTC)
WORDS = st.text(max_size=12)
CHANGES = st.dictionaries(
    WORDS,
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)


def record(action: str = "models.stop", change: dict[str, Any] | None = None) -> Record:
    return Record(at=AT, actor="admin", actor_kind=ActorKind.ADMINISTRATOR, action=action, change=change or {})


def exported(count: int) -> list[dict[str, Any]]:
    entries = append(Mark(), [record(change={"turn": n}) for n in range(count)])
    return [json.loads(json.dumps(entry.document())) for entry in entries]


def mark_of(document: dict[str, Any]) -> Mark:
    return Mark(number=document["number"], hash=document["hash"])


@given(st.lists(CHANGES, min_size=1, max_size=6))
def test_what_was_written_is_whole_also_after_it_was_json(changes: list[dict[str, Any]]) -> None:
    entries = append(Mark(), [record(change=masked(change)) for change in changes])
    documents = [json.loads(json.dumps(entry.document())) for entry in entries]
    assert verify(documents, Mark(), entries[-1].mark) is None


@given(st.integers(2, 12), st.data())
def test_every_kind_of_tampering_is_found_at_the_first_entry_that_it_touches(count: int, data: st.DataObject) -> None:
    documents = exported(count)
    head = mark_of(documents[-1])
    at = data.draw(st.integers(0, count - 1))
    kind = data.draw(st.sampled_from(["edit", "edit and rehash", "delete", "swap", "insert", "cut the tail"]))
    first = documents[at]["number"]
    if kind.startswith("edit"):
        field = data.draw(st.sampled_from(["at", "actor", "action", "name", "reason", "outcome", "address", "change"]))
        documents[at][field] = {"turn": -1} if field == "change" else "another"
        if kind == "edit and rehash":
            documents[at]["hash"] = chain(documents[at]["previous"], documents[at])
            # Only the next one, or the head, tells.
            first = min(first + 1, count)
    elif kind == "delete":
        del documents[at]
    elif kind == "swap":
        other = (at + 1) % count
        documents[at], documents[other] = documents[other], documents[at]
        first = min(at, other) + 1
    elif kind == "insert":
        documents.insert(at, documents[at - 1] if at else {**documents[0], "number": 0})
    else:
        del documents[at:]
    assert verify(documents, Mark(), head) == first


def test_a_whole_new_chain_is_only_told_from_the_old_one_by_its_head() -> None:
    head = mark_of(exported(3)[-1])
    forged = [entry.document() for entry in append(Mark(), [record(change={"turn": n}) for n in (0, 1, 7)])]
    assert verify(forged, Mark(), mark_of(forged[-1])) is None
    assert verify(forged, Mark(), head) == 3


def test_a_record_that_begins_later_must_say_that_retention_has_removed_what_was_before() -> None:
    documents = exported(4)
    start = mark_of(documents[1])
    assert verify(documents[2:], start, mark_of(documents[3])) == 2
    said = append(mark_of(documents[3]), [record(RETAIN, {"number": start.number, "hash": start.hash})])[0]
    assert verify([*documents[2:], said.document()], start, said.mark) is None
    assert verify([*documents[3:], said.document()], mark_of(documents[2]), said.mark) == 3


def test_of_picked_entries_each_is_held_against_itself_and_its_neighbours() -> None:
    documents = exported(6)
    picked = [documents[0], documents[2], documents[3], documents[5]]
    verifier = Verifier(None, gaps=True)
    verifier.feed(picked)
    verifier.finish()
    assert (verifier.broken, verifier.entries) == (None, 4)
    picked[2] = {**picked[2], "reason": "another"}
    verifier = Verifier(None, gaps=True)
    verifier.feed(picked)
    assert verifier.broken is not None
    assert verifier.broken.number == 4


def test_what_is_no_entry_is_said_to_be_none() -> None:
    verifier = Verifier(Mark())
    verifier.feed([{"number": "x"}])
    assert verifier.broken is not None
    assert (verifier.broken.number, verifier.broken.why) == (1, "it is no entry")


def test_the_hash_is_what_the_documentation_says_it_is() -> None:
    import hashlib

    (document,) = exported(1)
    content = {k: v for k, v in document.items() if k not in ("previous", "hash")}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert document["hash"] == hashlib.sha256(f"{GENESIS}\n{text}".encode()).hexdigest()


def test_a_huge_change_is_only_counted() -> None:
    (entry,) = append(Mark(), [record(change={"asked": {f"field{n}": "x" * LONGEST for n in range(100)}})])
    assert entry.record.change["left_out"] == ["asked"]


SECRETS = st.text(alphabet="abcdefghijkmnpqrstuvwxyzABCDEFGH23456789_-", min_size=12, max_size=24).map(
    lambda text: f"S3cr3t{text}"
)


@given(SECRETS)
def test_secrets_are_hidden_wherever_they_may_stand(secret: str) -> None:
    places = [
        {"container": {"environment": {"ANY_NAME": secret, "OTHER": {"value": secret}}}},
        {"environment": [secret]},
        {"token": secret, "apiKey": secret, "webhook_secret": secret, "Password": secret, "credentials": [secret]},
        {"nested": [{"deep": {"client_secret": {"of": {"any": secret}}}}]},
        {"source": f"https://user:{secret}@host/path", "other": f"s3://b/k?X-Amz-Signature={secret}&a=b"},
        {"args": ["serve", "--api-key", secret, f"--token={secret}"]},
        {"reason": f"the password: {secret}", "note": f"Authorization: Bearer {secret}", "said": f"TOKEN={secret} x"},
        {"text": f'{{"api_key": "{secret}"}}', "headers": {"X-Whatever": secret}},
    ]
    for place in places:
        assert secret not in json.dumps(masked(place)), place
    assert masked(secret, "spec.container.environment.ANY") == HIDDEN
    assert masked({"ANY": secret}, "spec.container.environment") == {"ANY": HIDDEN}


# Of a secret these may be part; what stands around it may be any of these words.
AROUND = st.lists(
    st.sampled_from(["run", "serve", "--port", "8080", "-v", "&&", "model.onnx", "--max-tokens", "512"]), max_size=4
)
COMMANDS = [
    ("--password", "{}"), ("--api-key={}",), ("--token", "'{} and more'"), ("-u", "me:{}"), ("--user=me:{}",),
    ("LICENCE={}",), ("A='{} b'",), ("export", "DB_PASS={}"), ("-e", "ANY={}"), ("-H", "'Authorization: Bearer {}'"),
    ("https://me:{}@host/x",), ("https://host/x?sig={}",), ("https://hooks.slack.com/services/T0/B0/{}",),
    ("https://chat.example/hooks/{}",), ("https://discord.com/api/webhooks/1/{}",), ("https://api.telegram.org/bot1:{}/send",),
    ("myk_{}",), ("ghp_1{}",), ("eyJhbGciOi.{}.{}",),
]  # fmt: skip


@given(SECRETS, AROUND, AROUND, st.sampled_from(COMMANDS), st.sampled_from(["command", "args", "entrypoint"]))
def test_a_secret_among_the_words_of_a_command_is_hidden_whether_they_are_one_text_or_many(
    secret: str, before: list[str], after: list[str], words: tuple[str, ...], place: str
) -> None:
    said = [word.format(secret, secret) for word in words]
    assert secret not in json.dumps(masked({place: [*before, *said, *after]}))
    line = " ".join([*before, *said, *after])
    assert secret not in json.dumps(masked({"spec": {place: ["sh", "-c", line]}}))
    assert secret not in json.dumps(masked({place: line}))
    assert masked([*before, *said, *after], f"spec.options.{place}") == masked({place: [*before, *said, *after]})[place]


@given(AROUND, AROUND)
def test_a_command_without_a_secret_stays_as_it_is(before: list[str], after: list[str]) -> None:
    plain = ["python", "-m", "app", *before, "--tokenizer", "fast", "-p", "80", "--config=a.yaml", "-u", "1000", *after]
    assert masked({"command": plain}) == {"command": plain}
    assert scrubbed(" ".join(plain), command=True) == " ".join(plain)


@given(SECRETS, st.sampled_from(["{}", "services/T0/B0/{}", "a/{}/b", "?key={}", "#{}", "x?y=1&z={}"]))
def test_of_a_webhooks_url_only_the_host_is_left(secret: str, path: str) -> None:
    shown = masked({"url": f"https://me:{secret}@hooks.example:8443/{path.format(secret)}"})
    assert shown == {"url": f"https://hooks.example:8443/{HIDDEN}"}


@pytest.mark.parametrize(
    "text",
    ["a." * 32_000 + "://", "a" * 64_000 + "://", "https://h/" + "a/" * 30_000, "https://" * 8_000, "eyJ" * 20_000],
)
def test_no_text_takes_long_to_look_through(text: str) -> None:
    began = time.process_time()
    scrubbed(text, command=True)
    assert time.process_time() - began < 1


def test_what_is_no_secret_stays_readable() -> None:
    plain = {"name": "digits", "source": "pat@stable", "replicas": {"min": 1, "max": 2.5}, "labels": {"team": "a b"}}
    assert masked(plain) == plain
    assert masked({"memory": 2.0, "rate": float("nan"), "at": AT}) == {
        "memory": 2, "rate": "nan", "at": "2030-01-01T00:00:00+00:00",
    }  # fmt: skip
    assert scrubbed("Down for the night: tokens/s were low") == "Down for the night: tokens/s were low"
    for text in (
        "https://huggingface.co/o/m/resolve/0123456789abcdef0123456789abcdef01234567/model.onnx", "s3://bucket/pat/1.0",
        "https://x.example/services/catalog.html", "max_tokens: 512", "sk-learn-contrib-extras", "A=1 and B=2",
    ):  # fmt: skip
        assert scrubbed(text) == text
    assert masked({"max_tokens": 512, "tokenizer": "fast"}) == {"max_tokens": 512, "tokenizer": "fast"}
    assert scrubbed("x" * 2000).endswith("… (2000 characters)")
    assert scrubbed("a\x00b\ud800") == "a\ufffdb?"
