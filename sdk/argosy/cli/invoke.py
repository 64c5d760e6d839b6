"""`argosy invoke`: one message to one deployment."""

import sys
from typing import Any

import click

from argosy.cli.options import json_option, workspace_option
from argosy.cli.output import clean, paint, print_json, print_text, step


@click.command(name="invoke")
@click.argument("deployment")
@click.option("-m", "--message", required=True, help="What the agent is told; - reads stdin.")
@click.option("-f", "--follow", is_flag=True, help="Show what it does while it does it.")
@click.option("--no-wait", is_flag=True, help="Print the run's id and leave it running.")
@click.option("--context", default=None, metavar="JSON", help="An object for the agent's code.")
@click.option("--user", "user_id", default=None, help="On whose behalf.")
@workspace_option
@json_option
def command(
    *,
    deployment: str,
    message: str,
    follow: bool,
    no_wait: bool,
    context: str | None,
    user_id: str | None,
    workspace: str,
    as_json: bool,
) -> int:
    """Send a message to DEPLOYMENT, wait, and print the output.

    The exit code says how the run ended: 0 completed, 1 failed, 3 cancelled. --json prints the
    finished run as one object; with --follow its events then go to stderr. Ctrl-C detaches.
    """
    if follow and no_wait:
        raise click.UsageError("--follow and --no-wait exclude each other.")
    if message == "-":
        message = sys.stdin.read()

    from argosy.cli.connecting import connect
    from argosy.cli.exits import ENDINGS, FAILED

    with connect(workspace) as client:
        run = client.runs.start(deployment, message, context=_object(context), user_id=user_id)
        if no_wait:
            print_json(run) if as_json else print(run.id)
            return 0
        try:
            if follow:
                _watch(client, run.id, to_stderr=as_json)
                run = client.runs.whole(client.runs.get(run.id))
            else:
                run = client.runs.wait(run.id)
        except KeyboardInterrupt:
            step(
                f"Detached; the run goes on. `argosy run events {run.id} --follow` shows it, "
                f"`argosy run cancel {run.id}` ends it."
            )
            raise
    if as_json:
        print_json(run)
    elif run.output and not (follow and run.status != "completed"):
        print_text(run.output)
    if run.status != "completed" and not as_json:
        why = ": ".join(part for part in (run.reason, run.detail) if part)
        click.echo(f"{paint(f'The run {run.status}', 'red', sys.stderr)} ({clean(why)}).", err=True)
        step(f"More: argosy run events {run.id}")
    return ENDINGS.get(run.status, FAILED)


def _watch(client: Any, run_id: str, *, to_stderr: bool) -> None:
    """Print what a run does, to its end."""
    from argosy.cli.connecting import lost
    from argosy.cli.narrate import Narrator

    narrator = Narrator(sys.stderr if to_stderr else sys.stdout)
    try:
        for event in client.runs.follow(run_id, lost=lost):
            narrator.tell(event)
    finally:
        narrator.end()


def _object(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    import json

    try:
        found = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"not JSON: {error}.", param_hint="--context") from None
    if not isinstance(found, dict):
        raise click.BadParameter("must be a JSON object.", param_hint="--context")
    return found  # pyright: ignore[reportUnknownVariableType] - as JSON has it
