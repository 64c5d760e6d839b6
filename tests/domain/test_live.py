"""What followers see: one object per stored event, and exactly one that says it is over."""

from typing import Any

import msgspec
import pytest

from domain.decider import Event
from domain.live import TERMINAL, live_view
from domain.registry import TYPES, Unknown
from tests.goldens import example
from tests.recording import record

FOLLOWED = sorted(tag for tag in TYPES if tag.startswith(("run.", "build.")))


def view(event: Event, version: int = 7) -> dict[str, Any]:
    return live_view(record(event, "run-r", version=version, position=None))


@pytest.mark.parametrize("tag", FOLLOWED)
def test_every_event_is_one_object_that_can_be_sent(tag: str) -> None:
    shown = view(example(TYPES[tag]))

    assert list(shown)[:3] == ["type", "version", "at"]
    assert shown["version"] == 7
    assert shown["at"] == "2026-11-22T23:00:01.000000Z"
    assert (shown["type"] == TERMINAL) == (tag in ("run.ended", "build.ended"))
    assert msgspec.json.decode(msgspec.json.encode(shown)) == shown


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("run.message_said", {"type": "message", "content": "hello\n"}),
        ("run.thought_said", {"type": "thinking", "content": "It wants a greeting."}),
        (
            "run.tool_called",
            {"type": "tool_call", "call_id": "t1", "tool": "web", "input": {"q": "weather"}},
        ),
        (
            "run.tool_returned",
            {
                "type": "tool_result",
                "call_id": "t1",
                "tool": "web",
                "output": ["rain", 3.5, None],
                "failed": True,
            },
        ),
        ("run.file_edited", {"type": "file_edit", "path": "out/report.md", "diff": "+hello\n"}),
        (
            "run.usage_reported",
            {"type": "usage", "input_tokens": 12, "output_tokens": 7, "model": "gpt-4o-mini"},
        ),
        ("run.log_written", {"type": "log", "stream": "stderr", "line": "warming up"}),
        (
            "build.logged",
            {
                "type": "log",
                "step": "install",
                "stream": "stdout",
                "line": "Installed 11 packages",
            },
        ),
        (
            "run.error_reported",
            {
                "type": "error",
                "message": "ValueError: no",
                "traceback": "Traceback (most recent call last):\n",
            },
        ),
        ("run.claimed", {"type": "status", "status": "waiting", "attempt": 1, "detail": "claimed"}),
        (
            "run.started",
            {
                "type": "status",
                "status": "running",
                "attempt": 1,
                "stages": {"layers": 1.25, "open": 4.5},
            },
        ),
        (
            "run.cancel_requested",
            {"type": "status", "status": "cancelling", "detail": "no longer needed"},
        ),
        (
            "run.ended",
            {
                "type": "complete",
                "status": "failed",
                "reason": "exit_nonzero",
                "detail": "exit code 3",
                "output": "half a sent",
                "files": ["out/report.md"],
            },
        ),
        ("build.claimed", {"type": "status", "status": "running", "attempt": 1}),
        (
            "build.ended",
            {
                "type": "complete",
                "status": "failed",
                "step": "resolve",
                "detail": "there is no package httpxx",
                "hint": "Did you mean httpx?",
            },
        ),
    ],
)
def test_what_is_shown(tag: str, expected: dict[str, Any]) -> None:
    shown = view(example(TYPES[tag]))

    assert shown.items() >= expected.items()


def test_a_run_that_waits_for_a_build_says_which() -> None:
    shown = view(example(TYPES["run.requested"]))

    assert (shown["status"], shown["build_id"]) == (
        "waiting",
        "0193f2a0-5b00-7000-8000-000000000003",
    )


def test_an_unknown_event_still_fills_its_version() -> None:
    """A gap in versions means "read again"; what a newer worker wrote must not look like one."""
    shown = view(Unknown(fields={"type": "run.paused"}), version=9)

    assert (shown["type"], shown["version"]) == ("status", 9)
