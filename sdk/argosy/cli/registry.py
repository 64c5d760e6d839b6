"""`argosy registry`: what private images are fetched with."""

import click

from argosy.cli.documents import add_apply, add_delete
from argosy.cli.group import Noun
from argosy.cli.options import json_option, page_options, workspace_option
from argosy.cli.output import ago, print_fields, print_json, print_table


@click.group(name="registry", cls=Noun)
def command() -> None:
    """Registries of private images, and the passwords to them."""


@command.command("list")
@page_options
@workspace_option
@json_option
def show_all(limit: int, cursor: str, everything: bool, workspace: str, as_json: bool) -> None:
    """List the registries, newest first."""
    from argosy.cli.connecting import connect, read_page

    with connect(workspace) as client:
        registries = client.registries
        page = read_page(
            lambda: registries.list(limit=limit, cursor=cursor),
            registries.all,
            everything=everything,
        )
    if as_json:
        print_json(page)
        return
    rows = [
        (each.name, each.host, each.username, each.lacks or "ready", ago(each.updated_at))
        for each in page.items
    ]
    headers = ("NAME", "HOST", "USER", "STATE", "CHANGED")
    print_table(headers, rows, empty="No registries yet: public images need none.")


@command.command("show")
@click.argument("name")
@workspace_option
@json_option
def show(name: str, workspace: str, as_json: bool) -> None:
    """Show one registry, but never its password."""
    from argosy.cli.connecting import connect

    with connect(workspace) as client:
        registry = client.registries.get(name)
    if as_json:
        print_json(registry)
        return
    print_fields(
        [
            ("name", registry.name),
            ("id", registry.id),
            ("revision", str(registry.revision)),
            ("host", registry.host),
            ("user", registry.username),
            ("password", "kept in the vault" if registry.has_credential else ""),
            ("lacks", registry.lacks),
            ("changed", ago(registry.updated_at)),
        ]
    )


add_apply(command, "registry", lambda client: client.registries, keyed=True)
add_delete(
    command,
    "registry",
    lambda client: client.registries,
    "Its images cannot be fetched any more; those that were stay.",
)
