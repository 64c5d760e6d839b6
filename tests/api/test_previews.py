"""Previews: how a deploy would run, and why, with nothing changed."""

from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import Api

NATIVE = "/v1/workspaces/default/deploy/preview"
DIALECT = "/api/deploy/preview"

FILES = {"agent.py": "def handler(request):\n    return 'x'\n"}
NEEDING = {**FILES, "requirements.txt": "six==1.17\n"}


def blobs(api: Api) -> set[Path]:
    """All files of the data directory's blobs."""
    folder = api.services.settings.data / "blobs"
    return {path for path in folder.rglob("*") if path.is_file()}


async def test_what_counts_as_blobs_here_sees_a_deploys(api: Api) -> None:
    """Otherwise the tests below would see nothing, whatever a preview stored."""
    before = blobs(api)

    await api.deploy()

    assert len(blobs(api) - before) == 1


@pytest.mark.parametrize(
    ("body", "mode", "build", "reason"),
    [
        ({"source": {"files": FILES}}, "INSTANT_RUNTIME", False, "has everything"),
        ({"source": {"files": NEEDING}}, "FAST_OVERLAY", True, "six==1.17 will be installed"),
        ({"image": "ghcr.io/acme/a:1"}, "IMAGE", False, "The image ghcr.io/acme/a:1 is given"),
        ({"llm_configs": [{"model": "gpt-4o-mini"}]}, "INSTANT_RUNTIME", False, "no code"),
    ],
)
async def test_a_preview_says_what_the_deploy_then_does(
    api: Api, body: dict[str, Any], mode: str, build: bool, reason: str
) -> None:
    head, stored = await api.services.store.head(), blobs(api)
    body = {"name": "echo", **body}

    answer = await api.ask("POST", NATIVE, json=body)

    assert answer.status_code == 200, answer.text
    preview = answer.json()
    assert (preview["execution_mode"], preview["build_required"]) == (mode, build)
    assert reason in preview["decision_reason"]
    assert (preview["version"], preview["revision"], preview["unchanged"]) == (1, 1, False)
    assert (await api.services.store.head(), blobs(api)) == (head, stored)

    made = (await api.ask("POST", "/v1/workspaces/default/deployments", json=body)).json()

    same = ("execution_mode", "build_required", "build_profile", "decision_reason", "version")
    assert {field: preview[field] for field in same} == {field: made[field] for field in same}


async def test_a_preview_of_what_is_deployed_says_so(api: Api) -> None:
    await api.deploy(source={"files": FILES})
    other = {"name": "echo", "source": {"files": NEEDING}}

    same = (await api.ask("POST", NATIVE, json={"name": "echo", "source": {"files": FILES}})).json()
    changed = (await api.ask("POST", NATIVE, json=other)).json()

    assert (same["version"], same["revision"], same["unchanged"]) == (1, 1, True)
    assert (changed["version"], changed["revision"], changed["unchanged"]) == (2, 2, False)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "Echo!", "source": {"files": FILES}}, "name"),
        ({"name": "echo"}, "source"),
        ({"name": "echo", "source": {"files": {"agent.py": "def f(:"}}}, "source.files.agent.py"),
        ({"name": "echo", "source": {"files": FILES}, "policies": ["none"]}, "policies[0]"),
        ({"name": "echo", "source": {"files": {**FILES, "apt.txt": ""}}}, "source.files.apt.txt"),
        ({"name": "echo", "source": {"files": FILES, "python": "3.99"}}, "source.python"),
        (
            {"name": "echo", "source": {"files": FILES, "requirements": "-e ."}},
            "source.requirements",
        ),
    ],
)
async def test_a_preview_refuses_what_the_deploy_refuses(
    api: Api, body: dict[str, Any], field: str
) -> None:
    preview = await api.ask("POST", NATIVE, json=body)
    deploy = await api.ask("POST", "/v1/workspaces/default/deployments", json=body)

    assert preview.status_code == deploy.status_code == 422
    assert preview.json()["field"] == deploy.json()["field"] == field


@pytest.mark.parametrize(
    ("body", "state", "kind", "support"),
    [
        ({"source_files": FILES}, "instant", "source", "supported"),
        ({"source_files": NEEDING}, "preparing_runtime", "source", "supported"),
        ({"image": "ghcr.io/acme/a:1"}, "compatibility_setup", "image", "supported"),
    ],
)
async def test_the_dialect_previews_in_its_own_words(
    api: Api, body: dict[str, Any], state: str, kind: str, support: str
) -> None:
    head, stored = await api.services.store.head(), blobs(api)
    tool = {"name": "shop", "base_url": "https://shop.example"}
    body = {"agent_name": "echo", "tools_to_create": [tool], **body}

    answer = await api.ask("POST", DIALECT, json=body)

    assert answer.status_code == 200, answer.text
    preview = answer.json()
    assert preview["user_state"] == state
    assert {"state_label", "eta_range", "confidence", "short_reason"} < set(preview)
    details = preview["advanced_details"]
    assert (details["execution_kind"], details["support_level"]) == (kind, support)
    assert (await api.services.store.head(), blobs(api)) == (head, stored)

    made = (await api.ask("POST", "/api/deploy", json=body)).json()

    same = ("execution_mode", "build_required", "build_profile", "decision_reason")
    assert {field: details[field] for field in same} == {field: made[field] for field in same}
    assert made["tools_created"] == ["shop"]


async def test_the_dialect_refuses_in_its_own_words(api: Api) -> None:
    nameless = await api.ask("POST", DIALECT, json={"source_files": FILES})
    sourceless = await api.ask("POST", DIALECT, json={"agent_name": "echo"})

    assert (nameless.status_code, nameless.json()) == (400, {"error": "agent_name is required"})
    assert sourceless.status_code == 400
    assert "no valid deploy source" in sourceless.json()["error"]


@pytest.mark.parametrize("path", [NATIVE, DIALECT])
async def test_only_who_may_deploy_may_preview(api: Api, path: str) -> None:
    viewer = await api.make_key("viewer", "default")

    answer = await api.ask("POST", path, key=viewer, json={})

    assert answer.status_code == 403
