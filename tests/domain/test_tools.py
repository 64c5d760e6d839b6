"""Tools: what may be declared, and what stays of the one that had the name before."""

from typing import Any

import pytest
from msgspec.structs import replace

from domain.catalog import ApiKeyPlace, Capability, OAuth2Client, Tool
from domain.errors import Invalid
from domain.tools import ECHO_ADDRESS, BasicTool, declared, lacking
from domain.urls import tool_address

PLAIN = Tool(base_url="https://api.example.com")
KEYED = replace(PLAIN, auth_type="APIKey", api_key=ApiKeyPlace(), credential="ref-1")
CLIENT = OAuth2Client(token_url="https://id.example.com/token", client_id="c")
OAUTH = replace(PLAIN, auth_type="OAuth2", oauth2=CLIENT, credential="ref-2")


def named(field: str) -> str:
    return field


def stored(wanted: Tool, current: Tool | None = None, credential: str | None = None) -> Tool:
    return declared(wanted, current, named, credential=credential)


def test_a_credential_that_is_given_is_stored_by_its_reference() -> None:
    assert stored(replace(KEYED, credential="not this"), None, "ref-9").credential == "ref-9"
    assert stored(replace(KEYED, credential="not this")).credential == ""


def test_one_that_is_there_is_kept_unless_another_comes() -> None:
    assert stored(KEYED, KEYED).credential == "ref-1"
    assert stored(KEYED, KEYED, "ref-9").credential == "ref-9"
    assert stored(KEYED, KEYED, "").credential == ""


@pytest.mark.parametrize(
    "moved",
    [
        replace(KEYED, base_url="https://elsewhere.example.com"),
        replace(KEYED, base_url="http://api.example.com"),
        replace(KEYED, port=8443),
    ],
)
def test_it_does_not_go_to_another_address(moved: Tool) -> None:
    """Who may declare tools, and not read their keys, could have one sent to a place of theirs."""
    with pytest.raises(Invalid) as caught:
        stored(moved, KEYED)

    assert caught.value.members == {"field": "credential"}
    assert stored(moved, KEYED, "ref-9").credential == "ref-9"


def test_a_client_secret_does_not_go_to_another_issuer() -> None:
    elsewhere = replace(CLIENT, token_url="https://elsewhere.example.com/token")

    with pytest.raises(Invalid):
        stored(replace(OAUTH, oauth2=elsewhere), OAUTH)

    other_path = replace(CLIENT, token_url="https://id.example.com/v2/token")
    assert stored(replace(OAUTH, oauth2=other_path), OAUTH).credential == "ref-2"


def test_another_way_to_authenticate_needs_another_credential() -> None:
    assert stored(OAUTH, KEYED).credential == ""
    plain = stored(replace(KEYED, auth_type="None"), KEYED)
    assert (plain.credential, plain.api_key) == ("", None)
    with pytest.raises(Invalid):
        stored(PLAIN, None, "ref-9")


def test_what_a_tool_lacks_is_said() -> None:
    assert lacking(PLAIN, has_credential=False) == ""
    assert lacking(KEYED, has_credential=True) == lacking(OAUTH, has_credential=True) == ""
    assert "credentials" in lacking(KEYED, has_credential=False)
    assert "OAuth2 client" in lacking(replace(OAUTH, oauth2=None), has_credential=True)


@pytest.mark.parametrize(
    ("base_url", "port", "scheme", "says"),
    [
        ("https://a.example", 0, "HTTPS", (443, "HTTPS", "https://a.example/")),
        ("https://a.example/v1/", 8443, "HTTPS", (8443, "HTTPS", "https://a.example:8443/v1/")),
        ("http://a.example", 443, "HTTPS", (80, "HTTP", "http://a.example/")),
        ("http://a.example:9000", 443, "HTTPS", (9000, "HTTP", "http://a.example:9000/")),
        ("http://[::1]:9000", 443, "HTTPS", (9000, "HTTP", "http://[::1]:9000/")),
        ("https://a.example:443", 80, "HTTP", (443, "HTTPS", "https://a.example/")),
    ],
)
def test_the_base_url_says_scheme_and_port_where_it_says_them(
    base_url: str, port: int, scheme: Any, says: tuple[int, str, str]
) -> None:
    """The clients send 443 and HTTPS unasked."""
    tool = stored(Tool(base_url=base_url, port=port, scheme=scheme))

    assert (tool.port, tool.scheme, tool_address(tool).url) == says


