"""`argosy model-provider`: where the models are that agents use."""

import click

from argosy.cli.documents import add_apply, add_delete
from argosy.cli.group import Noun
from argosy.cli.options import json_option, page_options, workspace_option
from argosy.cli.output import ago, print_fields, print_json, print_table


@click.group(name="model-provider", cls=Noun)
def command() -> None:
    """Model providers: where models are, and the keys to them."""


@command.command("list")
@page_options
@workspace_option
@json_option
def show_all(limit: int, cursor: str, everything: bool, workspace: str, as_json: bool) -> None:
    """List the model providers, newest first."""
    from argosy.cli.connecting import connect, read_page

    with connect(workspace) as client:
        providers = client.model_providers
        page = read_page(
            lambda: providers.list(limit=limit, cursor=cursor), providers.all, everything=everything
        )
    if as_json:
        print_json(page)
        return
    rows = [
        (
            each.name,
            each.vendor,
            each.lacks or "ready",
            ago(each.updated_at),
            ", ".join(each.models),
        )
        for each in page.items
    ]
    headers = ("NAME", "VENDOR", "STATE", "CHANGED", "MODELS")
    empty = "No model providers yet: `argosy starter-kit` makes one that needs no key."
    print_table(headers, rows, empty=empty)


@command.command("show")
@click.argument("name")
@workspace_option
@json_option
def show(name: str, workspace: str, as_json: bool) -> None:
    """Show one model provider, but never its key."""
    from argosy.cli.connecting import connect

    with connect(workspace) as client:
        provider = client.model_providers.get(name)
    if as_json:
        print_json(provider)
        return
    limit = provider.requests_per_minute
    print_fields(
        [
            ("name", provider.name),
            ("id", provider.id),
            ("revision", str(provider.revision)),
            ("vendor", provider.vendor),
            ("endpoint", provider.endpoint or "the vendor's own"),
            ("models", "\n".join(provider.models)),
            ("key", "kept in the vault" if provider.has_credential else ""),
            ("lacks", provider.lacks),
            ("limit", f"{limit} requests a minute" if limit else ""),
            ("changed", ago(provider.updated_at)),
        ]
    )


add_apply(command, "model provider", lambda client: client.model_providers, keyed=True)
add_delete(
    command,
    "model provider",
    lambda client: client.model_providers,
    "Calls of its models are then refused.",
)
