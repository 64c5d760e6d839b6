"""What framework a source is written for, and which base that chooses."""

import pytest

from domain.execution import Base, SourceDefinition, chosen_base, decide_mode
from domain.frameworks import MODULES, PACKAGES, find_framework, missing_packages

GRAPH = Base(name="langgraph", python="3.11", packages={"langgraph": "1.0", "httpx": "0.28"})
BASE = Base(name="python", python="3.11", frameworks=(GRAPH,))


@pytest.mark.parametrize(
    ("text", "framework"),
    [
        ("import os\n", ""),
        ("from langgraph.graph import StateGraph\n", "langgraph"),
        ("def f():\n    import crewai\n", "crewai"),
        ("import langchain_openai, os\nfrom langgraph import x\n", "langgraph"),
        ("import os, crewai\n", "crewai"),
        ("import json as j, crewai.tools as t # and agents\n", "crewai"),
        ("import os as crewai; import json\n", ""),
        ("from x import agents, crewai\n", ""),
        ("from langchain_core import messages\n", "langchain"),
        ("from agents import Agent\n", "openai-agents"),
        ("from pydantic_ai import Agent\n", "pydantic-ai"),
        ("import crewai\nimport pydantic_ai\n", ""),
        ("# import crewai\n", ""),
        ("import crewai_of_mine\n", ""),
    ],
)
def test_the_framework_is_what_the_source_imports(text: str, framework: str) -> None:
    assert find_framework({"agent.py": text}) == framework


@pytest.mark.parametrize("own", ["agents.py", "agents/first.py", "src/agents/__init__.py"])
def test_a_module_of_the_sources_own_is_no_framework(own: str) -> None:
    assert find_framework({"agent.py": "from agents import first\n", own: ""}) == ""


@pytest.mark.parametrize(
    ("text", "required", "missing"),
    [
        ("import os, crewai\n", set[str](), ["crewai"]),
        ("import crewai\n", {"crewai"}, []),
        ("import pydantic_ai\n", {"pydantic-ai-slim"}, []),
        ("import langchain_core\nimport agents\n", {"langchain"}, ["langchain-core"]),
        ("import own\n", set[str](), []),
    ],
)
def test_what_is_imported_has_a_package(text: str, required: set[str], missing: list[str]) -> None:
    files = {"agent.py": text, "agents/one.py": "", "notes.md": "import langgraph\n"}

    assert missing_packages(files, required) == missing


def test_every_module_of_a_framework_has_a_package() -> None:
    assert PACKAGES.keys() == MODULES.keys()


def test_documents_import_nothing() -> None:
    assert find_framework({"agent.py": "", "README.md": "import crewai\n"}) == ""


@pytest.mark.parametrize(
    ("framework", "base"),
    [("", BASE), ("crewai", BASE), ("LangGraph", GRAPH), ("langchain", GRAPH)],
)
def test_the_framework_chooses_among_the_bases_there_are(framework: str, base: Base) -> None:
    definition = SourceDefinition(files={}, entry_point="agent.py", framework=framework)

    assert chosen_base(definition, BASE) is base


def test_another_python_has_frameworks_of_its_own() -> None:
    graph = Base(name="langgraph-python3.13", python="3.13")
    newer = Base(name="python3.13", python="3.13", frameworks=(graph,))
    definition = SourceDefinition(files={}, entry_point="agent.py", framework="langgraph")

    assert chosen_base(definition, newer) is graph


@pytest.mark.parametrize("requirements", ["", "langgraph\nhttpx"])
def test_what_a_frameworks_base_has_still_takes_a_build(requirements: str) -> None:
    """Only a build worker knows whether the base's packages are there."""
    decision = decide_mode(
        SourceDefinition(
            files={}, entry_point="agent.py", framework="langgraph", requirements=requirements
        ),
        BASE,
    )

    assert decision.mode == "FAST_OVERLAY"
    assert decision.reason.startswith("The base environment langgraph has everything")
