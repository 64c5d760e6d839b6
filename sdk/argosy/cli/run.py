"""`argosy run`: what was asked of agents, and what came of it."""

import sys
from pathlib import Path

import click

from argosy.cli.group import Noun
from argosy.cli.options import json_option, page_options, workspace_option
from argosy.cli.output import (
    ago,
    print_fields,
    print_json,
    print_json_line,
    print_table,
    size,
    step,
)

STATUSES = ("waiting", "running", "cancelling", "completed", "failed", "cancelled")


@click.group(name="run", cls=Noun)
def command() -> None:
    """Runs."""


@command.command("list")
@click.option("--deployment", default="", metavar="SLUG", help="Only its runs.")
@click.option("--agent", default="", metavar="NAME", help="Only its runs.")
@click.option(
    "--status",
    default="",
    type=click.Choice(["", *STATUSES]),
    metavar="STATUS",
    help=f"Only these: {', '.join(STATUSES)}.",
)
@page_options
@workspace_option
@json_option
def show_all(
    *,
    deployment: str,
    agent: str,
    status: str,
    limit: int,
    cursor: str,
    everything: bool,
    workspace: str,
    as_json: bool,
) -> None:
    """List the runs, newest first."""
    from argosy.cli.connecting import connect, read_page

    chosen = {"deployment": deployment, "agent": agent, "status": status}
    with connect(workspace) as client:
        page = read_page(
            lambda: client.runs.list(**chosen, limit=limit, cursor=cursor),
            lambda: client.runs.all(**chosen),
            everything=everything,
        )
    if as_json:
        print_json(page)
        return
    rows = [
        (each.id, each.status, each.slug, each.reason, ago(each.created_at), each.message[:60])
        for each in page.items
    ]
    headers = ("ID", "STATUS", "DEPLOYMENT", "REASON", "STARTED", "MESSAGE")
    print_table(headers, rows, empty='No runs: `argosy invoke NAME -m "hello"` makes one.')


@command.command("show")
@click.argument("run_id", metavar="RUN")
@json_option
def show(run_id: str, as_json: bool) -> None:
    """Show one run, with its output."""
    from argosy.cli.connecting import connect

    with connect() as client:
        run = client.runs.get(run_id)
    if as_json:
        print_json(run)
        return
    usage = run.usage
    print_fields(
        [
            ("id", run.id),
            ("status", run.status),
            ("reason", run.reason),
            ("detail", run.detail),
            ("deployment", f"{run.slug}, revision {run.revision}"),
            ("attempt", str(run.attempt or "")),
            ("requested", ago(run.created_at)),
            ("started", _start(run.stages, warm=run.warm)),
            ("ended", ago(run.ended_at) if run.ended_at else ""),
            ("took", f"{usage.seconds:.2f} s, {usage.cpu_seconds:.2f} s of processor"),
            ("memory", f"{usage.peak_memory_mb:.0f} MB" if usage.peak_memory_mb else ""),
            ("tokens", _tokens(usage.input_tokens, usage.output_tokens)),
            ("files", "\n".join(f"{file.path}  {size(file.size)}" for file in run.files)),
            ("message", run.message),
            ("output", run.output),
        ]
    )


@command.command("cancel")
@click.argument("run_id", metavar="RUN")
@click.option("--detail", default="", help="Why; it is kept.")
@json_option
def cancel(run_id: str, detail: str, as_json: bool) -> None:
    """Ask for a run's end."""
    from argosy.cli.connecting import connect

    with connect() as client:
        run = client.runs.cancel(run_id, detail=detail)
    if as_json:
        print_json(run)
    else:
        print(f"{run.id} is {run.status}.")


@command.command("events")
@click.argument("run_id", metavar="RUN")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends.")
@click.option("--after", default=0, type=click.IntRange(0), help="Only what comes after VERSION.")
@json_option
def events(run_id: str, follow: bool, after: int, as_json: bool) -> None:
    """Show what a run did. With --follow, --json prints one object a line."""
    from argosy.cli.connecting import connect, lost
    from argosy.cli.narrate import Narrator

    narrator = Narrator()
    with connect() as client:
        runs = client.runs
        if as_json and not follow:
            print_json({"items": [each.plain() for each in runs.events(run_id, after=after)]})
            return
        seen = after
        try:
            for event in (
                runs.follow(run_id, after=after, lost=lost)
                if follow
                else runs.events(run_id, after=after)
            ):
                seen = event.version or seen
                if as_json:
                    print_json_line(event.plain())
                else:
                    narrator.tell(event)
        except KeyboardInterrupt:
            step(f"Detached: `argosy run events {run_id} --follow --after {seen}` goes on.")
            raise
        finally:
            narrator.end()


@command.command("files")
@click.argument("run_id", metavar="RUN")
@json_option
def files(run_id: str, as_json: bool) -> None:
    """List the files that a run left."""
    from argosy.cli.connecting import connect

    with connect() as client:
        found = client.runs.files(run_id)
    if as_json:
        print_json({"items": found})
        return
    rows = [(each.path, size(each.size), each.digest) for each in found]
    print_table(("PATH", "SIZE", "DIGEST"), rows, empty="It left no files.")


@command.command("download")
@click.argument("run_id", metavar="RUN")
@click.argument("path")
@click.option(
    "-o",
    "--output",
    default=None,
    type=click.Path(path_type=Path, allow_dash=True),
    help="Where to; by default the file's own name here. - is stdout.",
)
@json_option
def download(run_id: str, path: str, output: Path | None, as_json: bool) -> None:
    """Download a file that a run left. Never overwrites one unless --output names it."""
    from argosy.cli.connecting import connect

    target = output or Path(Path(path).name)
    if output is None and target.exists():
        raise click.UsageError(f"{target} exists; say where to with --output.")
    with connect() as client:
        data = client.runs.download(run_id, path)
    if str(target) == "-":
        sys.stdout.buffer.write(data)
        return
    try:
        target.write_bytes(data)
    except OSError as error:
        raise click.BadParameter(f"{target}: {error.strerror}.", param_hint="--output") from None
    if as_json:
        print_json({"path": path, "file": str(target), "size": len(data)})
    else:
        print(f"{target}  {size(len(data))}")


def _start(stages: dict[str, float], *, warm: bool) -> str:
    if not stages:
        return ""
    took = f"{max(stages.values()):.0f} ms after its claim"
    return f"{took}, in a sandbox opened ahead" if warm else took


def _tokens(read: int, written: int) -> str:
    return f"{read} in, {written} out" if read or written else ""
