"""The command line: what it prints for people and programs, and what its exit codes say."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from argosy.cli import checkout

from tests.sdk import answers
from tests.sdk.answers import BUILD_ID, RUN_ID
from tests.sdk.conftest import KEY, Cli
from tests.sdk.recorded_server import Answer, RecordedServer, events, frame, problem

W = "/v1/workspaces/default"
START = f"{W}/deployments/echo/runs"
EVENTS = f"/v1/runs/{RUN_ID}/events"


def test_runs_are_a_table(server: RecordedServer, argosy: Cli) -> None:
    hostile = answers.run(message="\x1b[2J\nbye")
    page = {"items": [answers.run("failed"), hostile], "next_cursor": "c1", "position": 3}
    server.answer("GET", f"{W}/runs", Answer(body=page))

    done = argosy("run", "list", "--status", "failed", "--limit", "2")

    header, first, second = done.out.splitlines()
    assert header.split() == ["ID", "STATUS", "DEPLOYMENT", "REASON", "STARTED", "MESSAGE"]
    assert first.startswith(f"{RUN_ID}  failed")
    assert "\x1b" not in second
    assert "--cursor c1" in done.err
    assert server.asked[0].path.endswith("?status=failed&limit=2")


@pytest.mark.parametrize(
    "noun", ["run", "agent", "deployment", "build", "tool", "policy", "model-provider"]
)
def test_a_list_is_json_for_programs(server: RecordedServer, argosy: Cli, noun: str) -> None:
    page: dict[str, Any] = {"items": [], "next_cursor": None, "position": 3}
    plural = "policies" if noun == "policy" else f"{noun}s"
    server.answer("GET", f"{W}/{plural}", Answer(body=page))

    assert json.loads(argosy(noun, "list", "--json").out) == page
    assert argosy(noun, "list").out.startswith("No ")


def test_all_pages_are_one(server: RecordedServer, argosy: Cli) -> None:
    first = {"items": [answers.run()], "next_cursor": "more", "position": 3}
    second = {"items": [answers.run()], "next_cursor": None, "position": 3}
    server.answer("GET", f"{W}/runs", Answer(body=first), Answer(body=second))

    done = argosy("run", "list", "--all", "--json")

    assert len(json.loads(done.out)["items"]) == 2


def test_one_of_each_is_shown(server: RecordedServer, argosy: Cli) -> None:
    agent = {
        "id": "a",
        "name": "echo",
        "workspace_id": "w",
        "status": "active",
        "latest_version": 1,
        "versions": [
            {"version": 1, "status": "ready", "mode": "INSTANT_RUNTIME", "reason": "Yes"},
            {"version": 2, "status": "ready", "image_uri": "argosy.example/default/echo:0123"},
            {"version": 3, "status": "draft", "image_uri": "argosy.example/default/echo:4567"},
        ],
        "created_at": answers.AT,
        "updated_at": answers.AT,
    }
    server.answer("GET", f"{W}/agents/echo", Answer(body=agent))
    server.answer("GET", f"{W}/deployments/echo", Answer(body=answers.deployment()))
    server.answer("GET", f"/v1/builds/{BUILD_ID}", Answer(body=answers.build(hint="Do this.")))
    server.answer("GET", f"/v1/runs/{RUN_ID}", Answer(body=answers.run()))

    agent_shown = argosy("agent", "show", "echo").out
    assert "1        ready   INSTANT_RUNTIME  Yes" in agent_shown
    assert "argosy.example/default/echo:0123\n" in agent_shown
    assert "revision 1" in argosy("deployment", "show", "echo").out
    built = argosy("build", "show", BUILD_ID).out
    assert "Do this." in built
    assert "resolve         3 ms  from a cache" in built
    shown = argosy("run", "show", RUN_ID).out
    assert "out.txt  3 B" in shown
    assert "0.50 s" in shown


def test_a_build_is_cancelled(server: RecordedServer, argosy: Cli) -> None:
    path = f"/v1/builds/{BUILD_ID}/cancel"
    server.answer("POST", path, Answer(body=answers.build("cancelling")))

    done = argosy("build", "cancel", BUILD_ID, "--detail", "enough")

    assert done.out == f"{BUILD_ID} is cancelling.\n"
    assert server.asked[-1].body == {"detail": "enough"}


def test_an_id_is_told_from_a_name(server: RecordedServer, argosy: Cli) -> None:
    argosy("agent", "show", RUN_ID)
    argosy("deployment", "show", RUN_ID)

    assert [each.path for each in server.asked] == [
        f"/v1/agents/{RUN_ID}",
        f"/v1/deployments/{RUN_ID}",
    ]


def test_a_run_s_events_are_told(server: RecordedServer, argosy: Cli) -> None:
    items = [
        {"type": "tool_call", "version": 1, "at": answers.AT, "tool": "t", "input": {"a": "b c"}},
        {"type": "error", "version": 2, "at": answers.AT, "message": "m", "traceback": "T:\n  x"},
        {"type": "complete", "version": 3, "at": answers.AT, "status": "failed", "reason": "r"},
    ]
    server.answer("GET", EVENTS, Answer(body={"items": items, "next_after": None}))

    told = argosy("run", "events", RUN_ID).out
    as_json = json.loads(argosy("run", "events", RUN_ID, "--json").out)

    assert 'tool call    t a="b c"' in told
    assert "error        T:" in told
    assert "failed       r" in told
    assert [event["version"] for event in as_json["items"]] == [1, 2, 3]
    assert as_json["items"][0]["input"] == {"a": "b c"}


def test_following_a_run_is_one_object_a_line(server: RecordedServer, argosy: Cli) -> None:
    server.answer("GET", EVENTS, events(frame(3, "log", line="x"), frame(4, "complete")))

    done = argosy("run", "events", RUN_ID, "--follow", "--after", "2", "--json")

    assert [json.loads(line)["version"] for line in done.out.splitlines()] == [3, 4]


def test_a_build_s_log_is_printed(server: RecordedServer, argosy: Cli) -> None:
    log = events(
        frame(1, "log", step="install", line="idna"), frame(2, "complete", status="failed")
    )
    server.answer("GET", f"/v1/builds/{BUILD_ID}/events", log)

    done = argosy("build", "logs", BUILD_ID, "--follow")

    assert done.code == 1
    assert "install      idna" in done.out


def test_a_file_is_downloaded_once(server: RecordedServer, argosy: Cli, alone: Path) -> None:
    server.answer("GET", f"/v1/runs/{RUN_ID}/files/a/out.txt", Answer(raw=b"\x00made"))

    assert argosy("run", "download", RUN_ID, "a/out.txt").code == 0
    again = argosy("run", "download", RUN_ID, "a/out.txt")

    assert (alone / "out.txt").read_bytes() == b"\x00made"
    assert again.code == 2
    assert "out.txt exists" in again.err


# -- the log


def test_the_newest_of_the_log_are_shown(server: RecordedServer, argosy: Cli) -> None:
    head = {"items": [answers.recorded(1, "x.y")], "next_after": 1, "position": 90}
    page = {"items": [answers.recorded(41, "run.ended", how="failed")], "next_after": None}
    server.answer("GET", "/v1/events", Answer(body=head), Answer(body=page))

    done = argosy("events", "--limit", "50")

    assert server.asked[1].path == "/v1/events?after=40&limit=50"
    assert "#41  " in done.out
    assert f"run.ended                   run-{RUN_ID}  how=failed" in done.out


def test_a_stream_is_replayed(server: RecordedServer, argosy: Cli) -> None:
    stream = f"/v1/streams/run-{RUN_ID}"
    state = {
        "kind": "ended",
        "end": {"how": "completed", "output": "a\nb"},
        "attempts": 0,
        "\x1b[2J": 1,
    }
    folded = {"stream": f"run-{RUN_ID}", "version": 2, "folding_version": 2, "state": state}
    items = [answers.recorded(n, f"run.e{n}") for n in (1, 2, 3)]
    server.answer("GET", stream, Answer(body=folded))
    server.answer("GET", f"{stream}/events", Answer(body={"items": items, "next_after": None}))

    told = argosy("replay", f"run-{RUN_ID}", "--at", "2").out
    as_json = json.loads(argosy("replay", f"run-{RUN_ID}", "--at", "2", "--json").out)

    assert "State at version 2:" in told
    assert "    how: completed" in told
    assert "\x1b" not in told
    assert "run.e3" not in told
    assert [event["version"] for event in as_json["events"]] == [1, 2]
    assert as_json["state"] == state
    assert "at=2" in server.asked[0].path


# -- workspaces and keys


def test_the_workspace_in_use_is_remembered(
    server: RecordedServer, argosy: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    workspace = {"id": "w2", "slug": "staging", "name": "S", "status": "active"}
    server.answer("GET", "/v1/workspaces/staging", Answer(body=workspace))
    server.answer("GET", "/v1/workspaces/staging/runs", Answer(body={"items": []}))
    server.answer("GET", "/v1/workspaces", Answer(body={"items": [workspace]}))
    monkeypatch.delenv("ARGOSY_WORKSPACE")
    server.answer("GET", "/v1/whoami", Answer(body=who()))

    assert argosy("workspace", "use", "staging").code == 0
    assert argosy("run", "list").code == 0
    assert argosy("workspace", "list").out.splitlines()[1].split()[:2] == ["*", "staging"]

    file = tmp_path / "config" / "argosy" / "config.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert KEY not in file.read_text()


def test_a_narrow_key_knows_its_workspace(
    server: RecordedServer, argosy: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ARGOSY_WORKSPACE")
    server.answer("GET", "/v1/whoami", Answer(body=who(workspace="mine")))
    server.answer("GET", "/v1/workspaces/mine/runs", Answer(body={"items": []}))

    assert argosy("run", "list").code == 0


def test_an_unknown_workspace_says_what_to_do(server: RecordedServer, argosy: Cli) -> None:
    missing = problem(404, "not-found", "There is no workspace 'nope'.")
    server.answer("GET", "/v1/workspaces/nope/runs", missing)

    done = argosy("run", "list", "-w", "nope")

    assert done.code == 5
    assert "argosy workspace list" in done.err


def test_a_key_is_shown_once(server: RecordedServer, argosy: Cli) -> None:
    made = {"id": "k", "name": "ci", "role": "viewer", "key": "argosy_new"}
    server.answer("POST", "/v1/keys", Answer(status=201, body=made))
    server.answer("DELETE", "/v1/keys/k", Answer(status=204))

    done = argosy("key", "create", "ci", "--role", "viewer", "--expires", "30d")

    assert done.out == "argosy_new\n"
    assert server.asked[0].body == {"name": "ci", "role": "viewer", "expires_in_seconds": 2592000}
    assert argosy("key", "revoke", "k").out == "Revoked k.\n"


@pytest.mark.parametrize("text", ["3", "0d", "1y", "-1d", ""])
def test_a_wrong_time_is_named(argosy: Cli, text: str) -> None:
    done = argosy("key", "create", "ci", "--expires", text)

    assert done.code == 2
    assert "is not a time such as 30d" in done.err


# -- what goes wrong everywhere


@pytest.mark.parametrize(
    ("status", "code"), [(400, 2), (401, 5), (403, 5), (404, 5), (409, 5), (422, 2), (500, 4)]
)
def test_every_refusal_has_an_exit_code(
    server: RecordedServer, argosy: Cli, status: int, code: int
) -> None:
    server.answer("GET", f"/v1/runs/{RUN_ID}", problem(status, "x", "No,\nbecause."))

    done = argosy("run", "show", RUN_ID)

    assert done.code == code
    assert done.out == ""
    assert done.err.startswith("error: No, because.")
    assert len(done.err.splitlines()) == 1
    assert KEY not in done.err


def test_a_deployment_that_failed_says_the_way_out(server: RecordedServer, argosy: Cli) -> None:
    refused = problem(409, "deployment-failed", "Revision 1 of echo failed: plan: no image.")
    server.answer("POST", "/v1/workspaces/default/deployments/echo/runs", refused)

    done = argosy("invoke", "echo", "-m", "x")

    assert done.code == 5
    assert (
        "no image. `argosy build list` has the build; `argosy build show` says what to do"
        in done.err
    )


def test_an_unknown_command_is_guessed(argosy: Cli) -> None:
    done = argosy("rum", "list")

    assert done.code == 2
    assert "There is no command 'rum'; did you mean `run`?" in done.err


def test_no_command_shows_them_all(argosy: Cli) -> None:
    assert argosy().out == argosy("--help").out
    assert "deploy" in argosy().out
    assert argosy("--version").out.startswith("argosy ")


def test_a_server_needs_its_checkout(
    argosy: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The package on somebody's machine has no server in it."""
    monkeypatch.setattr(checkout, "__file__", str(tmp_path / "a" / "b" / "c" / "here.py"))

    done = argosy("dev")

    assert done.code == 2
    assert "uv run" in done.err
    assert len(done.err.splitlines()) == 1


def who(workspace: str | None = None) -> dict[str, str | None]:
    """Return what the server knows of a key."""
    return {
        "key_id": "k",
        "name": "n",
        "role": "admin",
        "organization_id": "o",
        "workspace": workspace,
    }
