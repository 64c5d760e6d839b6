"""`argosy gc`: hands over to the server's collection of garbage, on the machine of its data."""

from pathlib import Path

import click

from argosy.cli.checkout import hand_over
from argosy.cli.options import data_dir_option, json_option


@click.command(name="gc")
@click.option("--delete", is_flag=True, help="Do it; without, only say what would be done.")
@click.option("--grace-hours", default="24", show_default=True, help="Nothing younger is touched.")
@data_dir_option
@json_option
def command(delete: bool, grace_hours: str, data_dir: Path | None, as_json: bool) -> None:
    """Remove blobs that nothing needs: those of agents that were deleted.

    What a version of an agent or a run still needs stays, for good. The rest is set aside first,
    and removed by a later collection. Safe beside a running server.
    """
    arguments = ["--grace-hours", grace_hours]
    arguments += [*(["--delete"] if delete else []), *(["--json"] if as_json else [])]
    hand_over("gc", ["api", "gc", *arguments], data_dir)
