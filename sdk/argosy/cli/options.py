"""Options that several commands take."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

F = TypeVar("F", bound=Callable[..., object])


def json_option(function: F) -> F:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(
        function
    )


def data_dir_option(function: F) -> F:
    """Add --data-dir."""
    return click.option(
        "--data-dir",
        default=None,
        type=click.Path(path_type=Path),
        help="Where everything is kept; ARGOSY_DATA, or .argosy here.",
    )(function)


def workspace_option(function: F) -> F:
    """Add --workspace."""
    return click.option(
        "-w", "--workspace", default="", metavar="SLUG", help="Not the one in use, but this."
    )(function)


def page_options(function: F) -> F:
    """Add --limit, --cursor and --all."""
    for option in (
        click.option("--all", "everything", is_flag=True, help="All pages."),
        click.option("--cursor", default="", help="Go on where a page ended (next_cursor)."),
        click.option(
            "--limit",
            default=20,
            show_default=True,
            type=click.IntRange(1, 200),
            help="Most on this page.",
        ),
    ):
        function = option(function)
    return function
