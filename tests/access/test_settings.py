"""Settings of access that cannot be meant are refused at the start, with what to write instead."""

import pytest
from pydantic import ValidationError

from modelyard.access.configuring import members_of, provider_of, tokens_of
from modelyard.access.members import Member, MemberKind
from modelyard.domain.access import EVERYWHERE, Role
from modelyard.settings import Settings

ISSUER = {"oidc_issuer": "https://id.example/realms/x", "oidc_audience": "modelyard"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"oidc_issuer": "https://id.example"}, "MODELYARD_OIDC_AUDIENCE"),
        ({**ISSUER, "oidc_issuer": "http://id.example"}, "https"),
        ({**ISSUER, "oidc_jwks_url": "file:///etc/keys"}, "https"),
        ({**ISSUER, "oidc_algorithms": "RS256,HS256"}, "'HS256' is no algorithm with public keys"),
        ({**ISSUER, "oidc_algorithms": "none"}, "public keys"),
        ({"oidc_roles": "staff"}, "group=role@namespace"),
        ({"oidc_roles": "staff=root@default"}, "group=role@namespace"),
        ({"oidc_roles": "staff=user@No Name"}, "no name of one"),
        ({"tls_cert": "/x/cert.pem"}, "belong together"),
        ({"cors_origins": "*"}, "web origin"),
        ({"cors_origins": "https://app.example/path"}, "web origin"),
        ({"secrets_key": "too-short"}, "32 bytes"),
        ({"oidc_client_id": "dashboard"}, "MODELYARD_OIDC_ISSUER"),
        ({**ISSUER, "oidc_client_id": "a\nb"}, "printable"),
        ({**ISSUER, "oidc_scopes": "email"}, "without openid"),
        ({"public_url": "https://yard.example/path"}, "scheme and host"),
        ({"public_url": "ftp://yard.example"}, "scheme and host"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, wrong, said):
    with pytest.raises(ValidationError) as error:
        Settings(home=tmp_path, **wrong)
    assert said in str(error.value)
    # The log of a process that cannot start is no place for what was set.
    assert "too-short" not in str(error.value)


def test_tokens_for_the_client_that_people_sign_in_by_are_taken(tmp_path):
    client = {"oidc_issuer": ISSUER["oidc_issuer"], "oidc_client_id": "dashboard"}
    for settings, audiences in ((client, {"dashboard"}), ({**ISSUER, **client}, {"modelyard", "dashboard"})):
        tokens = tokens_of(Settings(home=tmp_path, **settings))
        assert tokens is not None
        assert tokens._rules.audiences == audiences
    assert provider_of(Settings(home=tmp_path, **ISSUER)) is None


def test_groups_are_members_by_the_settings(tmp_path):
    roles = "staff=user@default, dept=ops=operator@*, admins=administrator"
    settings = Settings(home=tmp_path, **ISSUER, oidc_roles=roles)
    assert tokens_of(settings) is not None
    assert tokens_of(Settings(home=tmp_path)) is None
    assert members_of(settings) == (
        Member(namespace="default", kind=MemberKind.GROUP, value="staff", role=Role.USER),
        Member(namespace=EVERYWHERE, kind=MemberKind.GROUP, value="dept=ops", role=Role.OPERATOR),
        Member(namespace=EVERYWHERE, kind=MemberKind.GROUP, value="admins", role=Role.ADMINISTRATOR),
    )
