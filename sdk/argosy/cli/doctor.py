"""`argosy doctor`: the connection from here, then the machine, which the server's code looks at."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from argosy.cli.exits import COMPLETED, FAILED
from argosy.cli.options import data_dir_option, json_option

STYLES = {"ok": "green", "warning": "yellow", "failure": "red"}
LONGEST_CHECK = 14


@click.command(name="doctor")
@data_dir_option
@click.option("--no-sandboxes", is_flag=True, help="No agents are to run or be built here.")
@json_option
def command(data_dir: Path | None, no_sandboxes: bool, as_json: bool) -> int:
    """Look for what is wrong here, and say what to do.

    The server in use: whether it answers, is ready, and takes the key. Then, in a checkout or an
    image of the server, this machine: kernel, namespaces, control groups, a sandbox that is really
    opened, what builds need, disks, blob store, database, clock, master key and Redis. Nothing is
    changed.

    With ARGOSY_DATABASE or ARGOSY_REDIS set, the machine is judged as one of a server's; without,
    as one person's, for `argosy dev`. Exits with 1 if anything is broken; warnings are no failure.
    """
    from argosy.cli.output import print_json

    found: list[dict[str, str]] = []
    for finding in _findings(data_dir, sandboxes=not no_sandboxes):
        found.append(finding)
        if not as_json:
            _show(finding)
    well = all(each["status"] != "failure" for each in found)
    if as_json:
        print_json({"well": well, "findings": found})
    return COMPLETED if well else FAILED


def _findings(data_dir: Path | None, *, sandboxes: bool) -> Iterator[dict[str, str]]:
    from argosy.cli.checkout import checkout_or_none
    from argosy.cli.output import step

    yield from _connection()
    checkout = checkout_or_none()
    if checkout is None:
        step("The rest is looked at where the server's code is: run this there too.")
    else:
        yield from _machine(checkout, data_dir, sandboxes=sandboxes)


def _connection() -> Iterator[dict[str, str]]:
    """Say whether the server in use can be used."""
    import os

    from argosy.cli.exits import explain
    from argosy.client import Argosy
    from argosy.config import find_server
    from argosy.errors import ArgosyError, NotConfigured

    try:
        server = find_server()
    except NotConfigured as error:
        status = "failure" if "ARGOSY_URL" in os.environ else "warning"
        yield _finding("server", status, error.detail)
        return
    yield _readiness(server.url)
    try:
        with Argosy(server.url, server.api_key, workspace="-", retry_seconds=0) as client:
            who = client.whoami()
    except ArgosyError as error:
        yield _finding("key", "failure", explain(error))
    else:
        yield _finding("key", "ok", f"{who.name}, {who.role}, from {server.origin}")


def _readiness(url: str) -> dict[str, str]:
    import httpx

    try:
        answer = httpx.get(f"{url}/readyz", timeout=10)
        told: Any = answer.json()
        status, checks = told["status"], told["checks"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        advice = "Start it, or correct ARGOSY_URL."
        return _finding(
            "server", "failure", f"{url} is not an Argosy that answers: {error}", advice
        )
    if status == "ok":
        return _finding("server", "ok", f"{url} is ready")
    away = ", ".join(f"{name} {state}" for name, state in checks.items() if state != "ok")
    advice = "Look at the processes and servers behind it; docs/guides/operate.md says where."
    broken = "failure" if status == "down" else "warning"
    return _finding("server", broken, f"{url} is {status}: {away}", advice)


def _machine(checkout: Path, data_dir: Path | None, *, sandboxes: bool) -> Iterator[dict[str, str]]:
    """Have the server's own code look at this machine."""
    import json
    import os
    import subprocess
    import sys

    from argosy.cli.checkout import data_directory, of_dev_server

    arguments = [*of_dev_server(), *([] if sandboxes else ["--no-sandboxes"])]
    looking = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-m", "workers.doctor", *arguments],
        cwd=checkout,
        env={**os.environ, "ARGOSY_DATA": str(data_directory(data_dir))},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert looking.stdout is not None
    with looking:
        for line in looking.stdout:
            yield json.loads(line)
    if looking.returncode not in (0, 1):
        detail = f"looking at this machine broke off (exit code {looking.returncode})"
        yield _finding("doctor", "failure", detail, "What is above says why: please report it.")


def _finding(check: str, status: str, detail: str, advice: str = "") -> dict[str, str]:
    return {"check": check, "status": status, "detail": detail, "advice": advice}


def _show(finding: dict[str, str]) -> None:
    from argosy.cli.output import clean, paint

    status = paint(f"{finding['status']:<7}", STYLES[finding["status"]])
    said = finding["detail"].rstrip()
    if finding["advice"]:
        said = f"{said.rstrip('.')}. {finding['advice']}"
    line = clean(f"{finding['check']:<{LONGEST_CHECK}}  {said}").replace("\n", " ")
    print(f"{status}  {line}", flush=True)
