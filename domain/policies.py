"""Policies: what their rules may say. A rule that could never match is refused, not kept."""

from msgspec.structs import replace

from domain.catalog import Policy, Rule
from domain.errors import Invalid
from domain.tools import check_method
from domain.urls import url_pattern

MAX_RULES = 500
MAX_RESOURCE = 2_000
MAX_TAG = 100


def check_policy(policy: Policy, *, field: str) -> Policy:
    """Return a policy with methods in capitals. `field`: what the body calls its rules.

    Raises Invalid: a deny rule with a slip in it would let through what it was made to stop.
    """
    if len(policy.rules) > MAX_RULES:
        raise Invalid(f"{field} has at most {MAX_RULES} rules.", field=field)
    rules = [_rule(rule, f"{field}[{number}]") for number, rule in enumerate(policy.rules)]
    return replace(policy, rules=rules)


def _rule(rule: Rule, place: str) -> Rule:
    if not rule.resource and not rule.tags:
        raise Invalid(
            f"{place} chooses nothing: give it a resource (* for everything) or tags.",
            field=f"{place}.resource",
        )
    if rule.resource:
        _check_resource(rule.resource, f"{place}.resource")
    for number, tag in enumerate(rule.tags):
        if not tag.strip() or len(tag) > MAX_TAG:
            where = f"{place}.tags[{number}]"
            raise Invalid(f"{where} must have 1 to {MAX_TAG} characters.", field=where)
    operations = [
        check_method(method, field=f"{place}.operations[{number}]")
        for number, method in enumerate(rule.operations)
    ]
    return replace(rule, operations=operations)


def _check_resource(resource: str, place: str) -> None:
    if len(resource) > MAX_RESOURCE:
        raise Invalid(f"{place} has at most {MAX_RESOURCE} characters.", field=place)
    try:
        url_pattern(resource)
    except Invalid as refusal:
        raise Invalid(f"{place}: {refusal.detail}", field=place) from None
