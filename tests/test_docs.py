"""The reference is read off the code, and every page is linked to something that exists."""

import re
from pathlib import Path

import pytest

from tests.reference import PAGES, REFERENCE

ROOT = Path(__file__).resolve().parents[1]
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", sorted(PAGES))
def test_the_page_says_what_the_code_says(page: str) -> None:
    """Run `python -m tests.reference` after a change of the code."""
    assert (REFERENCE / page).read_text() == PAGES[page]()


@pytest.mark.parametrize(
    "page", sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md"))
)
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    dead = [link for link in _LINK.findall(path.read_text()) if not (path.parent / link).exists()]

    assert dead == []


def test_decisions_are_numbered_without_gaps_and_say_what_enforces_them() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))

    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        text = page.read_text()
        assert "**Decision.**" in text, page.name
        assert "**Enforced by.**" in text, page.name
