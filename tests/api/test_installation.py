"""What an installation says of itself to those who oversee it."""

from __future__ import annotations

from modelyard import __version__
from tests.api.conftest import TOKEN, Api


async def test_it_says_its_version_its_sites_and_its_settings_without_secrets(api: Api) -> None:
    answer = await api.http.get("/api/v1/installation")
    assert answer.status_code == 200, answer.text
    assert TOKEN not in answer.text
    found = answer.json()
    assert found["version"] == __version__
    assert found["address"].startswith("http://")
    (site,) = found["sites"]
    assert (site["answers"], site["driven"], site["down"]) == (True, True, False)
    assert site["home"] == str(api.home)
    settings = {setting["name"]: setting for setting in found["settings"]}
    home, token, public = (settings[f"MODELYARD_{name}"] for name in ("HOME", "TOKEN", "PUBLIC_URL"))
    assert (home["value"], home["given"]) == (str(api.home), True)
    assert (token["value"], token["hidden"]) == ("", True)
    assert (public["given"], public["hidden"]) == (False, False)
    assert all(setting["about"] for name, setting in settings.items() if name != "MODELYARD_LOG_LEVEL")
