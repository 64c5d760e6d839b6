"""`argosy agent`: what is deployed, by name."""

import sys

import click

from argosy.cli.group import Noun
from argosy.cli.options import json_option, page_options, workspace_option
from argosy.cli.output import ago, print_fields, print_json, print_table


@click.group(name="agent", cls=Noun)
def command() -> None:
    """Agents and their versions."""


@command.command("list")
@page_options
@workspace_option
@json_option
def show_all(limit: int, cursor: str, everything: bool, workspace: str, as_json: bool) -> None:
    """List the agents, newest first."""
    from argosy.cli.connecting import connect, read_page

    with connect(workspace) as client:
        agents = client.agents
        page = read_page(
            lambda: agents.list(limit=limit, cursor=cursor), agents.all, everything=everything
        )
    if as_json:
        print_json(page)
        return
    rows = [
        (each.name, each.status, str(each.latest_version or "-"), ago(each.updated_at), each.id)
        for each in page.items
    ]
    headers = ("NAME", "STATUS", "VERSION", "CHANGED", "ID")
    print_table(headers, rows, empty="No agents yet: `argosy deploy FOLDER` makes one.")


@command.command("show")
@click.argument("agent")
@workspace_option
@json_option
def show(agent: str, workspace: str, as_json: bool) -> None:
    """Show one agent, by name or id, and its versions."""
    from argosy.cli.connecting import connect

    with connect(workspace) as client:
        found = client.agents.get(agent)
    if as_json:
        print_json(found)
        return
    versions = sorted(found.versions, key=lambda each: -each.version)
    images = [each.image_uri for each in versions if each.image_uri and each.status == "ready"]
    print_fields(
        [
            ("name", found.name),
            ("id", found.id),
            ("status", found.status),
            ("created", ago(found.created_at)),
            ("changed", ago(found.updated_at)),
            *([("image", images[0])] if images else []),
        ]
    )
    print()
    rows = [
        (str(each.version), each.status, each.mode, each.detail or each.reason) for each in versions
    ]
    print_table(("VERSION", "STATUS", "MODE", "WHY"), rows, empty="No versions.")


@command.command("delete")
@click.argument("agent")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@workspace_option
@json_option
def delete(agent: str, yes: bool, workspace: str, as_json: bool) -> None:
    """Delete an agent and its deployment. Runs in flight go on."""
    from argosy.cli.connecting import connect

    if not yes and sys.stdin.isatty() and not as_json:
        click.confirm(f"Delete the agent {agent} and its deployment?", abort=True, err=True)
    with connect(workspace) as client:
        client.agents.delete(agent)
    if as_json:
        print_json({"deleted": agent})
    else:
        print(f"Deleted {agent}.")
