"""URLs: what a base URL means, one spelling for every path, and patterns of both."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.catalog import Tool
from domain.errors import Invalid
from domain.urls import (
    canonical_path,
    lenient_path,
    path_pattern,
    tool_address,
    url_pattern,
)


@pytest.mark.parametrize(
    ("tool", "url"),
    [
        (Tool(base_url="https://api.example"), "https://api.example/"),
        (Tool(base_url="HTTPS://API.Example./"), "https://api.example/"),
        (Tool(base_url="http://api.example"), "http://api.example/"),
        (Tool(base_url="http://api.example:8080"), "http://api.example:8080/"),
        (Tool(base_url="https://api.example:8443/v1"), "https://api.example:8443/v1"),
        (Tool(base_url="https://api.example:443/v1/"), "https://api.example/v1/"),
        (Tool(base_url="https://api.example", port=8443), "https://api.example:8443/"),
        (Tool(base_url="http://api.example", port=8080), "http://api.example:8080/"),
        (Tool(base_url="http://api.example:9000", port=8080), "http://api.example:9000/"),
        (Tool(base_url="https://api.example", port=80, scheme="HTTP"), "https://api.example:80/"),
        (Tool(base_url="http://api.example", port=80, scheme="HTTPS"), "http://api.example/"),
        (Tool(base_url="https://api.example", port=0), "https://api.example/"),
        (Tool(base_url="https://api.example:80"), "https://api.example:80/"),
        (Tool(base_url="api.example"), "https://api.example/"),
        (Tool(base_url="api.example", scheme="HTTP"), "http://api.example/"),
        (Tool(base_url="localhost:9000/x", scheme="HTTP"), "http://localhost:9000/x"),
        (Tool(base_url="https://[::1]:8443/"), "https://[::1]:8443/"),
        (Tool(base_url="https://[::1]"), "https://[::1]/"),
        (Tool(base_url="https://bücher.example"), "https://xn--bcher-kva.example/"),
    ],
)
def test_the_base_url_says_where_and_the_fields_fill_in(tool: Tool, url: str) -> None:
    assert tool_address(tool).url == url


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "https://",
        "ftp://api.example",
        "https://user:secret@api.example",
        "https://api.example/?key=secret",
        "https://api.example/#part",
        "https://api.example:port",
        "https://api.example:99999",
        "https://api example",
        "https://api.example\\@evil.example",
        "https://*.example",
    ],
)
def test_a_base_url_that_is_none_is_refused(base_url: str) -> None:
    with pytest.raises(Invalid) as refusal:
        tool_address(Tool(base_url=base_url))

    assert refusal.value.field == "base_url"
    assert "secret" not in refusal.value.detail


@pytest.mark.parametrize(
    ("base_url", "path", "url"),
    [
        ("https://x", "", "https://x/"),
        ("https://x", "/a", "https://x/a"),
        ("https://x/", "/a", "https://x/a"),
        ("https://x/v1", "/a", "https://x/v1/a"),
        ("https://x/v1/", "/a", "https://x/v1/a"),
        ("https://x/graphql", "/", "https://x/graphql"),
        ("https://x/v1", "/../../admin", "https://x/v1/admin"),
        ("https://x/v1", "@evil.example", "https://x/v1/@evil.example"),
        ("https://x", "//evil.example/a", "https://x//evil.example/a"),
    ],
)
def test_a_path_stays_below_the_base_url(base_url: str, path: str, url: str) -> None:
    assert tool_address(Tool(base_url=base_url), path).url == url


@pytest.mark.parametrize(
    ("path", "spelled"),
    [
        ("/a/b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("/a/./b/.", "/a/b/"),
        ("/a/b/..", "/a/"),
        ("/../..", "/"),
        ("/%61dmin/%7euser", "/admin/~user"),
        ("/group%2fproject", "/group%2Fproject"),
        ("/100%", "/100%25"),
        ("/a b/ä?#[]", "/a%20b/%C3%A4%3F%23%5B%5D"),
        ("/a//b", "/a//b"),
    ],
)
def test_a_path_has_one_spelling(path: str, spelled: str) -> None:
    assert canonical_path(path) == spelled


@pytest.mark.parametrize(
    "path",
    [
        "/a/..%2fb",
        "/a%2f..%2fb",
        "/a/..%5cb",
        "/a/..\\b",
        "/a/..;/b",
        "/a/..;x=1/b",
        "/a/%252e%252e/b",
        "/a/%25252e%25252e%25252fb",
        "/a/..%252fb",
        "/a/%c0%ae%c0%ae/b",
        "/a/%ef%bc%8e%ef%bc%8e/b",  # full-width dots
        "/a/%e2%80%a5/b",  # a two-dot leader
        "/a/..%20/b",
        "/a/.../b",
        "/a%00.json",
        "/a%0d%0aX-Evil:1",
        "/a\tb",
        "/a%2500",
        "/%ff",
        "/" + "%25" * 3 + "25" * 9,
        "/" + "a" * 5000,
    ],
)
def test_a_path_in_disguise_is_refused(path: str) -> None:
    with pytest.raises(Invalid) as refusal:
        canonical_path(path)

    assert refusal.value.field == "path"


@given(st.text(st.sampled_from("/.%2eE5cfF;\\ab \uff1f\uff0e"), max_size=30))
def test_what_is_spelled_once_stays(path: str) -> None:
    try:
        spelled = canonical_path(path)
    except Invalid:
        return

    assert canonical_path(spelled) == spelled
    assert spelled.startswith("/")
    assert not {".", ".."} & set(spelled.split("/"))
    assert not {".", ".."} & set(lenient_path(spelled).split("/"))


@pytest.mark.parametrize(
    "path",
    [
        "/admin/x",
        "//admin///x",
        "/ADMIN/x",
        "/admin%2Fx",
        "/admin%252fx",
        "/admin;v=1/x;y",
        "/a%64min/x/",
        "/admin%5Cx",
        "/%EF%BD%81dmin/x",
        "/admin./x%20",
    ],
)
def test_the_lenient_reading_is_one_for_what_servers_take_for_the_same(path: str) -> None:
    assert lenient_path(canonical_path(path)) == "/admin/x/"


@pytest.mark.parametrize(
    ("pattern", "path", "exactly", "leniently"),
    [
        ("/a", "/a", True, True),
        ("/a", "/a/", False, True),
        ("/a", "/a/b", False, False),
        ("/a*", "/ab", True, True),
        ("/a/*", "/a/b", True, True),
        ("/a/*", "/ab", False, False),
        ("/a/*", "/a", False, True),
        ("/A/*", "/a/b", False, True),
        ("*", "/a", True, True),
        ("/*", "/", True, True),
        ("/", "/", True, True),
        ("/", "/a", False, False),
        ("/x/../a/*", "/a/b", True, True),
        ("/group%2fproject", "/group%2Fproject", True, True),
        ("/group/project", "/group%2Fproject", False, True),
    ],
)
def test_a_pattern_of_paths_is_exact_or_open_at_its_end(
    pattern: str, path: str, *, exactly: bool, leniently: bool
) -> None:
    read = path_pattern(pattern)

    assert read.matches(canonical_path(path), lenient=False) is exactly
    assert read.matches(canonical_path(path), lenient=True) is leniently


@pytest.mark.parametrize(
    ("resource", "base_url", "meant"),
    [
        ("*", "https://api.example", True),
        ("https://*", "https://api.example", True),
        ("https://*", "http://api.example", False),
        ("https://api.example/*", "https://api.example", True),
        ("https://api.example*", "https://api.example", True),
        ("https://api.example/*", "https://api.example.org", False),
        ("HTTPS://API.EXAMPLE:443/*", "https://api.example", True),
        ("https://api.example./*", "https://api.example", True),
        ("http://api.example/*", "https://api.example", False),
        ("https://api.example/*", "https://api.example:8443", False),
        ("https://api.example:8443/*", "https://api.example:8443", True),
        ("api.example/*", "https://api.example", True),
        ("api.example:443/*", "https://api.example", True),
        ("https://xn--bcher-kva.example/*", "https://bücher.example", True),
        ("https://api.example", "https://api.example", True),
        ("https://api.example/v1", "https://api.example", False),
    ],
)
def test_a_resource_names_scheme_host_and_port(
    resource: str, base_url: str, *, meant: bool
) -> None:
    address = tool_address(Tool(base_url=base_url))

    assert url_pattern(resource).matches(address, lenient=False) is meant
    assert url_pattern(resource).matches(address, lenient=True) is meant


@pytest.mark.parametrize(
    "resource",
    [
        "",
        "/v1/*",
        "ftp://x/*",
        "https://*.example/*",
        "https://api.*",
        "https://api.example/*/x",
        "https://x/?q=*",
        "https://u@x/*",
        "https://x/a#b",
    ],
)
def test_a_resource_that_is_no_url_is_refused(resource: str) -> None:
    with pytest.raises(Invalid) as refusal:
        url_pattern(resource)

    assert refusal.value.field == "resource"


def test_a_star_behind_a_host_allows_that_host_and_denies_what_begins_like_it() -> None:
    pattern, other = url_pattern("https://api*"), tool_address(Tool(base_url="https://api.evil"))

    assert pattern.matches(tool_address(Tool(base_url="https://api"), "/x"), lenient=False)
    assert not pattern.matches(other, lenient=False)
    assert pattern.matches(other, lenient=True)
