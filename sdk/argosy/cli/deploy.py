"""`argosy deploy`: a folder of source, or a model and tools, become an endpoint."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from argosy.cli.options import json_option, workspace_option
from argosy.cli.output import clean, paint, print_fields, print_json, sending, size, step

LIMITS = ("memory_mb", "cpu", "pids", "disk_mb", "seconds", "output_kb")


@click.command(name="deploy")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--name", default="", help="Name of agent and endpoint; the folder's by default.")
@click.option("--image", default=None, metavar="REFERENCE", help="Run this image, not a FOLDER.")
@click.option("--entry-point", default=None, metavar="FILE", help="Found by itself if not given.")
@click.option("--framework", default=None, help="A hint for choosing the base environment.")
@click.option("--python", default=None, metavar="X.Y", help="The Python version it needs.")
@click.option("--env", "environment", multiple=True, metavar="NAME=VALUE", help="Repeatable.")
@click.option("--limit", "limits", multiple=True, metavar="NAME=NUMBER", help=", ".join(LIMITS))
@click.option("--system-prompt", default=None, help="What the model is told before the message.")
@click.option("--model", default=None, metavar="NAME", help="The model that it may use.")
@click.option("--tool", "tools", multiple=True, metavar="NAME", help="It may call it. Repeatable.")
@click.option(
    "--policy", "policies", multiple=True, metavar="NAME", help="It allows that. Repeatable."
)
@click.option(
    "--max-attempts",
    default=None,
    type=click.IntRange(1),
    help="How often a run may be started in all when its worker is lost.",
)
@click.option("--dry-run", is_flag=True, help="Say how it would run, and why; change nothing.")
@click.option("--no-wait", is_flag=True, help="Do not wait until it is ready.")
@click.option("--watch", is_flag=True, help="Deploy FOLDER again whenever it changes.")
@workspace_option
@json_option
def command(
    *,
    folder: Path | None,
    name: str,
    environment: tuple[str, ...],
    limits: tuple[str, ...],
    model: str | None,
    tools: tuple[str, ...],
    policies: tuple[str, ...],
    dry_run: bool,
    no_wait: bool,
    watch: bool,
    workspace: str,
    as_json: bool,
    **more: Any,
) -> int:
    """Deploy FOLDER (or one file), new or in place, and wait until it is ready.

    Without FOLDER it is a container image (--image), or an agent without code: --model answers,
    with --system-prompt and --tool.

    Text files are sent, requirements.txt is installed. Hidden files, caches, virtual environments
    and what .gitignore and .argosyignore name stay here; of a large folder only what has changed is
    sent. The exit code is 1 if the build fails.
    """
    variables = dict(_pairs("--env", environment))
    numbers = {each: _number(each, text) for each, text in _pairs("--limit", limits)}
    if watch and (folder is None or no_wait or as_json):
        raise click.UsageError("--watch takes a FOLDER, and neither --no-wait nor --json.")
    if watch and dry_run:
        raise click.UsageError("--watch deploys; --dry-run does not. Give one of them.")

    from argosy.cli.connecting import connect

    if folder and more["image"]:
        raise click.UsageError("Give a FOLDER or an --image, not both.")
    source = _read(folder, name) if folder else None
    name = name or (source.name if source else "")
    if not source:
        _check_without_source(name, model, more)
    settings = {
        "name": name,
        "environment": variables or None,
        "limits": numbers or None,
        "llm_configs": [{"model": model}] if model else None,
        "required_tools": tools or None,
        "policies": policies or None,
        **more,
    }
    with connect(workspace) as client:
        if dry_run:
            _preview(client, source, settings, as_json)
            return 0
        if watch and folder is not None:
            with suppress(KeyboardInterrupt):
                _watch(client, folder, source, settings)
            return 0
        deployed, ready = _deploy(client, source, settings, wait=not no_wait, quiet=as_json)
        deployment = client.deployments.get(deployed.deployment.id)
    if as_json:
        import msgspec

        print_json(msgspec.structs.replace(deployed, deployment=deployment))
        return int(not ready)
    if ready:
        _invite(name, deployed.endpoint, no_wait and deployed.build_required)
        if deployed.image_uri:
            step(f"Its image: {deployed.image_uri}")
    return int(not ready)


def _preview(client: Any, source: Any, settings: dict[str, Any], as_json: bool) -> None:
    """Say what a deploy would do."""
    found = client.preview(
        source.files if source else None,
        requirements=source.requirements if source else None,
        **settings,
    )
    if as_json:
        print_json(found)
        return
    what = f"version {found.version}, revision {found.revision}"
    print_fields(
        [
            ("name", found.name),
            ("would be", f"{what}, which is there already" if found.unchanged else what),
            ("mode", found.execution_mode),
            ("build", "needed" if found.build_required else "not needed"),
            ("why", found.decision_reason),
        ]
    )
    step("Nothing was changed.")


def _deploy(
    client: Any, source: Any, settings: dict[str, Any], *, wait: bool, quiet: bool = False
) -> tuple[Any, bool]:
    """Send it, and wait unless told otherwise; returns what it led to, and if it did not fail."""
    what = settings["image"] or _described(source)
    step(f"Sending {what} as {settings['name']} to {client.url}")
    with sending(quiet=quiet) as on_sent:
        deployed = client.deploy(
            source.files if source else None,
            requirements=source.requirements if source else None,
            on_sent=on_sent,
            **settings,
        )
    step(f"Version {deployed.version}, {deployed.execution_mode}: {deployed.decision_reason}")
    return deployed, _wait(client, deployed) if wait else True


def _watch(client: Any, folder: Path, source: Any, settings: dict[str, Any]) -> None:
    """Deploy it, and again whenever it is another, until Ctrl-C. What fails waits for a change."""
    from argosy.cli.exits import complain
    from argosy.cli.watching import changes
    from argosy.errors import ArgosyError

    def send() -> None:
        deployed, ready = _deploy(client, source, settings, wait=True)
        if ready:
            _invite(settings["name"], deployed.endpoint, building=False)

    try:
        send()
    except ArgosyError as error:
        complain(error)
    step("Watching; Ctrl-C ends it.")
    for _ in changes(folder):
        try:
            found = _read(folder, settings["name"])
            if found != source:
                source = found
                send()
        except ArgosyError as error:
            complain(error)


def _read(folder: Path, name: str) -> Any:
    from argosy.errors import UnreadableSource
    from argosy.sources import read_source

    source = read_source(folder)
    if not name and not source.name:
        raise UnreadableSource(str(folder), "its name cannot name a deployment; give --name.")
    return source


def _check_without_source(name: str, model: str | None, more: dict[str, Any]) -> None:
    if not model and not more["image"]:
        raise click.UsageError("Name a FOLDER, or a --model to do without code, or an --image.")
    if not name:
        raise click.UsageError("Without a FOLDER, give --name.")
    for option in ("entry_point", "framework", "python"):
        if more[option]:
            raise click.UsageError(f"--{option.replace('_', '-')} is about a FOLDER; name one.")


def _described(source: Any) -> str:
    if not source:
        return "an agent without code"
    count = f"{len(source.files)} file{'s' if len(source.files) != 1 else ''}"
    return f"{count} ({size(source.size)})"


def _wait(client: Any, deployed: Any) -> bool:
    """Show the build until the revision is ready; returns whether it is."""
    from argosy.cli.connecting import lost
    from argosy.cli.narrate import Narrator

    narrator = Narrator(sys.stderr)
    try:
        if deployed.build_id:
            for event in client.builds.follow(deployed.build_id, lost=lost):
                narrator.tell(event)
        deployment = client.wait_until_ready(deployed)
    except KeyboardInterrupt:
        step(f"Detached; the deploy goes on: `argosy deployment show {deployed.deployment.slug}`.")
        raise
    revision = deployment.revision(deployed.revision)
    if revision is None or revision.status == "ready":
        return True
    why = revision.detail
    if deployed.build_id:
        build = client.builds.get(deployed.build_id)
        why = " ".join(part for part in (f"{build.step}:", build.detail, build.hint) if part)
    click.echo(f"{paint('The deploy failed.', 'red', sys.stderr)} {clean(why)}", err=True)
    if deployment.serving:
        step(f"Revision {deployment.serving} serves as before.")
    return False


def _invite(name: str, endpoint: str, building: bool) -> None:
    state = "is being built; runs wait for it" if building else "is ready"
    print(f"{paint(name, 'bold')} {state}: {endpoint}")
    step(f'Try it: argosy invoke {name} -m "hello" --follow')


def _pairs(option: str, given: tuple[str, ...]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE.", param_hint=option)
        pairs.append((name, value))
    return pairs


def _number(name: str, text: str) -> float:
    if name not in LIMITS:
        raise click.BadParameter(
            f"there is no limit {name!r}; there are {', '.join(LIMITS)}.", param_hint="--limit"
        )
    try:
        return float(text) if name == "cpu" else int(text)
    except ValueError:
        raise click.BadParameter(
            f"{name} takes a number, not {text!r}.", param_hint="--limit"
        ) from None
