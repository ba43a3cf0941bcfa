"""Who may do what at real registries with passwords and with tokens, and to whom a password is shown."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.domain.errors import Unavailable
from modelyard.registry.content.manifest import digest_of
from modelyard.registry.oci.auth import Credentials, Denied, challenges, find
from modelyard.registry.oci.client import Client
from modelyard.registry.oci.references import parse
from modelyard.registry.oci.transport import Transport
from modelyard.registry.oci.uploading import send
from tests.registry.oci.making import blob_of
from tests.registry.oci.servers import Registry, between, registry
from tests.registry.oci.tokens import IDENTITY, PASSWORD, USER, Tokens, tokens

# Of PASSWORD, by bcrypt, which is the one form that the registry reads.
HASHED = "$2y$04$abcdefghijklmnopqrstuuzSqB7m7RhsMjhWmTHqcUJ51pWPVPsQa"
CONTENT = os.urandom(1000)


@pytest.fixture
def guarded(home: Path) -> Iterator[Registry]:
    """With a password."""
    passwords = home / "passwords"
    passwords.write_text(f"{USER}:{HASHED}\n")
    with registry(home / "r", {"htpasswd": {"realm": "a realm", "path": str(passwords)}}) as found:
        yield found


@pytest.fixture
def token_server(home: Path) -> Iterator[Tokens]:
    with tokens(home / "t") as found:
        yield found


@pytest.fixture
def with_tokens(home: Path, token_server: Tokens) -> Iterator[Registry]:
    with registry(home / "r", token_server.auth()) as found:
        yield found


def client_of(address: str, environ: dict[str, str], **options: object) -> Client:
    return Client(Transport(parse(f"oci://{address}/team/model"), environ=environ, **options))  # type: ignore[arg-type]


def env(address: str, password: str = PASSWORD) -> dict[str, str]:
    found = {"USERNAME": USER, "PASSWORD": password, "REGISTRY": address}
    return {f"MODELYARD_OCI_{name}": value for name, value in found.items()}


def logged_in(home: Path, address: str, entry: dict[str, str], **more: object) -> dict[str, str]:
    folder = home / "docker"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"auths": {address: entry}} | more))
    return {"DOCKER_CONFIG": str(folder)}


def encoded(password: str = PASSWORD) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{USER}:{password}".encode()).decode()}


def works(address: str, environ: dict[str, str]) -> None:
    with client_of(address, environ) as client:
        send(client, blob_of(CONTENT))
        assert client.read(digest_of(CONTENT), 0, 1000) == CONTENT


def test_a_password_of_the_environment_opens_a_registry(guarded: Registry) -> None:
    works(guarded.address, env(guarded.address))


def test_a_login_that_docker_has_left_opens_a_registry(guarded: Registry, home: Path) -> None:
    works(guarded.address, logged_in(home, guarded.address, encoded()))
    works(guarded.address, logged_in(home, f"https://{guarded.address}/v1/", encoded()))
    works(guarded.address, logged_in(home, guarded.address, {"username": USER, "password": PASSWORD}))


@pytest.mark.parametrize("password", ["wrong-pass", ""])
def test_who_has_no_password_or_a_wrong_one_is_told_so_and_sees_none(guarded: Registry, password: str) -> None:
    with client_of(guarded.address, env(password)) as client, pytest.raises(Denied) as denied:
        client.size(digest_of(CONTENT))
    assert "MODELYARD_OCI_PASSWORD" in denied.value.message
    assert "wrong-pass" not in repr(denied.value)


def test_a_credential_helper_is_not_run_and_the_error_says_so(guarded: Registry, home: Path) -> None:
    environ = logged_in(home, guarded.address, {}, credsStore="desktop")
    with client_of(guarded.address, environ) as client, pytest.raises(Denied, match="credential helper, which is not"):
        client.size(digest_of(CONTENT))


@pytest.mark.parametrize("content", ["", "[]", '{"auths": 3}', '{"auths": {"ADDRESS": {"auth": "!"}}}'])
def test_a_login_that_cannot_be_read_is_none_and_the_error_says_so(guarded: Registry, home: Path, content: str) -> None:
    environ = logged_in(home, guarded.address, {})
    (home / "docker" / "config.json").write_text(content.replace("ADDRESS", guarded.address))
    with client_of(guarded.address, environ) as client, pytest.raises(Denied, match="cannot be read"):
        client.size(digest_of(CONTENT))


def test_a_registry_with_tokens_gives_them_for_a_password(with_tokens: Registry, token_server: Tokens) -> None:
    works(with_tokens.address, env(with_tokens.address))
    # One to write and one to read, each used for many requests.
    assert token_server.given == ["repository:team/model:pull,push", "repository:team/model:pull"]


def test_a_registry_with_tokens_gives_them_for_an_identity(
    with_tokens: Registry, token_server: Tokens, home: Path
) -> None:
    works(with_tokens.address, logged_in(home, with_tokens.address, {"identitytoken": IDENTITY}))
    assert set(token_server.methods) == {"POST"}


def test_without_a_password_there_is_no_token(with_tokens: Registry) -> None:
    for environ in ({}, env(with_tokens.address, "wrong-pass")):
        with client_of(with_tokens.address, environ) as client, pytest.raises(Denied) as denied:
            client.size(digest_of(CONTENT))
        assert "wrong-pass" not in repr(denied.value)


def test_a_token_is_renewed_before_it_is_over(with_tokens: Registry, token_server: Tokens) -> None:
    now = 0.0
    with client_of(with_tokens.address, env(with_tokens.address), clock=lambda: now) as client:
        assert client.size(digest_of(CONTENT)) is None
        now = 200.0
        assert client.size(digest_of(CONTENT)) is None
        assert len(token_server.given) == 1
        now = 299.0
        assert client.size(digest_of(CONTENT)) is None
        assert len(token_server.given) == 2


def test_a_token_that_is_refused_is_replaced(with_tokens: Registry, token_server: Tokens) -> None:
    token_server.life = -100
    with client_of(with_tokens.address, env(with_tokens.address)) as client:
        with pytest.raises(Denied):
            client.size(digest_of(CONTENT))
        token_server.life = 300
        assert client.size(digest_of(CONTENT)) is None


def test_who_mounts_a_blob_asks_for_both_repositories(with_tokens: Registry, token_server: Tokens) -> None:
    works(with_tokens.address, env(with_tokens.address))
    environ = env(with_tokens.address)
    with Client(Transport(parse(f"oci://{with_tokens.address}/team/other"), environ=environ)) as client:
        send(client, blob_of(CONTENT), "team/model")
    assert "repository:team/other:pull,push repository:team/model:pull" in token_server.given


def test_no_password_and_no_token_goes_to_another_host(guarded: Registry) -> None:
    with between(guarded.address) as first, between(guarded.address) as bucket:
        works(first.address, env(first.address))
        first.redirect = ("/blobs/", f"http://{bucket.address}")
        first.seen.clear()
        with client_of(first.address, env(first.address)) as client:
            client.digest("none")  # from here on it knows what to send
            with pytest.raises(Unavailable, match="401"):
                client.read(digest_of(CONTENT), 0, 1000)
        assert first.seen[-1].authorization is not None
        assert [seen.authorization for seen in bucket.seen] == [None] * len(bucket.seen) != []


def test_credentials_of_the_environment_go_to_the_registry_that_it_names_and_to_no_other() -> None:
    environ = env("registry.example.com") | {"DOCKER_CONFIG": "/nonexistent"}
    assert find("registry.example.com", environ).credentials == Credentials(USER, PASSWORD)
    assert find("other.example.com", environ).credentials is None
    assert PASSWORD not in repr(find("registry.example.com", environ))
    del environ["MODELYARD_OCI_REGISTRY"]
    assert find("registry.example.com", environ).credentials is None


def test_challenges_are_read_however_they_are_written() -> None:
    one = 'Bearer realm="https://a/t?x=1,2",service="s \\"q\\"" , scope=repository:a:pull'
    assert challenges([one]) == {
        "bearer": {"realm": "https://a/t?x=1,2", "service": 's "q"', "scope": "repository:a:pull"}
    }
    both = challenges(['Basic realm="r", BEARER Realm="https://b"', "Negotiate"])
    assert both == {"basic": {"realm": "r"}, "bearer": {"realm": "https://b"}}
    assert challenges(["", "Bearer", "Basic"]) == {}
