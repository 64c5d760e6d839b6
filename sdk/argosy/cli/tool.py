"""`argosy tool`: what agents may call through the gateway."""

import click

from argosy.cli.documents import add_apply, add_delete
from argosy.cli.group import Noun
from argosy.cli.options import json_option, page_options, workspace_option
from argosy.cli.output import ago, print_fields, print_json, print_table


@click.group(name="tool", cls=Noun)
def command() -> None:
    """Tools: services that agents call."""


@command.command("list")
@page_options
@workspace_option
@json_option
def show_all(limit: int, cursor: str, everything: bool, workspace: str, as_json: bool) -> None:
    """List the tools, newest first."""
    from argosy.cli.connecting import connect, read_page

    with connect(workspace) as client:
        tools = client.tools
        page = read_page(
            lambda: tools.list(limit=limit, cursor=cursor), tools.all, everything=everything
        )
    if as_json:
        print_json(page)
        return
    rows = [
        (each.name, each.auth_type, each.lacks or "ready", ago(each.updated_at), each.address)
        for each in page.items
    ]
    headers = ("NAME", "AUTH", "STATE", "CHANGED", "ADDRESS")
    empty = "No tools yet: `argosy starter-kit` makes one, `argosy tool apply` your own."
    print_table(headers, rows, empty=empty)


@command.command("show")
@click.argument("name")
@workspace_option
@json_option
def show(name: str, workspace: str, as_json: bool) -> None:
    """Show one tool, but never its credential."""
    from argosy.cli.connecting import connect

    with connect(workspace) as client:
        tool = client.tools.get(name)
    if as_json:
        print_json(tool)
        return
    print_fields(
        [
            ("name", tool.name),
            ("id", tool.id),
            ("revision", str(tool.revision)),
            ("address", tool.address),
            ("description", tool.description),
            ("authentication", tool.auth_type),
            ("credential", "kept in the vault" if tool.has_credential else ""),
            ("lacks", tool.lacks),
            ("risk tags", ", ".join(tool.risk_tags)),
            ("changed", ago(tool.updated_at)),
        ]
    )
    print()
    rows = [
        (
            str(each.get("name", "")),
            str(each.get("method") or "any"),
            str(each.get("path", "")),
            str(each.get("description", "")),
        )
        for each in tool.capabilities
    ]
    headers = ("CAPABILITY", "METHOD", "PATH", "WHAT IT DOES")
    print_table(headers, rows, empty="No capabilities are named: policies alone decide.")


add_apply(command, "tool", lambda client: client.tools, keyed=True)
add_delete(
    command, "tool", lambda client: client.tools, "Agents that require it wait until it is back."
)
