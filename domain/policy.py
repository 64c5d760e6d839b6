"""Policy: may this call of a tool be made? (RunAgents contract §7.2)

A rule is about a call if its operations hold the method (none: every method) and it names the
call's URL **or** shares a risk tag with the tool or with a capability that the call uses.
deny > approval_required > allow > nothing said, which is a deny. Then, if the tool declares
capabilities, one of them has to be the call's. The order of policies and rules changes nothing.

Fails closed: a path that servers may read differently is judged in both readings (`urls.py`)
and the stricter judgement counts; a rule that chooses nothing, or whose resource cannot be read,
allows nothing, and denies or asks for everything.
"""

from collections.abc import Iterator, Mapping

from msgspec import Struct

from domain.catalog import Capability, Permission, Policy, Rule, Tool
from domain.errors import Invalid
from domain.urls import Address, path_pattern, url_pattern

STRICTNESS: tuple[Permission, ...] = ("allow", "approval_required", "deny")


class Call(Struct, frozen=True, kw_only=True):
    """What an agent asks for. `tool` is the tool's name, `method` in capitals."""

    tool: str
    method: str
    address: Address

    @property
    def sentence(self) -> str:
        """What people read: `POST /v1/refunds of stripe-api`."""
        return f"{self.method} {self.address.path} of {self.tool}"


class Judgement(Struct, frozen=True):
    """The answer. `rule`: `<policy>#<number>` that decided, from 1; empty if none did."""

    permission: Permission
    detail: str
    rule: str = ""


def evaluate(call: Call, tool: Tool, policies: Mapping[str, Policy | None]) -> Judgement:
    """Judge a call by the policies that an agent is bound to; None for one that does not exist."""
    readings = [_judge(call, tool, policies, lenient=lenient) for lenient in (False, True)]
    return max(readings, key=lambda reading: STRICTNESS.index(reading.permission))


def _judge(
    call: Call, tool: Tool, policies: Mapping[str, Policy | None], *, lenient: bool
) -> Judgement:
    capabilities = [each for each in tool.capabilities if _is_meant(each, call, lenient=lenient)]
    tags = {*tool.risk_tags, *(tag for each in capabilities for tag in each.risk_tags)}
    folded = {tag.casefold() for tag in tags}
    # The first rule of each permission is the one that is named.
    found = {
        rule.permission: name
        for name, rule in reversed(list(_rules(policies)))
        if _is_about(rule, call, folded, lenient=lenient)
    }
    if name := found.get("deny"):
        return Judgement("deny", f"Rule {name} denies {call.sentence}.", name)
    if not found:
        return Judgement("deny", _unsaid(call, policies))
    if tool.capabilities and not capabilities:
        return Judgement("deny", f"The tool declares no capability for {call.sentence}.")
    if name := found.get("approval_required"):
        detail = f"Rule {name} asks for approval of {call.sentence}."
        return Judgement("approval_required", detail, name)
    name = found["allow"]
    return Judgement("allow", f"Rule {name} allows {call.sentence}.", name)


def _rules(policies: Mapping[str, Policy | None]) -> Iterator[tuple[str, Rule]]:
    for name, policy in policies.items():
        for number, rule in enumerate(policy.rules if policy else [], start=1):
            yield f"{name}#{number}", rule


def _is_about(rule: Rule, call: Call, tags: set[str], *, lenient: bool) -> bool:
    operations = {operation.strip().upper() for operation in rule.operations}
    if operations and call.method not in operations and "*" not in operations:
        return False
    if any(tag.casefold() in tags for tag in rule.tags):
        return True
    closed = rule.permission != "allow"
    if not rule.resource:
        return closed and not rule.tags
    try:
        return url_pattern(rule.resource).matches(call.address, lenient=lenient)
    except Invalid:
        return closed


def _is_meant(capability: Capability, call: Call, *, lenient: bool) -> bool:
    if capability.method.upper() not in {"", "*", call.method}:
        return False
    try:
        return path_pattern(capability.path).matches(call.address.path, lenient=lenient)
    except Invalid:
        return False


def _unsaid(call: Call, policies: Mapping[str, Policy | None]) -> str:
    """Say why nothing allows a call, and what would."""
    if not policies:
        return f"No policy is bound to this agent, so nothing allows {call.sentence}."
    gone = [name for name, policy in policies.items() if policy is None]
    lost = f" Policy {', '.join(gone)} does not exist any more." if gone else ""
    return (
        f"No rule of the agent's policies allows {call.sentence}.{lost} A rule with resource"
        f" {call.address.url} and operation {call.method} would."
    )
