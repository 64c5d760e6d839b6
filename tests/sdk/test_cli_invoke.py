"""`argosy invoke`: what it sends, shows, and says with its exit code."""

import json

import pytest

from tests.sdk import answers
from tests.sdk.answers import RUN_ID
from tests.sdk.conftest import Cli
from tests.sdk.recorded_server import Answer, RecordedServer, events, frame

START = "/v1/workspaces/default/deployments/echo/runs"
EVENTS = f"/v1/runs/{RUN_ID}/events"
HOSTILE = "\x1b[2J\x1b]0;x\x07\x9b31m\u202e"


def will_end(server: RecordedServer, **run: str) -> None:
    """Let an invoked run end."""
    status = run.get("status", "completed")
    server.answer("POST", START, Answer(status=202, body=answers.run("waiting")))
    server.answer(
        "GET",
        EVENTS,
        events(
            frame(1, "status", status="waiting", message="hello"),
            frame(2, "message", content="hello\nyou"),
            frame(3, "complete", status=status, reason=run.get("reason", ""), output="hello"),
        ),
    )
    server.answer("GET", f"/v1/runs/{RUN_ID}", Answer(body=answers.run(**run)))


def test_invoking_prints_the_output(server: RecordedServer, argosy: Cli) -> None:
    will_end(server)

    done = argosy("invoke", "echo", "-m", "hello", "--context", '{"a": 1}', "--user", "u")

    assert (done.code, done.out, done.err) == (0, "hello\n", "")
    sent = server.requests("POST", START)[0].body
    assert sent == {"message": "hello", "context": {"a": 1}, "user_id": "u"}


def test_following_shows_what_happens(server: RecordedServer, argosy: Cli) -> None:
    will_end(server)

    done = argosy("invoke", "echo", "-m", "hello", "--follow")

    assert done.code == 0
    lines = done.out.splitlines()
    assert [line.split()[1] for line in lines[:2]] == ["waiting", "message"]
    assert lines[2].strip() == "you"
    assert lines[3].split()[1] == "completed"
    assert lines[4:] == ["hello"]


def test_the_finished_run_is_one_object(server: RecordedServer, argosy: Cli) -> None:
    will_end(server)

    done = argosy("invoke", "echo", "-m", "hello", "--follow", "--json")

    run = json.loads(done.out)
    assert {"id", "status", "reason", "output", "files", "usage"} <= set(run)
    assert "message" in done.err


@pytest.mark.parametrize(
    ("status", "reason", "code"), [("failed", "timed_out", 1), ("cancelled", "requested", 3)]
)
def test_the_exit_code_says_how_it_ended(
    server: RecordedServer, argosy: Cli, status: str, reason: str, code: int
) -> None:
    will_end(server, status=status, reason=reason, detail="It took 300 s.")

    done = argosy("invoke", "echo", "-m", "hello")

    assert done.code == code
    assert f"The run {status} ({reason}: It took 300 s.)." in done.err
    assert f"argosy run events {RUN_ID}" in done.err


@pytest.mark.parametrize("options", [(), ("--follow",), ("--json",), ("--json", "--follow")])
def test_why_a_run_failed_controls_no_terminal(
    server: RecordedServer, argosy: Cli, options: tuple[str, ...]
) -> None:
    will_end(server, status="failed", reason="exit_nonzero", detail=HOSTILE)

    done = argosy("invoke", "echo", "-m", "hello", *options)

    assert not set("\x1b\x07\x9b\u202e") & set(done.out + done.err)
    if "--json" in options:
        assert json.loads(done.out)["detail"] == HOSTILE


def test_not_waiting_prints_the_id(server: RecordedServer, argosy: Cli) -> None:
    server.answer("POST", START, Answer(status=202, body=answers.run("waiting")))

    assert argosy("invoke", "echo", "-m", "hello", "--no-wait").out == f"{RUN_ID}\n"


def test_an_agent_s_output_is_untouched_in_a_pipe(server: RecordedServer, argosy: Cli) -> None:
    will_end(server, output="\x1b[31mred\x07\n")

    assert argosy("invoke", "echo", "-m", "x").out == "\x1b[31mred\x07\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing option '-m' / '--message'"),
        (["-m", "x", "--context", "{"], "--context: not JSON"),
        (["-m", "x", "--context", "[]"], "must be a JSON object"),
        (["-m", "x", "--follow", "--no-wait"], "exclude each other"),
    ],
)
def test_a_wrong_invocation_is_one_line(argosy: Cli, arguments: list[str], said: str) -> None:
    done = argosy("invoke", "echo", *arguments)

    assert done.code == 2
    assert said in done.err
    assert done.err.endswith("See `argosy invoke --help`.\n")
    assert len(done.err.splitlines()) == 1
