"""The shape of the code base: sizes, empty packages, and words that do not belong in it."""

import ast
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MOST_LINES = 400
FORBIDDEN_NAMES = {"utils", "helpers", "common", "base", "manager", "service"}
PACKAGES = ("adapters", "api", "domain", "projections", "workers")


def tracked(suffix: str = ".py") -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", f"*{suffix}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [path for line in listed.stdout.splitlines() if (path := ROOT / line).is_file()]


def test_no_module_is_longer_than_a_reader_can_hold() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in tracked()
        if (lines := len(path.read_text().splitlines())) > MOST_LINES
    }

    assert long == {}


def test_packages_are_not_barrels() -> None:
    """Import from where the thing is defined; the published package's front is the exception."""
    full = [
        str(path.relative_to(ROOT))
        for path in tracked()
        if path.name == "__init__.py"
        and path.read_text().strip()
        and path != ROOT / "sdk" / "argosy" / "__init__.py"
    ]

    assert full == []


def test_no_module_is_named_for_nothing() -> None:
    vague = [str(path) for path in tracked() if path.stem in FORBIDDEN_NAMES]

    assert vague == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in tracked()
        if path.name != "__init__.py"
        and path.relative_to(ROOT).parts[0] != "examples"
        and not ast.get_docstring(ast.parse(path.read_text()))
    ]

    assert silent == []


def test_the_server_imports_at_the_top() -> None:
    """No import inside a function, no TYPE_CHECKING: a cycle is a layering mistake."""
    found: list[str] = []
    for path in tracked():
        if path.relative_to(ROOT).parts[0] not in PACKAGES:
            continue
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found += [
                    f"{path.relative_to(ROOT)}:{inner.lineno}"
                    for inner in ast.walk(node)
                    if isinstance(inner, ast.Import | ast.ImportFrom)
                ]
        if "TYPE_CHECKING" in path.read_text():
            found.append(f"{path.relative_to(ROOT)}: TYPE_CHECKING")

    assert found == []


def test_events_commands_and_refusals_have_names_of_their_own() -> None:
    """Grep finds the whole story of a name."""
    names: dict[str, list[str]] = {}
    for path in tracked():
        if path.relative_to(ROOT).parts[0] != "domain":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and _is_message(node):
                names.setdefault(node.name, []).append(path.name)

    assert {name: files for name, files in names.items() if len(files) > 1} == {}


def _is_message(node: ast.ClassDef) -> bool:
    bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
    return bool(bases & {"Event", "Command", "ArgosyError", "Conflict", "NotFound", "Forbidden"})
