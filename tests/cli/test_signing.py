"""Keys made, trusted and revoked, versions signed and verified, with a real Modelyard."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from modelyard.client import Modelyard
from modelyard.registry.signing import bundles, keys
from tests.cli.test_push import pushed, times
from tests.cli.yard import Yard


def test_a_version_is_signed_and_the_librarys_own_command_verifies_it(yard: Yard, tmp_path: Path) -> None:
    pushed(yard, tmp_path, "signed", v1_0_0=1)
    said = yard.ok("keys", "generate", "cli-release", "--to", str(tmp_path))
    assert "modelyard keys trust cli-release" in said
    private, public = tmp_path / "cli-release.key", tmp_path / "cli-release.pub"
    assert private.stat().st_mode & 0o777 == 0o600
    again = yard.run("keys", "generate", "cli-release", "--to", str(tmp_path))
    assert (again.returncode, "may be needed" in again.stderr) == (1, True)

    unknown = yard.run("sign", "signed@1.0.0", "--key", str(private))
    assert (unknown.returncode, "is not trusted in namespace default" in unknown.stderr) == (7, True)
    assert "may sign versions of namespace default" in yard.ok("keys", "trust", "cli-release", str(public))
    file = tmp_path / "signed.sig"
    said = yard.ok("sign", "signed@1.0.0", "--key", str(private), "--save", str(file), "--reason", "released")
    assert "signed@1.0.0 is signed by cli-release" in said
    assert "signed@1.0.0 is whole: 2 file(s), signed by cli-release" in yard.ok("verify", "signed@1.0.0")
    assert re.search(r"Signed +signed by cli-release\n", yard.ok("registry", "show", "signed@1.0.0"))

    yard.ok("pull", "signed@1.0.0", "--to", str(tmp_path / "out"))
    library = [sys.executable, "-m", "model_signing", "verify", "key", str(tmp_path / "out")]
    flags = ["--signature", str(file), "--public_key", str(public)]
    assert subprocess.run([*library, *flags], capture_output=True, check=False).returncode == 0


def test_a_secret_signs_for_a_server_that_has_it(yard: Yard, tmp_path: Path) -> None:
    pushed(yard, tmp_path, "closed", v1_0_0=1)
    yard.ok("keys", "generate", "cli-secret", "--hmac", "--to", str(tmp_path))
    secret, place = tmp_path / "cli-secret.hmac", yard.home / "signing"
    missing = yard.run("keys", "trust", "cli-secret", "--hmac")
    assert (missing.returncode, str(place) in missing.stderr) == (7, True)
    place.mkdir(exist_ok=True)
    shutil.copy2(secret, place)
    yard.ok("keys", "trust", "cli-secret", "--hmac")
    for wrong in (("keys", "trust", "cli-secret", str(secret)), ("sign", "closed@1.0.0", "--key", str(secret))):
        refused = yard.run(*wrong)
        assert (refused.returncode, "--hmac" in refused.stderr) == (2, True)
    yard.ok("sign", "closed@1.0.0", "--key", str(secret), "--hmac")
    assert "signed by cli-secret" in yard.ok("verify", "closed")
    assert yard.json("keys", "list")[-1]["public_key"] == ""
    secret.chmod(0o644)
    readable = yard.run("sign", "closed@1.0.0", "--key", str(secret), "--hmac")
    assert (readable.returncode, "chmod 600" in readable.stderr) == (1, True)
    log = "".join(path.read_text(errors="replace") for path in (yard.home / "logs").glob("*.log"))
    assert secret.read_text().strip() not in log + yard.ok("events")


def test_what_is_required_is_said_where_it_is_missing_and_what_was_revoked_is_worth_nothing(
    yard: Yard, tmp_path: Path
) -> None:
    with Modelyard(home=yard.home) as client:
        client.namespaces.create("strict")
    here = ("--namespace", "strict")
    yard.ok("push", str(times(1, tmp_path / "m")), "strict@1.0.0", *here)
    private, public = keys.generate(tmp_path, "release")
    yard.ok("keys", "trust", "release", str(public), *here)
    both = yard.run("keys", "require", "--on", "--off", *here)
    assert (both.returncode, "Give --on or --off, not both" in both.stderr) == (2, True)
    assert "served from signed versions only" in yard.ok("keys", "require", "--on", *here)
    refused = yard.run("deploy", "served", "strict@1.0.0", *here)
    assert (refused.returncode, "  SOURCE  strict@1.0.0 is not signed" in refused.stderr) == (7, True)
    yard.ok("sign", "strict", "--key", str(private), *here)
    yard.ok("deploy", "served", "strict@1.0.0", *here)
    revoked = yard.ok("keys", "revoke", "release", "--reason", "stolen", *here)
    assert "release is revoked" in revoked
    assert "would not start again: served." in revoked
    assert re.search(r"release +openssf .* revoked .* ago by admin: stolen\n", yard.ok("keys", "list", *here))
    assert re.search(
        r"not signed \(release: The key was revoked .* by admin: stolen\)", yard.ok("verify", "strict", *here)
    )
    again = yard.run("keys", "trust", "release", str(public), *here)
    assert (again.returncode, "make a new key" in again.stderr) == (4, True)
    assert "unsigned versions too" in yard.ok("keys", "require", "--off", *here)
    types = re.findall(r"Key\w+|Signatures\w+|VersionSigned", yard.ok("events", *here))
    assert types == ["KeyTrusted", "SignaturesRequired", "VersionSigned", "KeyRevoked", "SignaturesNotRequired"]


def test_files_that_sign_nothing_say_so(yard: Yard, tmp_path: Path) -> None:
    pushed(yard, tmp_path, "plain", v1_0_0=1)
    (tmp_path / "text").write_text("no key")
    (tmp_path / "text").chmod(0o600)
    for arguments, words in (
        (["sign", "plain", "--key", str(tmp_path / "text")], "no private key in PEM"),
        (["sign", "plain", "--key", str(tmp_path / "text"), "--hmac"], "32 random bytes"),
        (["keys", "trust", "x", str(tmp_path / "text")], "no public key in PEM"),
    ):
        done = yard.run(*arguments)
        assert (done.returncode, words in done.stderr) == (7, True), done.stderr
    private, _ = keys.generate(tmp_path, "mistaken")
    done = yard.run("keys", "trust", "x", str(private))
    assert (done.returncode, "is a private key" in done.stderr) == (7, True)
    assert private.read_text().splitlines()[1] not in done.stderr
    assert yard.run("keys", "trust", "x").returncode == 2
    assert yard.run("keys", "generate", "Not a name").returncode == 2


def test_the_sdk_has_it_too(yard: Yard, tmp_path: Path) -> None:
    pushed(yard, tmp_path, "by-sdk", v1_0_0=1)
    private, public = keys.generate(tmp_path, "cli-sdk")
    with Modelyard(home=yard.home) as client:
        assert client.keys.trust("cli-sdk", public.read_text(), reason="ours").reason == "ours"
        files = {file.path: file.sha256 for file in client.registry.files("by-sdk")}
        made = client.registry.add_signature("by-sdk", "1.0.0", bundles.sign(files, "by-sdk", private))
        assert client.registry.add_signature("by-sdk", "1.0.0", made.bundle).added_at == made.added_at
        assert [kept.key for kept in client.registry.signatures("by-sdk", "1.0.0")] == ["cli-sdk"]
        assert client.registry.verification("by-sdk", "1.0.0").signatures[0].valid
        assert client.keys.get("cli-sdk").fingerprint == made.fingerprint
        assert "cli-sdk" in [key.name for key in client.keys.list()]
        assert client.keys.policy().require_signature is False
        assert client.namespaces.get("default").require_signature is False
        assert client.keys.revoke("cli-sdk", reason="done").revoked_for == "done"
        assert not client.registry.verification("by-sdk", "1.0.0").signed
