"""Going back to an earlier revision, and what changed between two."""

import asyncio
from typing import Any

from tests.api.conftest import Api

PATH = "/v1/workspaces/default/deployments"
ECHO = f"{PATH}/echo"


def source(text: str, **more: Any) -> dict[str, Any]:
    return {"files": {"agent.py": text, **more.pop("files", {})}, **more}


async def deployed_thrice(api: Api) -> None:
    for number in (1, 2, 3):
        await api.deploy(
            source=source(f"print({number})\n"), environment={"MOOD": f"mood {number}"}
        )


async def rolled_back(api: Api, to: int | None = None) -> dict[str, Any]:
    answer = await api.ask("POST", f"{ECHO}/rollback", json={} if to is None else {"to": to})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_a_rollback_is_a_new_revision_of_the_same_bytes(api: Api) -> None:
    await deployed_thrice(api)
    before = await api.services.store.head()

    made = await rolled_back(api, to=1)

    assert (made["revision"], made["rolled_back_to"], made["version"]) == (4, 1, 1)
    first, *_, last = made["deployment"]["revisions"]
    assert made["deployment"]["serving"] == 4
    assert last["settings"] == first["settings"]
    assert (last["agent_version"], last["status"], last["build_id"]) == (1, "ready", None)
    assert [each["rolled_back_to"] for each in made["deployment"]["revisions"]] == [
        None,
        None,
        None,
        1,
    ]
    # No version was made, and nothing is built.
    assert await api.new_types(before) == [
        "deployment.revision_made",
        "deployment.revision_ready",
    ]


async def test_a_list_says_what_the_newest_revision_repeats(api: Api) -> None:
    await deployed_thrice(api)
    await rolled_back(api, to=1)

    [row] = (await api.ask("GET", PATH)).json()["items"]

    [newest] = row["revisions"]
    assert (newest["revision"], newest["rolled_back_to"], row["serving"]) == (4, 1, 4)


async def test_rolling_back_twice_goes_back_two_deploys(api: Api) -> None:
    await deployed_thrice(api)

    to = [(await rolled_back(api))["rolled_back_to"] for _ in range(2)]

    assert to == [2, 1]
    beyond = await api.ask("POST", f"{ECHO}/rollback")
    assert beyond.status_code == 409
    assert "no earlier revision" in beyond.json()["detail"]


async def test_runs_in_flight_keep_their_revision(api: Api) -> None:
    await deployed_thrice(api)
    before = await api.request_run()

    await rolled_back(api, to=1)

    after = await api.request_run()
    kept = (await api.ask("GET", f"/v1/runs/{before['id']}")).json()
    assert (kept["revision"], after["revision"]) == (3, 4)


async def test_what_cannot_be_gone_back_to_is_refused_and_changes_nothing(api: Api) -> None:
    await deployed_thrice(api)
    needing = source("import six", requirements="six==1.17")
    await api.deploy(source=needing)
    head = await api.services.store.head()

    statuses = {
        to: (await api.ask("POST", f"{ECHO}/rollback", json={"to": to})).status_code
        for to in (4, 5, 0, "x")
    }
    unknown = await api.ask("POST", f"{PATH}/nobody/rollback")

    assert statuses == {4: 409, 5: 404, 0: 400, "x": 400}
    assert unknown.status_code == 404
    assert await api.services.store.head() == head


async def test_the_same_request_again_rolls_back_once(api: Api) -> None:
    await deployed_thrice(api)
    headers = {"Idempotency-Key": "one"}

    answers = [await api.ask("POST", f"{ECHO}/rollback", headers=headers) for _ in range(2)]

    assert answers[0].json() == answers[1].json()
    assert answers[0].json()["revision"] == 4


async def test_two_at_once_make_one_revision(api: Api) -> None:
    await deployed_thrice(api)

    answers = await asyncio.gather(
        *(api.ask("POST", f"{ECHO}/rollback", json={"to": 1}) for _ in range(2))
    )

    assert sorted(each.status_code for each in answers) == [201, 409]
    shown = (await api.ask("GET", ECHO)).json()
    assert len(shown["revisions"]) == 4


async def test_only_who_may_write_rolls_back(api: Api) -> None:
    await deployed_thrice(api)
    reader = await api.make_key("viewer", "default")
    other = await api.ask("POST", "/v1/workspaces", json={"slug": "other", "name": "Other"})
    assert other.status_code == 201, other.text
    stranger = await api.make_key("deployer", "other")

    refused = await api.ask("POST", f"{ECHO}/rollback", key=reader)
    hidden = [
        await api.ask("POST", f"{ECHO}/rollback", key=stranger),
        await api.ask("GET", f"{ECHO}/diff?before=1&after=2", key=stranger),
    ]

    assert refused.status_code == 403
    assert [each.status_code for each in hidden] == [404, 404]


async def test_a_diff_shows_files_requirements_and_configuration(api: Api) -> None:
    files = {"old.txt": "gone\n", "same.txt": "same\n"}
    await api.deploy(
        source=source("print(1)\n", files=files, requirements="idna\n"),
        environment={"MOOD": "kind", "SAME": "1"},
    )
    await api.deploy(
        source=source("print(2)\n", files={"new.txt": "new\n", "same.txt": "same\n"}),
        environment={"MOOD": "stern", "SAME": "1"},
        limits={"memory_mb": 256},
    )

    answer = await api.ask("GET", f"{ECHO}/diff?before=1&after=2")

    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert [(each["path"], each["change"]) for each in found["files"]] == [
        ("agent.py", "changed"),
        ("new.txt", "added"),
        ("old.txt", "removed"),
    ]
    changed, added, removed = found["files"]
    assert (changed["before"]["text"], changed["after"]["text"]) == ("print(1)\n", "print(2)\n")
    assert (added["before"], added["after"]["text"]) == (None, "new\n")
    assert (removed["before"]["text"], removed["after"]) == ("gone\n", None)
    assert found["requirements"] == {"removed": ["idna"], "added": []}
    assert [each["field"] for each in found["configuration"]] == [
        "environment.MOOD",
        "limits.memory_mb",
    ]
    assert found["configuration"][0] == {
        "field": "environment.MOOD",
        "before": "kind",
        "after": "stern",
    }


async def test_a_large_file_is_named_and_not_shown(api: Api) -> None:
    for letter in ("a", "b"):
        await api.deploy(source=source("print(1)\n", files={"large.txt": letter * 100_000}))

    [file] = (await api.ask("GET", f"{ECHO}/diff?before=1&after=2")).json()["files"]

    assert (file["path"], file["before"]["text"], file["after"]["text"]) == (
        "large.txt",
        None,
        None,
    )


async def test_a_diff_is_of_the_newest_revision_if_nothing_is_said(api: Api) -> None:
    for text in ("print(1)\n", "print(2)\n", "print(3)\n"):
        await api.deploy(source=source(text))

    found = (await api.ask("GET", f"{ECHO}/diff")).json()

    assert (found["before"], found["after"]) == (2, 3)


async def test_a_diff_with_a_revision_that_is_not_there_is_refused(api: Api) -> None:
    await api.deploy()

    statuses = [
        (await api.ask("GET", f"{ECHO}/diff?{query}")).status_code
        for query in ("before=1&after=2", "before=-1&after=1", "after=x")
    ]

    assert statuses[0] == 404
    assert all(400 <= each < 500 for each in statuses[1:])
