"""Policy: what is judged how, whatever the order, the spelling and the tricks."""

from collections.abc import Mapping
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from domain.catalog import Capability, Permission, Policy, Rule, Tool
from domain.errors import Invalid
from domain.policy import STRICTNESS, Call, Judgement, evaluate
from domain.urls import tool_address

STRIPE = Tool(base_url="https://api.stripe.com", risk_tags=["financial"])
CHARGES = Capability(name="charges", method="POST", path="/v1/charges", risk_tags=["destructive"])
READS = Capability(name="reads", method="GET", path="/v1/*")

allow = Rule(permission="allow", resource="https://api.stripe.com/*")
deny = Rule(permission="deny", resource="https://api.stripe.com/v1/refunds*")
ask = Rule(permission="approval_required", resource="https://api.stripe.com/v1/charges")


class Judged(Struct, frozen=True):
    """What came of a call."""

    judgement: Judgement

    def then(self, permission: Permission, rule: str = "") -> str:
        """Check the judgement; returns its sentence."""
        assert (self.judgement.permission, self.judgement.rule) == (permission, rule)
        return self.judgement.detail


class Bound(Struct, frozen=True):
    """A tool, and the policies that its caller is bound to."""

    tool: Tool
    policies: Mapping[str, Policy | None]

    def when(self, method: str, path: str) -> Judged:
        """Judge a call."""
        call = Call(tool="stripe", method=method, address=tool_address(self.tool, path))
        return Judged(evaluate(call, self.tool, self.policies))


def bound(*rules: Rule, tool: Tool = STRIPE) -> Bound:
    return Bound(tool, {"p": Policy(rules=list(rules))})


def test_no_policy_is_a_deny() -> None:
    detail = Bound(STRIPE, {}).when("GET", "/v1/x").then("deny")

    assert detail == "No policy is bound to this agent, so nothing allows GET /v1/x of stripe."


def test_a_policy_that_says_nothing_is_a_deny_that_says_what_would_allow() -> None:
    detail = bound().when("GET", "/v1/x").then("deny")

    assert "https://api.stripe.com/v1/x and operation GET would" in detail


def test_a_policy_that_vanished_allows_nothing_and_is_named() -> None:
    gone = Bound(STRIPE, {"old": None, "p": Policy(rules=[ask])})

    assert "Policy old does not exist any more." in gone.when("GET", "/v1/x").then("deny")
    gone.when("GET", "/v1/charges").then("approval_required", "p#1")


def test_a_rule_is_named_by_its_policy_and_number() -> None:
    both = Bound(STRIPE, {"a": Policy(rules=[deny]), "b": Policy(rules=[ask, allow])})

    assert both.when("GET", "/v1/x").then("allow", "b#2") == "Rule b#2 allows GET /v1/x of stripe."
    both.when("GET", "/v1/charges").then("approval_required", "b#1")
    both.when("GET", "/v1/refunds/1").then("deny", "a#1")


def test_operations_are_methods_and_none_is_all() -> None:
    reads = bound(replace(allow, operations=["get", " Head"]))

    reads.when("GET", "/x").then("allow", "p#1")
    reads.when("HEAD", "/x").then("allow", "p#1")
    reads.when("POST", "/x").then("deny")
    bound(replace(allow, operations=["*"])).when("POST", "/x").then("allow", "p#1")
    bound(allow).when("POST", "/x").then("allow", "p#1")


def test_a_tag_of_the_tool_chooses_a_rule() -> None:
    bound(Rule(permission="allow", tags=["Financial"])).when("GET", "/x").then("allow", "p#1")
    bound(Rule(permission="allow", tags=["pii"])).when("GET", "/x").then("deny")


def test_a_tag_of_the_capability_that_a_call_uses_chooses_a_rule() -> None:
    tool = replace(STRIPE, capabilities=[CHARGES, READS])
    tagged = bound(allow, Rule(permission="deny", tags=["destructive"]), tool=tool)

    tagged.when("POST", "/v1/charges").then("deny", "p#2")
    tagged.when("GET", "/v1/charges").then("allow", "p#1")


