"""Workspaces over HTTP."""

from tests.api.conftest import Api


async def test_a_workspace_is_created_found_and_listed(api: Api) -> None:
    made = await api.ask("POST", "/v1/workspaces", json={"slug": "staging", "name": "Staging"})

    assert made.status_code == 201
    assert made.json()["slug"] == "staging"
    assert int(made.headers["x-argosy-position"]) > 0
    by_slug = await api.ask("GET", "/v1/workspaces/staging")
    by_id = await api.ask("GET", f"/v1/workspaces/{made.json()['id']}")
    assert by_slug.json() == by_id.json() == made.json()
    listed = (await api.ask("GET", "/v1/workspaces")).json()
    assert [each["slug"] for each in listed["items"]] == ["staging", "default"]
    assert listed["position"] >= int(made.headers["x-argosy-position"])


async def test_lists_page_newest_first(api: Api) -> None:
    for number in range(5):
        await api.ask("POST", "/v1/workspaces", json={"slug": f"w{number}"})
    slugs: list[str] = []
    cursor = None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await api.ask("GET", "/v1/workspaces", params=query)).json()
        slugs += [each["slug"] for each in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert slugs == ["w4", "w3", "w2", "w1", "w0", "default"]


async def test_a_slug_is_given_once(api: Api) -> None:
    await api.ask("POST", "/v1/workspaces", json={"slug": "staging"})
    before = await api.services.store.head()

    again = await api.ask("POST", "/v1/workspaces", json={"slug": "staging"})

    assert again.status_code == 409
    assert again.json()["type"] == "/problems/name-taken"
    assert await api.services.store.head() == before


async def test_an_archived_workspace_is_read_only_and_its_slug_free(api: Api) -> None:
    made = (await api.ask("POST", "/v1/workspaces", json={"slug": "old"})).json()

    archived = await api.ask("DELETE", "/v1/workspaces/old")

    assert archived.status_code == 204
    assert (await api.ask("GET", "/v1/workspaces/old")).status_code == 404
    found = (await api.ask("GET", f"/v1/workspaces/{made['id']}")).json()
    assert found["status"] == "archived"
    body = {"name": "a", "source": {"files": {"agent.py": ""}}}
    refused = await api.ask("POST", f"/v1/workspaces/{made['id']}/deployments", json=body)
    assert refused.status_code == 409
    assert refused.json()["type"] == "/problems/workspace-archived"
    assert (await api.ask("POST", "/v1/workspaces", json={"slug": "old"})).status_code == 201
