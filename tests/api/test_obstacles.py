"""What nothing here can build is refused while the deploy waits, and leaves nothing."""

from typing import Any

import pytest

from domain.execution import Base, Installation
from tests.api.conftest import Api

NATIVE = "/v1/workspaces/default/deployments"
FILES = {"agent.py": "print('x')\n"}

OBSTACLES = [
    ({"files": {"Dockerfile": "FROM x\n"}}, "files.Dockerfile", "Leave Dockerfile out"),
    ({"files": {"Containerfile": ""}}, "files.Containerfile", "container engine"),
    ({"files": {"apt.txt": "ffmpeg\n"}}, "files.apt.txt", "Leave apt.txt out"),
    ({"files": {"packages.txt": ""}}, "files.packages.txt", "environment of its own"),
    ({"requirements": "six\n\n-r more.txt\n"}, "requirements", "line 3: '-r more.txt'"),
    ({"requirements": "x @ https://a:b@h/x.whl"}, "requirements", "https://***@h/x.whl"),
    ({"files": {"requirements.txt": "\n./local\n"}}, "requirements", "line 2: './local'"),
]


@pytest.mark.parametrize(("source", "field", "words"), OBSTACLES)
async def test_it_is_refused_with_the_place_and_the_way_out(
    api: Api, source: dict[str, Any], field: str, words: str
) -> None:
    head = await api.services.store.head()
    sent = {**source, "files": {**FILES, **source.get("files", {})}}

    native = await api.ask("POST", NATIVE, json={"name": "echo", "source": sent})
    body = {"agent_name": "echo", "source_files": sent["files"]}
    body |= {"requirements": sent["requirements"]} if "requirements" in sent else {}
    dialect = await api.ask("POST", "/api/deploy", json=body)
    preview = await api.ask("POST", "/api/deploy/preview", json=body)

    assert native.status_code == 422
    assert native.json()["field"] == f"source.{field}"
    assert words in native.json()["detail"]
    assert dialect.status_code == preview.status_code == 400
    assert words in dialect.text
    assert dialect.json() == preview.json()
    assert await api.services.store.head() == head


async def test_with_an_engine_it_is_taken(api: Api) -> None:
    api.app.state.shared.installation = Installation(engine=True)
    source = {"files": {**FILES, "Dockerfile": "FROM x\n"}}

    answer = await api.ask("POST", NATIVE, json={"name": "echo", "source": source})

    assert answer.status_code == 201, answer.text
    assert answer.json()["execution_mode"] == "FULL_BUILD"
    assert answer.json()["decision_reason"] == "Dockerfile asks for an environment of its own."


NEWER = "type Name = str\n"  # Python 3.12


@pytest.mark.parametrize(
    "source",
    [
        {"files": {"agent.py": NEWER, "Dockerfile": "FROM python:3.13\n"}},
        {"files": {"agent.py": NEWER}, "python": "3.12.1"},
        {"files": {"agent.py": NEWER, ".python-version": "3.12\n"}},
    ],
)
async def test_the_syntax_is_that_of_the_python_it_is_built_with(
    api: Api, source: dict[str, Any]
) -> None:
    api.app.state.shared.installation = Installation(engine=True, engine_network=True)
    api.app.state.shared.base = Base(name="python", python="3.11")

    answer = await api.ask("POST", NATIVE, json={"name": "echo", "source": source})

    assert answer.status_code == 201, answer.text
    assert answer.json()["execution_mode"] == "FULL_BUILD"