def test_resource_or_tag_is_enough() -> None:
    either = Rule(permission="allow", resource="https://other.example/*", tags=["financial"])
    bound(either).when("GET", "/x").then("allow", "p#1")
    bound(replace(allow, tags=["pii"])).when("GET", "/x").then("allow", "p#1")


def test_a_rule_that_chooses_nothing_allows_nothing_and_denies_everything() -> None:
    bound(Rule(permission="allow", operations=["GET"])).when("GET", "/x").then("deny")
    everything = bound(allow, Rule(permission="deny", operations=["DELETE"]))
    everything.when("DELETE", "/x").then("deny", "p#2")
    everything.when("GET", "/x").then("allow", "p#1")


@pytest.mark.parametrize("resource", ["https://*.stripe.com/*", "/v1/*", "https://x/?a=1"])
def test_a_resource_that_cannot_be_read_fails_closed(resource: str) -> None:
    unreadable = Rule(permission="allow", resource=resource)

    bound(unreadable).when("GET", "/v1/x").then("deny")
    bound(allow, replace(unreadable, permission="deny")).when("GET", "/v1/x").then("deny", "p#2")


def test_declared_capabilities_are_all_that_a_tool_can_do() -> None:
    tool = replace(STRIPE, capabilities=[CHARGES, READS])
    able = bound(allow, tool=tool)

    able.when("POST", "/v1/charges").then("allow", "p#1")
    able.when("GET", "/v1/anything").then("allow", "p#1")
    detail = able.when("DELETE", "/v1/charges").then("deny")
    assert detail == "The tool declares no capability for DELETE /v1/charges of stripe."
    able.when("POST", "/v1/charges/1").then("deny")
    able.when("GET", "/v2").then("deny")


def test_what_needs_approval_and_no_capability_has_is_denied() -> None:
    bound(ask, tool=replace(STRIPE, capabilities=[READS])).when("PUT", "/v1/charges").then("deny")


def test_a_capability_without_a_method_takes_every_one_and_an_unreadable_path_none() -> None:
    any_method = replace(STRIPE, capabilities=[Capability(name="all", path="/v1/*")])
    unreadable = replace(STRIPE, capabilities=[Capability(name="all", path="/*/x")])

    bound(allow, tool=any_method).when("PURGE", "/v1/x").then("allow", "p#1")
    bound(allow, tool=unreadable).when("GET", "/v1/x").then("deny")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/refunds/1",
        "/v1/x/../refunds",
        "/v1/%2e%2e/v1/refunds",
        "/v1//refunds",
        "//v1/refunds",
        "/v1/%72efunds",
        "/v1%2Frefunds",
        "/v1%252frefunds",
        "/v1%5Crefunds",
        "/V1/Refunds",
        "/v1;x/refunds",
        "/v1/refunds%20",
        "/v1/%EF%BD%92efunds",
    ],
)
def test_no_spelling_slips_past_a_deny(path: str) -> None:
    bound(allow, deny).when("GET", path).then("deny", "p#2")


@pytest.mark.parametrize("path", ["/v1/x/%2e%2e%2f%2e%2e/admin", "/v1/..%5cadmin", "/v1/..;/admin"])
def test_a_path_in_disguise_is_not_even_judged(path: str) -> None:
    with pytest.raises(Invalid):
        bound(allow).when("GET", path)


@pytest.mark.parametrize(
    "path",
    ["/v1/../admin", "/v1%2F..", "/v2", "/v1x/y", "/v1%2Fx", "/V1/x", "//v1/x", "/v1;a/x"],
)
def test_no_spelling_slips_into_an_allow_or_a_capability(path: str) -> None:
    narrow = bound(Rule(permission="allow", resource="https://api.stripe.com/v1/*"))
    able = bound(allow, tool=replace(STRIPE, capabilities=[READS]))
    try:
        narrow.when("GET", path).then("deny")
        able.when("GET", path).then("deny")
    except Invalid:
        assert ".." in path


