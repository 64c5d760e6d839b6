"""What a source requires: as it says, as files of it say, or as it imports."""

from typing import Any

import msgspec
import pytest

from tests.api.conftest import Api

PATH = "/v1/workspaces/default/deployments"


async def test_requirements_may_have_the_hashes_of_all_wheels(api: Api) -> None:
    hashes = "".join(f" \\\n    --hash=sha256:{number:064x}" for number in range(5_000))
    requirements = f"six==1.17.0{hashes}\n"
    source = {"files": {"agent.py": ""}, "requirements": requirements}

    made = await api.ask("POST", PATH, json={"name": "echo", "source": source})
    source["requirements"] = requirements + "#" * 100_000
    refused = await api.ask("POST", PATH, json={"name": "echo", "source": source})

    assert made.status_code == 201
    assert (
        made.json()["decision_reason"] == "six==1.17.0 will be installed from wheels over python."
    )
    assert refused.status_code == 422
    assert refused.json()["detail"] == "source.requirements has at most 500000 characters."


PROJECT = '[project]\nname = "x"\ndependencies = ["six==1.17", "idna>3"]\n'


async def test_dependencies_of_a_project_are_requirements(api: Api) -> None:
    source = {"files": {"agent.py": "import six", "pyproject.toml": PROJECT}}

    made = (await api.ask("POST", PATH, json={"name": "echo", "source": source})).json()

    assert made["execution_mode"] == "FAST_OVERLAY"
    assert "six==1.17, idna>3 will be installed" in made["decision_reason"]


@pytest.mark.parametrize(
    "source",
    [
        {"files": {"requirements.txt": "argosy\n"}},
        {"files": {}, "requirements": "argosy"},
        {"files": {"agent.mjs": "1"}, "entry_point": "agent.mjs"},
    ],
)
async def test_a_project_is_asked_last(api: Api, source: dict[str, Any]) -> None:
    shared = api.app.state.shared
    shared.base = msgspec.structs.replace(shared.base, node="node20")
    files = {"agent.py": "", "pyproject.toml": PROJECT, **source["files"]}

    made = await api.ask("POST", PATH, json={"name": "echo", "source": {**source, "files": files}})

    assert made.json()["execution_mode"] == "INSTANT_RUNTIME", made.text


async def test_what_is_imported_is_required_where_nothing_says_what_is(api: Api) -> None:
    files = {"agent.py": "import yaml\nimport httpx\nimport mine\n", "mine.py": ""}

    made = (await api.ask("POST", PATH, json={"name": "echo", "source": {"files": files}})).json()

    assert made["execution_mode"] == "FAST_OVERLAY"
    assert "httpx, pyyaml will be installed" in made["decision_reason"]


async def test_several_frameworks_are_required_as_packages(api: Api) -> None:
    source = {"files": {"agent.py": "import crewai\nimport pydantic_ai\n"}}

    made = (await api.ask("POST", PATH, json={"name": "echo", "source": source})).json()

    assert "crewai, pydantic-ai will be installed" in made["decision_reason"]


@pytest.mark.parametrize(
    "files",
    [
        {"requirements.txt": "# nothing\n"},
        {"requirements.txt": ""},
        {"pyproject.toml": "[project]\nname = 'x'\n"},
    ],
)
async def test_what_is_imported_counts_last(api: Api, files: dict[str, str]) -> None:
    source = {"files": {"agent.py": "import httpx\n", **files}}

    made = await api.ask("POST", PATH, json={"name": "echo", "source": source})

    assert made.json()["execution_mode"] == "INSTANT_RUNTIME", made.text


@pytest.mark.parametrize("dependencies", ["'six'", "[1]", "{six = '1'}"])
async def test_dependencies_that_are_no_texts_are_refused(api: Api, dependencies: str) -> None:
    files = {"agent.py": "", "pyproject.toml": f"[project]\ndependencies = {dependencies}\n"}

    refused = await api.ask("POST", PATH, json={"name": "echo", "source": {"files": files}})

    assert refused.status_code == 422
    assert refused.json()["field"] == "source.files.pyproject.toml"
    assert "a list of texts" in refused.json()["detail"]
