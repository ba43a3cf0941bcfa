"""How often a key may ask the API."""


async def test_a_key_that_asks_too_often_is_told_when_to_come_again(api):
    made = await api.post(
        "/namespaces/default/keys", {"name": "slow", "role": "viewer", "rate": {"per_second": 0.05, "burst": 2}}
    )
    assert made.status_code in (200, 201), made.text
    headers = {"Authorization": f"Bearer {made.json()['secret']}"}
    answers = [await api.http.get("/api/v1/models", headers=headers) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
    problem = answers[-1].json()
    assert problem["code"] == "rate_limited"
    assert 15 <= int(answers[-1].headers["Retry-After"]) == problem["retry_after"] <= 20
    # Others are not held up, and what keeps browsers from misusing an answer is on each.
    free = await api.http.get("/api/v1/models")
    assert free.status_code == 200
    assert free.headers["cache-control"] == answers[-1].headers["cache-control"] == "no-store"
    assert free.headers["content-security-policy"] == "frame-ancestors 'self'"
