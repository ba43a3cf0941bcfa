"""What a source may be written as, and that nothing secret in one is ever shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.errors import InvalidRequest
from modelyard.domain.registry_rules import source_complaint
from modelyard.registry.sources.address import SCHEMES, parse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("source", "scheme", "place", "path", "pick"),
    [
        ("model.onnx", "file", "", "model.onnx", ""),
        ("/a/b c", "file", "", "/a/b c", ""),
        ("file:///a/b%20c", "file", "", "/a/b c", ""),
        ("https://host:8443/a/b.onnx?x=1", "https", "host:8443", "a/b.onnx", ""),
        ("s3://bucket", "s3", "bucket", "", ""),
        ("s3://bucket/a/b#c?d@e", "s3", "bucket", "a/b#c?d@e", ""),
        ("gs://bucket/a/", "gs", "bucket", "a/", ""),
        ("az://container/a", "az", "container", "a", ""),
        ("hf://org/name", "hf", "org/name", "", ""),
        ("hf://gpt2@main", "hf", "gpt2", "", "main"),
        (f"hf://org/name@{COMMIT}/onnx/model.onnx", "hf", "org/name", "onnx/model.onnx", COMMIT),
        ("hf://org/name@refs/pr/7/a", "hf", "org/name", "a", "refs/pr/7"),
        ("hf://org/name@feature%2Fx", "hf", "org/name", "", "feature/x"),
        ("hf://org/name/a@b/c", "hf", "org/name", "a@b/c", ""),
        ("mlflow://models/pat/3", "mlflow", "models", "pat", "3"),
        ("mlflow://models/pat@champion", "mlflow", "models", "pat", "@champion"),
        ("mlflow://runs/abc/model/x", "mlflow", "runs", "abc/model/x", ""),
        ("oci://host:5000/a/b:1", "oci", "", "host:5000/a/b:1", ""),
        ("registry://host:8900/pat@stable", "registry", "host:8900", "pat", "stable"),
        ("registry://host/team/pat", "registry", "host", "team/pat", "latest"),
    ],
)
def test_each_scheme_is_read_into_its_parts(source: str, scheme: str, place: str, path: str, pick: str) -> None:
    address = parse(source)
    assert (address.scheme, address.place, address.path, address.pick) == (scheme, place, path, pick)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("ftp://host/a", "There is no scheme ftp://. .* one of file://, http://, https://, s3://"),
        ("file://host/a", "of this machine"),
        ("https://me:pw@host/a", "user name or password .* NETRC"),
        ("https:///a", "no host"),
        ("https://host:port/a", "no host"),
        ("https://host/a#sha256=12", "no digest"),
        ("https://host/a\nb", "control character"),
        ("s3://", "no bucket"),
        ("s3://key:secret@bucket/a", "environment"),
        ("oci://me:pw@host/a/b", "user name or password"),
        ("oci://host", "no repository"),
        ("hf://", "no model of the Hub"),
        ("hf://org/../name", "no model of the Hub"),
        ("hf://org/name@", "no revision"),
        ("mlflow://models/pat", "nothing of MLflow"),
        ("mlflow://models/pat@", "nothing of MLflow"),
        ("mlflow://runs/abc", "nothing of MLflow"),
        ("mlflow://other/abc", "nothing of MLflow"),
        ("registry://host", "no model"),
        ("registry://token@host/pat", "MODELYARD_SOURCE_TOKEN"),
    ],
)
def test_what_is_wrong_is_said(source: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        parse(source)
    assert "pw" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse("https://me:pw@host/a\x00#md5=1")
    assert len(caught.value.problems) == 3


def test_what_is_shown_of_a_web_address_ends_before_what_is_signed() -> None:
    assert str(parse(f"https://host/a?X-Amz-Signature=1#sha256={'0' * 64}")) == "https://host/a"


@given(st.sampled_from(SCHEMES), st.text(max_size=40))
def test_anything_is_an_address_or_refused_and_what_is_shown_can_be_recorded(scheme: str, rest: str) -> None:
    try:
        address = parse(f"{scheme}://{rest}")
    except InvalidRequest:
        return
    assert str(address).isprintable()
    if scheme not in ("file", "hf", "mlflow"):
        assert source_complaint(str(address)) is None