def test_an_encoded_slash_within_what_is_allowed_is_allowed() -> None:
    group = Rule(permission="allow", resource="https://api.stripe.com/projects/*")
    one = Rule(permission="allow", resource="https://api.stripe.com/projects/a%2Fb")

    bound(group).when("GET", "/projects/a%2fb").then("allow", "p#1")
    bound(one).when("GET", "/projects/a%2fb").then("allow", "p#1")
    bound(one).when("GET", "/projects/a/b").then("deny")


paths = st.lists(st.sampled_from(["v1", "refunds", "charges", "..", "", "%2e", "V1", "a%2Fb"]))
resources = st.sampled_from(
    [
        "",
        "*",
        "https://api.stripe.com/*",
        "https://api.stripe.com/v1/*",
        "https://api.stripe.com/v1/charges",
        "https://api.stripe.com*",
        "https://other.example/*",
        "nonsense/*/x",
    ]
)
rules = st.builds(
    Rule,
    permission=st.sampled_from(STRICTNESS),
    resource=resources,
    operations=st.lists(st.sampled_from(["GET", "POST"]), max_size=2),
    tags=st.lists(st.sampled_from(["financial", "pii"]), max_size=1),
)
policies = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.none() | st.builds(Policy, rules=st.lists(rules, max_size=3)),
)
tools = st.sampled_from([STRIPE, replace(STRIPE, capabilities=[CHARGES, READS])])
methods = st.sampled_from(["GET", "POST", "DELETE"])


def judged(
    tool: Tool, method: str, path: list[str], all_: Mapping[str, Policy | None]
) -> Judgement:
    return Bound(tool, all_).when(method, "/" + "/".join(path)).judgement


@given(tools, methods, paths, policies, st.randoms())
def test_the_order_of_policies_and_rules_never_changes_the_permission(
    tool: Tool, method: str, path: list[str], some: dict[str, Policy | None], random: Random
) -> None:
    names = random.sample(list(some), len(some))
    shuffled = {name: _shuffled(some[name], random) for name in names}

    before, after = judged(tool, method, path, some), judged(tool, method, path, shuffled)

    assert before.permission == after.permission


def _shuffled(policy: Policy | None, random: Random) -> Policy | None:
    return policy and Policy(rules=random.sample(policy.rules, len(policy.rules)))


@given(tools, methods, paths, policies)
def test_deny_always_wins(
    tool: Tool, method: str, path: list[str], some: dict[str, Policy | None]
) -> None:
    denied = {**some, "z": Policy(rules=[Rule(permission="deny", resource="*")])}

    assert judged(tool, method, path, denied).permission == "deny"


@given(tools, methods, paths, policies)
def test_only_an_allow_rule_allows(
    tool: Tool, method: str, path: list[str], some: dict[str, Policy | None]
) -> None:
    judgement = judged(tool, method, path, some)

    if judgement.permission == "allow":
        name, _, number = judgement.rule.partition("#")
        policy = some[name]
        assert policy is not None
        assert policy.rules[int(number) - 1].permission == "allow"


@given(tools, methods, paths, policies, st.sampled_from(["a", "b", "c"]), rules)
def test_a_restricting_rule_more_never_permits_more(
    tool: Tool, method: str, path: list[str], some: dict[str, Policy | None], name: str, rule: Rule
) -> None:
    policy = some.get(name) or Policy()
    stricter = replace(rule, permission="deny" if rule.permission == "allow" else rule.permission)
    more = {**some, name: Policy(rules=[*policy.rules, stricter])}

    before, after = judged(tool, method, path, some), judged(tool, method, path, more)

    if before.permission == "allow":
        assert STRICTNESS.index(after.permission) >= STRICTNESS.index(before.permission)
    else:
        assert after.permission != "allow"
