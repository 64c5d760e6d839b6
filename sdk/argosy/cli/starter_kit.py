"""`argosy starter-kit`: a tool, a model and a policy to begin with."""

import click

from argosy.cli.options import json_option, workspace_option
from argosy.cli.output import print_json


@click.command(name="starter-kit")
@workspace_option
@json_option
def command(workspace: str, as_json: bool) -> None:
    """Make a tool that echoes, a model that needs no key, and a policy that allows the tool.

    What is there already stays as it is.
    """
    from argosy.cli.connecting import connect

    with connect(workspace) as client:
        kit = client.seed_starter_kit()
    if as_json:
        print_json(kit)
        return
    for noun, name in (
        ("tool", kit.tool),
        ("model provider", kit.model_provider),
        ("policy", kit.policy),
    ):
        print(f"{noun:<16}{name:<20}{'made' if name in kit.created else 'was there'}")
