"""`argosy policy`: what agents that are bound to one may call."""

import click

from argosy.cli.documents import add_apply, add_delete
from argosy.cli.group import Noun
from argosy.cli.options import json_option, page_options, workspace_option
from argosy.cli.output import ago, print_fields, print_json, print_table


@click.group(name="policy", cls=Noun)
def command() -> None:
    """Policies: which calls of tools are allowed."""


@command.command("list")
@page_options
@workspace_option
@json_option
def show_all(limit: int, cursor: str, everything: bool, workspace: str, as_json: bool) -> None:
    """List the policies, newest first."""
    from argosy.cli.connecting import connect, read_page

    with connect(workspace) as client:
        policies = client.policies
        page = read_page(
            lambda: policies.list(limit=limit, cursor=cursor), policies.all, everything=everything
        )
    if as_json:
        print_json(page)
        return
    rows = [
        (each.name, str(len(each.rules)), ago(each.updated_at), ", ".join(each.used_by) or "-")
        for each in page.items
    ]
    print_table(("NAME", "RULES", "CHANGED", "USED BY"), rows, empty="No policies yet.")


@command.command("show")
@click.argument("name")
@workspace_option
@json_option
def show(name: str, workspace: str, as_json: bool) -> None:
    """Show one policy and its rules."""
    from argosy.cli.connecting import connect

    with connect(workspace) as client:
        policy = client.policies.get(name)
    if as_json:
        print_json(policy)
        return
    print_fields(
        [
            ("name", policy.name),
            ("id", policy.id),
            ("revision", str(policy.revision)),
            ("used by", ", ".join(policy.used_by)),
            ("changed", ago(policy.updated_at)),
        ]
    )
    print()
    rows = [
        (
            str(number),
            str(rule.get("permission", "")),
            ", ".join(rule.get("operations", [])) or "any",
            ", ".join(rule.get("tags", [])) or "-",
            str(rule.get("resource") or "-"),
        )
        for number, rule in enumerate(policy.rules, start=1)
    ]
    headers = ("RULE", "PERMISSION", "OPERATIONS", "TAGS", "RESOURCE")
    print_table(headers, rows, empty="No rules: it allows nothing.")


add_apply(command, "policy", lambda client: client.policies, keyed=False)
add_delete(
    command,
    "policy",
    lambda client: client.policies,
    "To agents that are bound to it, it then says nothing.",
)