def test_only_the_built_in_address_is_served_here() -> None:
    assert stored(Tool(base_url=ECHO_ADDRESS)).serves == "echo"
    assert stored(replace(PLAIN, serves="echo")).serves == ""


def test_a_tool_in_passing_keeps_what_is_special_about_the_one_there_is() -> None:
    """Without its capabilities a tool would let everything through."""
    only = Capability(name="list", method="GET", path="/v1/charges")
    there = replace(KEYED, capabilities=[only], risk_tags=["money"], description="Charges")

    kept = BasicTool(base_url=there.base_url).over(there)
    changed = BasicTool(base_url="https://new.example", description="", auth_type="None").over(
        there
    )

    assert kept == there
    assert (changed.capabilities, changed.risk_tags) == ([only], ["money"])
    assert (changed.description, changed.auth_type) == ("", "None")


def test_a_port_goes_with_its_address() -> None:
    there = replace(PLAIN, port=8443)

    assert BasicTool(base_url=there.base_url).over(there).port == 8443
    assert BasicTool(base_url="https://new.example").over(there).port == 0


def test_methods_are_in_capitals() -> None:
    tool = stored(replace(PLAIN, capabilities=[Capability(name="a", method="get")]))

    assert tool.capabilities[0].method == "GET"


BAD: list[tuple[Tool, str]] = [
    (replace(PLAIN, base_url="ftp://a.example"), "base_url"),
    (replace(PLAIN, base_url="https://"), "base_url"),
    (replace(PLAIN, base_url="https://a b.example"), "base_url"),
    (replace(PLAIN, base_url="https://a.example:0"), "base_url"),
    (replace(PLAIN, base_url="https://a.example:99999"), "base_url"),
    (replace(PLAIN, base_url="https://[::1"), "base_url"),
    (replace(PLAIN, base_url="https://me:secret@a.example"), "base_url"),
    (replace(PLAIN, base_url="https://a.example/?key=secret"), "base_url"),
    (replace(PLAIN, base_url="https://a.example/#x"), "base_url"),
    (replace(PLAIN, base_url="https://a.example/\n"), "base_url"),
    (replace(PLAIN, base_url="https://ä.example"), "base_url"),
    (replace(PLAIN, base_url="https://a.example/" + "x" * 2000), "base_url"),
    (replace(PLAIN, base_url="http://other.argosy.internal"), "base_url"),
    (replace(PLAIN, port=-1), "port"),
    (replace(PLAIN, port=65536), "port"),
    (replace(PLAIN, description="x" * 10_001), "description"),
    (replace(PLAIN, capabilities=[Capability(name="a")] * 501), "capabilities"),
    (replace(PLAIN, capabilities=[Capability(name=" ")]), "capabilities[0].name"),
    (replace(PLAIN, capabilities=[Capability(name="a")] * 2), "capabilities[1].name"),
    (replace(PLAIN, capabilities=[Capability(name="a", method="FETCH")]), "capabilities[0].method"),
    (replace(PLAIN, capabilities=[Capability(name="a", path="v1")]), "capabilities[0].path"),
    (replace(PLAIN, capabilities=[Capability(name="a", path="/*/b")]), "capabilities[0].path"),
    (replace(KEYED, api_key=ApiKeyPlace(name="X-Key\r\nHost")), "api_key.name"),
    (replace(KEYED, api_key=ApiKeyPlace(value_prefix="a\n")), "api_key.value_prefix"),
    (replace(OAUTH, oauth2=replace(CLIENT, token_url="id")), "oauth2.token_url"),
    (
        replace(OAUTH, oauth2=replace(CLIENT, parameters={"Client_Secret": "x"})),
        "oauth2.parameters.client_secret",
    ),
]


@pytest.mark.parametrize(("tool", "field"), BAD, ids=lambda each: str(each)[:60])
def test_what_makes_no_sense_is_refused_by_its_field(tool: Tool, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        stored(tool)

    assert caught.value.members["field"] == field
