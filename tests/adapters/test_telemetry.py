"""Log lines: JSON or text, with what they are about, and without secrets."""

import logging
from collections.abc import Iterator

import msgspec
import pytest
import structlog
from structlog.contextvars import bound_contextvars

from adapters import telemetry


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Leave logging as it was for other tests."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in ("rq", "rq.worker", "alembic")}
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


def test_a_line_is_an_object_with_its_context(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure("host", "json", "info")
    with bound_contextvars(run="r1"):
        structlog.get_logger().info("run.claimed", attempt=1)

    line = msgspec.json.decode(capsys.readouterr().err)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "run.claimed",
        "level": "info",
        "process": "host",
        "run": "r1",
        "attempt": 1,
    }


def test_secrets_are_blotted_out(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure("api", "json", "info")
    structlog.get_logger().info("request", api_key="k", Authorization="Bearer k", path="/v1")

    line = capsys.readouterr().err
    assert '"k"' not in line
    assert "Bearer" not in line
    assert msgspec.json.decode(line)["path"] == "/v1"


def test_libraries_come_through_the_same_door(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure("api", "json", "info")
    logging.getLogger("some.library").warning("it is %s", "late")
    logging.getLogger("rq.worker").info("chatter")

    line = msgspec.json.decode(capsys.readouterr().err)
    assert (line["event"], line["logger"], line["text"]) == (
        "library.said",
        "some.library",
        "it is late",
    )


def test_tracebacks_hold_no_variables(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure("api", "text", "info")
    hidden = "hunter2" * 2
    try:
        int(f"x{len(hidden)}")
    except ValueError:
        structlog.get_logger().exception("bug")

    said = capsys.readouterr().err
    assert "ValueError: invalid literal" in said
    assert hidden not in said


def test_nothing_said_controls_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure("api", "text", "info")

    structlog.get_logger().info("request.done", path="/\x1b[2J\x9b31m\u202e")

    assert r"path=/\u001b[2J\u009b31m\u202e" in capsys.readouterr().err


def test_less_than_the_level_is_not_said(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure("api", "text", "warning")
    structlog.get_logger().info("quiet")

    assert capsys.readouterr().err == ""
