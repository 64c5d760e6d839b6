"""The package as it is published: its names, what importing it costs, what Python it needs."""

import ast
import subprocess
import sys
from pathlib import Path

import argosy

ROOT = Path(argosy.__file__).parent

PUBLIC = [
    "Agent",
    "AgentVersion",
    "Argosy",
    "ArgosyError",
    "Build",
    "Conflict",
    "Deployed",
    "Deployment",
    "Forbidden",
    "Invalid",
    "Key",
    "LimitReached",
    "LiveEvent",
    "ModelProvider",
    "Registry",
    "Malformed",
    "NotConfigured",
    "NotFound",
    "Page",
    "Policy",
    "Recorded",
    "Refused",
    "Replay",
    "Revision",
    "Run",
    "RunFile",
    "ServerUnreachable",
    "StarterKit",
    "StillGoing",
    "StreamLost",
    "TooLarge",
    "Tool",
    "Unauthenticated",
    "Unavailable",
    "UnreadableAnswer",
    "UnreadableSource",
    "Usage",
    "Who",
    "Workspace",
]


def test_the_public_names_are_these() -> None:
    assert dir(argosy) == sorted(PUBLIC)
    assert all(isinstance(getattr(argosy, name), type) for name in PUBLIC)


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse((ROOT / "__init__.pyi").read_text())
    homes: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            homes |= {alias.name: str(node.module) for alias in node.names}

    assert homes == vars(argosy)["_HOME"]


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    assert not hasattr(argosy, "nothing")


def test_importing_the_package_imports_nothing_else() -> None:
    """Agent code imports `argosy.agent`, inside a sandbox that may have none of the rest."""
    code = "import sys; before = set(sys.modules); import argosy; print(set(sys.modules) - before)"

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )

    new = {name for name in ast.literal_eval(done.stdout) if not name.startswith("importlib")}
    assert new == {"argosy"}


def test_the_client_runs_where_the_package_says() -> None:
    """`requires-python` is 3.11: nothing newer may be written."""
    for path in ROOT.rglob("*.py"):
        ast.parse(path.read_text(), filename=str(path), feature_version=(3, 11))


def test_it_says_that_it_is_typed() -> None:
    assert (ROOT / "py.typed").exists()
