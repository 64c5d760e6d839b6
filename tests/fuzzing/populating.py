"""Something of every kind on a server, and the names that requests may use for it."""

import asyncio
from collections.abc import Mapping

import httpx

from adapters.event_store.store import open_store
from domain.decider import Event
from domain.ports import Change, Meta
from domain.registry import ENTRIES
from domain.runs import RunClaimed, RunEnded, RunFile, RunStarted
from tests.fuzzing.servers import KEY, Served
from tests.goldens import example

FILES = {"agent.py": "print('hello')\n"}
SPARE = 20
HOST_SECONDS = 60.0
NEEDY = FILES | {"requirements.txt": "requests\n"}


def populate(served: Served) -> Mapping[str, list[str]]:
    """Make tools, agents, a build, and runs: one that waits and one that ended with all it can.

    Returns their names and ids, by the parameter in the path that they are for.
    """
    with httpx.Client(base_url=served.url, headers={"Authorization": f"Bearer {KEY}"}) as client:

        def made(path: str, **body: object) -> dict[str, str]:
            answer = client.post(path, json=body or None)
            assert answer.is_success, answer.text
            return answer.json()

        workspace = "/v1/workspaces/default"
        made(f"{workspace}/starter-kit")
        made(f"{workspace}/deployments", name="echo", source={"files": FILES})
        made(f"{workspace}/deployments", name="built", source={"files": NEEDY})
        runs = [made(f"{workspace}/deployments/echo/runs", message="hi")["id"] for _ in range(2)]
        artifact = made("/api/workflow-artifacts", source_files=FILES)["id"]
        drafts = [made("/api/deploy-drafts", artifact_id=artifact)["id"] for _ in range(SPARE)]
        shown = client.get(f"{workspace}/deployments/built").json()
        workspace_id = client.get(workspace).json()["id"]
        build = client.get(f"{workspace}/builds").json()["items"][0]["id"]
        agents = [each["id"] for each in client.get(f"{workspace}/agents").json()["items"]]
    asyncio.run(_work(served, runs[0], workspace_id))
    return {
        "workspace": ["default", workspace_id],
        "namespace": ["default"],
        "name": ["echo", "built", "echo-tool", "echo-read-policy", "playground-llm"],
        "slug": ["echo", "built"],
        "run_id": runs,
        "build_id": [build],
        "agent_id": agents,
        "deployment_id": [shown["id"]],
        "artifact_id": [artifact],
        "draft_id": drafts,
        "stream": [f"run-{runs[0]}", f"build-{build}", f"agent-{agents[0]}"],
        "file_path": ["answer.txt"],
    }


def populate_apart(served: Served) -> Mapping[str, list[str]]:
    """Make workspaces that nobody needs, and an agent that a run host has just run.

    So what was asked for before is done, and answers wait for nothing but themselves.
    Returns as `populate` does.
    """
    with httpx.Client(base_url=served.url, headers={"Authorization": f"Bearer {KEY}"}) as client:
        spare = [f"spare-{number}" for number in range(SPARE)]
        for slug in spare:
            client.post("/v1/workspaces", json={"slug": slug}).raise_for_status()
        body = {"name": "answers", "source": {"files": FILES}}
        client.post("/v1/workspaces/default/deployments", json=body).raise_for_status()
        path = "/api/agents/default/answers/invoke"
        answer = client.post(path, json={"message": "hi"}, timeout=HOST_SECONDS)
        assert answer.status_code == 200, answer.text
    return {"workspace": spare, "namespace": ["default"], "name": ["answers"]}


async def _work(served: Served, run_id: str, workspace_id: str) -> None:
    """Do what a run host would."""
    meta = Meta(actor="worker:test", workspace_id=workspace_id, command_id="work")
    file = RunFile(path="answer.txt", digest=f"sha256:{'0' * 64}", size=3)
    events: list[Event] = [
        RunClaimed(run_id=run_id, attempt=1, worker="w"),
        RunStarted(run_id=run_id, attempt=1, sandbox="s"),
        *(example(each) for each in ENTRIES),
        RunEnded(run_id=run_id, how="completed", attempt=1, output="hello", files=[file]),
    ]
    store = await open_store(served.log_url)
    try:
        await store.append([Change(stream=f"run-{run_id}", events=events)], meta)
    finally:
        await store.close()
