"""Policies: what their rules may say."""

import pytest

from domain.catalog import Policy, Rule
from domain.errors import Invalid
from domain.policies import check_policy

ANY = Rule(permission="allow", resource="*")


def test_good_rules_are_kept_with_methods_in_capitals() -> None:
    rules = [
        ANY,
        Rule(permission="deny", resource="https://a.example/v1/*", operations=["get", "POST"]),
        Rule(permission="approval_required", tags=["money"]),
    ]

    checked = check_policy(Policy(rules=rules), field="rules")

    assert [rule.operations for rule in checked.rules] == [[], ["GET", "POST"], []]
    assert [rule.resource for rule in checked.rules] == ["*", "https://a.example/v1/*", ""]


BAD: list[tuple[Rule, str]] = [
    (Rule(permission="deny"), "rules[1].resource"),
    (Rule(permission="deny", resource="ftp://a.example/*"), "rules[1].resource"),
    (Rule(permission="deny", resource="https://*.example/"), "rules[1].resource"),
    (Rule(permission="deny", resource="https://a.example/?x"), "rules[1].resource"),
    (Rule(permission="deny", resource="https://a.example/" + "x" * 2000), "rules[1].resource"),
    (Rule(permission="deny", resource="*", operations=["GET", "READ"]), "rules[1].operations[1]"),
    (Rule(permission="deny", tags=["money", " "]), "rules[1].tags[1]"),
]


@pytest.mark.parametrize(("rule", "field"), BAD, ids=lambda each: str(each)[:60])
def test_a_rule_that_could_never_match_is_refused(rule: Rule, field: str) -> None:
    """A deny that matches nothing lets everything through."""
    with pytest.raises(Invalid) as caught:
        check_policy(Policy(rules=[ANY, rule]), field="rules")

    assert caught.value.members["field"] == field


def test_there_may_be_too_many() -> None:
    with pytest.raises(Invalid):
        check_policy(Policy(rules=[ANY] * 501), field="rules")
