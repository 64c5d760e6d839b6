"""`argosy workspace`: tenancy, and which one commands mean."""

import click

from argosy.cli.group import Noun
from argosy.cli.options import json_option, page_options
from argosy.cli.output import ago, print_json, print_table


@click.group(name="workspace", cls=Noun)
def command() -> None:
    """Workspaces, and which one is in use."""


@command.command("create")
@click.argument("slug")
@click.option("--name", default=None, help="A name for people; the slug by default.")
@json_option
def create(slug: str, name: str | None, as_json: bool) -> None:
    """Make a workspace."""
    from argosy.cli.connecting import connect

    with connect() as client:
        made = client.workspaces.create(slug, name=name)
    if as_json:
        print_json(made)
    else:
        print(f"Made the workspace {made.slug}. `argosy workspace use {made.slug}` chooses it.")


@command.command("list")
@page_options
@json_option
def show_all(limit: int, cursor: str, everything: bool, as_json: bool) -> None:
    """List the workspaces; the one in use has a star."""
    from argosy.cli.connecting import connect, read_page

    with connect() as client:
        workspaces = client.workspaces
        page = read_page(
            lambda: workspaces.list(limit=limit, cursor=cursor),
            workspaces.all,
            everything=everything,
        )
    if as_json:
        print_json(page)
        return
    rows = [
        (
            "*" if client.workspace in (each.slug, each.id) else "",
            each.slug,
            each.name,
            each.status,
            ago(each.created_at),
            each.id,
        )
        for each in page.items
    ]
    print_table(("", "SLUG", "NAME", "STATUS", "MADE", "ID"), rows, empty="No workspaces.")


@command.command("use")
@click.argument("slug")
@json_option
def use(slug: str, as_json: bool) -> None:
    """Let commands mean this workspace of this server from now on."""
    import os

    from argosy.cli.connecting import connect
    from argosy.config import store_workspace

    with connect() as client:
        found = client.workspaces.get(slug)
        file = store_workspace(client.url, found.slug)
    if as_json:
        print_json({"workspace": found.slug, "file": str(file)})
        return
    print(f"Using the workspace {found.slug} at {client.url}.")
    if os.environ.get("ARGOSY_WORKSPACE", found.slug) != found.slug:
        click.echo("ARGOSY_WORKSPACE is set and still goes first; unset it.", err=True)
