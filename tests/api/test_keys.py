"""Keys: made once, never stored, refused at once when revoked or expired."""

import asyncio

from api.bootstrap import bootstrap
from tests.api.conftest import KEY, Api


async def test_a_key_works_until_it_is_revoked(api: Api) -> None:
    made = (await api.ask("POST", "/v1/keys", json={"name": "ci", "role": "viewer"})).json()
    who = (await api.ask("GET", "/v1/whoami", key=made["key"])).json()
    assert (who["name"], who["role"], who["workspace"]) == ("ci", "viewer", None)

    revoked = await api.ask("DELETE", f"/v1/keys/{made['id']}")

    assert revoked.status_code == 204
    refused = await api.ask("GET", "/v1/whoami", key=made["key"])
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert (await api.ask("DELETE", f"/v1/keys/{made['id']}")).status_code == 204
    listed = (await api.ask("GET", "/v1/keys")).json()["items"]
    assert [(each["name"], each["status"]) for each in listed] == [
        ("ci", "revoked"),
        ("bootstrap", "active"),
    ]
    assert all("key" not in each for each in listed)


async def test_a_key_expires(api: Api) -> None:
    key = await api.make_key("viewer", expires_in_seconds=1)
    assert (await api.ask("GET", "/v1/whoami", key=key)).status_code == 200

    async with asyncio.timeout(5):
        # The clock is the condition: nothing happens when a key expires.
        while (await api.ask("GET", "/v1/whoami", key=key)).status_code == 200:  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    refused = await api.ask("GET", "/v1/whoami", key=key)
    assert refused.status_code == 401
    assert "expired" in refused.json()["detail"]
    assert (await api.ask("GET", "/v1/keys")).json()["items"][0]["status"] == "expired"


async def test_a_key_is_nowhere_in_the_database(api: Api) -> None:
    headers = {"Idempotency-Key": "make-one"}
    body = {"name": "ci", "role": "admin"}
    made = await api.ask("POST", "/v1/keys", json=body, headers=headers)
    key = made.json()["key"]
    assert key.startswith("argosy_")
    assert len(key) == len("argosy_") + 43

    await asyncio.to_thread(lambda: None)
    kept = b"".join(path.read_bytes() for path in api.services.settings.data.glob("*.db*"))

    assert key.encode() not in kept
    assert KEY.encode() not in kept
    assert made.json()["id"].encode() in kept


async def test_making_a_key_twice_with_one_idempotency_key_answers_the_same(api: Api) -> None:
    headers = {"Idempotency-Key": "make-one"}
    body = {"name": "ci", "role": "viewer"}

    first = await api.ask("POST", "/v1/keys", json=body, headers=headers)
    again = await api.ask("POST", "/v1/keys", json=body, headers=headers)

    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert (await api.ask("GET", "/v1/whoami", key=again.json()["key"])).status_code == 200
    assert len((await api.ask("GET", "/v1/keys")).json()["items"]) == 2


async def test_another_callers_idempotency_key_is_another_key(api: Api) -> None:
    other = await api.make_key("admin")
    headers = {"Idempotency-Key": "mine"}
    body = {"name": "ci", "role": "viewer"}

    first = await api.ask("POST", "/v1/keys", json=body, headers=headers)
    second = await api.ask("POST", "/v1/keys", json=body, headers=headers, key=other)

    assert first.json()["id"] != second.json()["id"]
    assert first.json()["key"] != second.json()["key"]


async def test_a_key_does_not_revoke_itself(api: Api) -> None:
    own = (await api.ask("GET", "/v1/whoami")).json()["key_id"]

    refused = await api.ask("DELETE", f"/v1/keys/{own}")

    assert refused.status_code == 409
    assert refused.json()["type"] == "/problems/own-key"


async def test_a_narrowed_admin_manages_only_its_workspace(api: Api) -> None:
    await api.ask("POST", "/v1/workspaces", json={"slug": "staging"})
    narrowed = await api.make_key("admin", "staging")

    wide = await api.ask("POST", "/v1/keys", json={"name": "x", "role": "viewer"}, key=narrowed)
    body = {"name": "x", "role": "viewer", "workspace": "default"}
    elsewhere = await api.ask("POST", "/v1/keys", json=body, key=narrowed)
    body = {"name": "x", "role": "viewer", "workspace": "staging"}
    own = await api.ask("POST", "/v1/keys", json=body, key=narrowed)
    workspace = await api.ask("POST", "/v1/workspaces", json={"slug": "more"}, key=narrowed)
    first = (await api.ask("GET", "/v1/whoami")).json()["key_id"]
    revoke = await api.ask("DELETE", f"/v1/keys/{first}", key=narrowed)

    assert wide.status_code == 403
    assert elsewhere.status_code == 404
    assert own.status_code == 201
    assert workspace.status_code == 403
    assert revoke.status_code == 404
    listed = (await api.ask("GET", "/v1/keys", key=narrowed)).json()["items"]
    assert {each["workspace"] for each in listed} == {"staging"}


async def test_every_header_carries_a_key(api: Api) -> None:
    for headers in (
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer  {KEY}"},
        {"X-API-Key": KEY},
        {"X-RunAgents-API-Key": KEY, "Authorization": "Bearer somebody-elses-token"},
    ):
        found = await api.client.get("/v1/whoami", headers=headers)
        assert found.status_code == 200, headers
    for headers in ({}, {"Authorization": f"Basic {KEY}"}, {"X-API-Key": "x" * 10_000}):
        found = await api.client.get("/v1/whoami", headers=headers)
        assert found.status_code == 401, headers


async def test_bootstrapping_twice_and_at_once_makes_one_of_everything(api: Api) -> None:
    before = await api.services.store.head()

    again = await asyncio.gather(
        *(bootstrap(api.services, api_key=KEY) for _ in range(5)),
    )

    assert {each.organization_id for each in again} == {api.first.organization_id}
    assert await api.services.store.head() == before
    assert KEY not in repr(again[0])
