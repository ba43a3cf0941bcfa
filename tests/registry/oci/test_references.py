"""What references are, and what is said of those that are none."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain.errors import InvalidRequest
from modelyard.registry.oci.references import Reference, parse

DIGEST = f"sha256:{'0a' * 32}"

hosts = st.sampled_from(
    ["registry.example.com", "localhost", "localhost:5000", "192.0.2.7:80", "[2001:db8::7]:443", "[::1]", "a"]
)
repositories = st.lists(st.from_regex(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*", fullmatch=True), min_size=1).map(
    lambda names: "/".join(names)[:255].rstrip("/._-")
)
tags = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", fullmatch=True)


@settings(max_examples=25, deadline=None)
@given(hosts, repositories, st.none() | tags, st.sampled_from([None, DIGEST]))
def test_a_reference_is_read_as_it_is_written(host: str, repository: str, tag: str | None, digest: str | None) -> None:
    reference = Reference(registry=host, repository=repository, tag=tag, digest=digest)
    assert parse(str(reference)) == reference
    assert reference.target == (digest or tag or "latest")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("https://registry.example.com/a", "scheme"),
        ("registry.example.com/a:1", "scheme"),
        ("oci://", "registry"),
        ("oci:///a", "registry"),
        ("oci://registry.example.com", "repository"),
        ("oci://registry.example.com/", "repository"),
        ("oci://-registry.example.com/a", "registry"),
        ("oci://regi_stry/a", "registry"),
        ("oci://registry..com/a", "registry"),
        ("oci://300.0.0.1/a", "registry"),
        ("oci://[2001:db8::zz]/a", "registry"),
        ("oci://[fe80::1%eth0]/a", "registry"),
        ("oci://registry:0/a", "port"),
        ("oci://registry:65536/a", "port"),
        ("oci://registry:5000x/a", "port"),
        ("oci://registry:/a", "port"),
        ("oci://[::1]5000x/a", "port"),
        ("oci://registry/A", "repository"),
        ("oci://registry/a//b", "repository"),
        ("oci://registry/../a", "repository"),
        ("oci://registry/a?x=1", "repository"),
        ("oci://registry/a b", "repository"),
        ("oci://registry/a\n", "repository"),
        ("oci://registry/a...b", "repository"),
        (f"oci://registry/{'a' * 256}", "repository"),
        ("oci://registry/a:", "tag"),
        ("oci://registry/a:-1", "tag"),
        ("oci://registry/a:1\n", "tag"),
        (f"oci://registry/a:{'1' * 129}", "tag"),
        ("oci://registry/a@", "digest"),
        ("oci://registry/a@sha256:00", "digest"),
        (f"oci://registry/a@{DIGEST.upper()}", "digest"),
        ("oci://registry/a@sha512:00", "digest"),
        ("oci://user:s3cret@registry/a", "credentials"),
        ("oci://user:s3cr/et@registry/a", "port"),
        ("oci://user/s3cret@registry/a", "digest"),
    ],
)
def test_what_is_wrong_is_said_and_not_repeated(text: str, code: str) -> None:
    with pytest.raises(InvalidRequest) as invalid:
        parse(text)
    assert [problem.code for problem in invalid.value.problems] == [f"invalid_{code}"]
    assert "s3cr" not in invalid.value.message
    assert invalid.value.message.endswith(".")


@pytest.mark.parametrize(
    ("text", "insecure", "url"),
    [
        ("oci://registry.example.com/a", [], "https://registry.example.com"),
        ("oci://Registry.Example.COM:5000/a", [], "https://registry.example.com:5000"),
        ("oci://localhost:5000/a", [], "http://localhost:5000"),
        ("oci://127.1.2.3/a", [], "http://127.1.2.3"),
        ("oci://[::1]:5000/a", [], "http://[::1]:5000"),
        ("oci://localhost.example.com/a", [], "https://localhost.example.com"),
        ("oci://192.0.2.7:5000/a", ["192.0.2.7"], "http://192.0.2.7:5000"),
        ("oci://192.0.2.7:5000/a", ["192.0.2.7:5000"], "http://192.0.2.7:5000"),
        ("oci://192.0.2.7:5000/a", ["192.0.2.7:5001", ""], "https://192.0.2.7:5000"),
    ],
)
def test_without_tls_only_this_machine_is_spoken_to_or_who_is_named(text: str, insecure: list[str], url: str) -> None:
    assert parse(text).url(insecure) == url
