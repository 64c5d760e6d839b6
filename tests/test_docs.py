"""The reference is read off the code, and every page is linked to something that exists."""

import re
from pathlib import Path

import pytest

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


def test_decisions_are_numbered_without_gaps_and_say_what_enforces_them() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))

    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        text = page.read_text()
        assert "**Decision.**" in text, page.name
        assert "**Enforced by.**" in text, page.name
