"""The reference is read off the code, and every page is linked to something that exists."""

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from tests.reference import PAGES, REFERENCE

ROOT = Path(__file__).resolve().parents[1]
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
_FOLDERS = "adapters|api|bench|docs|domain|examples|projections|sdk|tests|workers"
_NAMED = re.compile(rf"`((?:{_FOLDERS})/[\w./*-]+\.(?:md|py|json))`")
PAGES_BY_HAND = ("README.md", "CHANGELOG.md", "sdk/README.md")


@pytest.mark.parametrize("page", sorted(PAGES))
def test_the_page_says_what_the_code_says(page: str) -> None:
    """Run `python -m tests.reference` after a change of the code."""
    assert (REFERENCE / page).read_text() == PAGES[page]()


@pytest.mark.parametrize(
    "page",
    [*PAGES_BY_HAND, *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md"))],
)
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    dead = [link for link in _LINK.findall(path.read_text()) if not (path.parent / link).exists()]

    assert dead == []


def test_files_that_are_named_exist() -> None:
    """In documents and docstrings alike, from the root."""
    pages = [*ROOT.glob("docs/**/*.md"), *(ROOT / page for page in PAGES_BY_HAND)]
    modules = [path for folder in _FOLDERS.split("|") for path in (ROOT / folder).rglob("*.py")]
    missing = {
        f"{path.relative_to(ROOT)}: {named}"
        for path in [*pages, *modules]
        for named in _NAMED.findall(path.read_text())
        if not list(ROOT.glob(named))
    }

    assert missing == set()


# What counts something, all processes together.
COUNTING = ("api.app", "workers.builds", "workers.dispatcher", "workers.host", "workers.reaper")
LABELS = {
    *("decision", "found", "how", "kind", "method", "mode", "outcome", "part", "projection"),
    *("reason", "route", "stage", "state", "status", "vendor", "why", "work"),
}
_METRIC = re.compile(r"`(argosy_[a-z_]+)(?:\{([a-z,]+)\})?`")


def test_metrics_are_in_the_guide_with_labels_of_few_values() -> None:
    """A new label's name goes into LABELS once somebody has thought of how many values it has."""
    for module in COUNTING:
        importlib.import_module(module)
    registry: Any = REGISTRY  # Any: the library keeps the names of labels to itself
    counted: dict[str, set[str]] = {
        each._name: set(each._labelnames)
        for name, each in registry._names_to_collectors.items()
        if name.startswith("argosy_")
    }
    guide = _METRIC.findall((ROOT / "docs" / "guides" / "operate.md").read_text())
    written = {name.removesuffix("_total"): set(labels.split(",")) - {""} for name, labels in guide}

    assert counted == written
    assert set().union(*counted.values()) <= LABELS


def test_tests_that_the_reference_names_exist() -> None:
    """A promise says which test shows it."""
    pages = {path.name: path.read_text() for path in REFERENCE.glob("*.md")}
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    missing = {
        f"{page}: {name}"
        for page, text in pages.items()
        for name in re.findall(r"`(test_\w+)`", text)
        if f"def {name}(" not in tests
    }

    assert missing == set()


def test_decisions_are_numbered_without_gaps_and_say_what_enforces_them() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))

    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        text = page.read_text()
        assert "**Decision.**" in text, page.name
        assert "**Enforced by.**" in text, page.name
