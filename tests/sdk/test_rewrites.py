"""Which URLs lead to a tool, and where."""

import pytest
from argosy._rewrites import rewritten

TOOLS = "http://127.0.0.1:8701/tools"
TARGETS = {
    "https://api.example.com": f"{TOOLS}/whole",
    "https://api.example.com/v1": f"{TOOLS}/first",
    "https://echo.example.com/": f"{TOOLS}/echo-tool/echo",
}


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("https://api.example.com", f"{TOOLS}/whole"),
        ("https://api.example.com/v2/x?y=1", f"{TOOLS}/whole/v2/x?y=1"),
        ("https://api.example.com/v1/x", f"{TOOLS}/first/x"),
        ("https://api.example.com?y=1", f"{TOOLS}/whole?y=1"),
        ("https://echo.example.com/", f"{TOOLS}/echo-tool/echo"),
        ("https://echo.example.com/echo", f"{TOOLS}/echo-tool/echo"),
        ("https://echo.example.com/other", f"{TOOLS}/echo-tool/other"),
    ],
)
def test_the_longest_prefix_counts_and_what_follows_is_kept(url: str, where: str) -> None:
    assert rewritten(url, TARGETS) == where


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com.evil.org/v1",
        "https://api.example.commerce",
        "http://api.example.com",
    ],
)
def test_what_only_begins_alike_is_left_alone(url: str) -> None:
    assert rewritten(url, TARGETS) == url
