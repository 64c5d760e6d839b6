"""What followers read: a line per thing, and text that comes in pieces put together."""

import io
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from argosy.cli.narrate import Narrator
from argosy.models import live_event

from tests.sdk import answers
from tests.sdk.answers import RUN_ID
from tests.sdk.recorded_server import Answer, RecordedServer, events, frame

ARGOSY = str(Path(sys.executable).with_name("argosy"))


def told(*sent: dict[str, Any]) -> list[str]:
    """Return the lines for events, without their times."""
    written = io.StringIO()
    narrator = Narrator(written)
    for number, each in enumerate(sent, 1):
        narrator.tell(live_event({"version": number, "at": answers.AT, **each}))
    narrator.end()
    return [line[10:] for line in written.getvalue().splitlines()]


def said(*pieces: str) -> list[dict[str, Any]]:
    """Return messages."""
    return [{"type": "message", "content": piece} for piece in pieces]


def test_pieces_of_text_are_joined() -> None:
    assert told(*said("one ", "two\nthree", "\n", "four\n\n"), {"type": "log", "line": "x"}) == [
        "message      one two",
        "             three",
        "             four",
        "log          x",
    ]


def test_thinking_and_speaking_are_apart() -> None:
    assert told({"type": "thinking", "content": "hm"}, *said("so"), *said("!")) == [
        "thinking     hm",
        "message      so!",
    ]


def test_deltas_are_not_told_twice() -> None:
    delta = {"type": "delta", "content": "he", "version": None}

    assert told(delta, *said("hello")) == ["message      hello"]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        ({"type": "status", "status": "waiting", "attempt": 1, "detail": "claimed"}, "claimed"),
        ({"type": "status", "status": "running", "stages": {"a": 3.2, "b": 9.6}}, "after 10 ms"),
        ({"type": "status", "status": "waiting", "attempt": 2}, "attempt 2"),
        (
            {"type": "complete", "status": "failed", "reason": "r", "detail": "d", "output": "o"},
            "r · d",
        ),
        ({"type": "complete", "status": "completed", "files": ["a", "b"]}, "files: a, b"),
        ({"type": "tool_call", "tool": "t", "input": {"q": "a b"}}, 't q="a b"'),
        ({"type": "tool_result", "tool": "t", "output": {"n": [1]}}, "t n=[1]"),
        ({"type": "tool_result", "tool": "t", "output": "no", "failed": True}, "t failed: no"),
        ({"type": "of_tomorrow", "x": 1}, "x=1"),
        ({"type": "log", "line": "\x1b[2Jhi\x07"}, "\ufffd[2Jhi\ufffd"),
    ],
)
def test_an_event_is_a_line(event: dict[str, Any], line: str) -> None:
    [shown] = told(event)

    assert shown[13:] == line


@pytest.mark.parametrize("follow", [["--follow"], []])
def test_ctrl_c_leaves_the_run_and_says_how_to_go_on(
    server: RecordedServer, alone: Path, follow: list[str]
) -> None:
    start = "/v1/workspaces/default/deployments/echo/runs"
    server.answer("POST", start, Answer(status=202, body=answers.run("running")))
    server.answer("GET", f"/v1/runs/{RUN_ID}/events", events(frame(1, "log", line="hi"), stay=True))
    environment = {"ARGOSY_URL": server.url, "ARGOSY_API_KEY": "k", "ARGOSY_WORKSPACE": "default"}
    with subprocess.Popen(
        [ARGOSY, "invoke", "echo", "-m", "x", *follow],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        server.wait_for("GET", f"/v1/runs/{RUN_ID}/events")
        assert process.stdout is not None
        told = process.stdout.readline() if follow else ""

        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)

    assert process.returncode == 130
    assert f"argosy run events {RUN_ID} --follow" in err
    assert f"argosy run cancel {RUN_ID}" in err
    assert "Traceback" not in err
    assert told.endswith("hi\n") == bool(follow)
