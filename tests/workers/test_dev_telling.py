"""One readable line per thing that happens."""

import json
from typing import Any

import pytest

from workers.dev.telling import SHOWN, Teller, event_line


def recorded(stream: str, type: str, **data: Any) -> dict[str, Any]:
    """Return an event as the API sends it."""
    return {"stream": stream, "type": type, "at": "2026-11-22T12:03:11.000000Z", "data": data}


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            recorded("run-1", "run.requested", slug="echo", message="hi\nyou"),
            'run 1  requested  echo  "hi you"',
        ),
        (recorded("run-1", "run.started", attempt=2), "run 1  started  attempt 2"),
        (
            recorded("run-1", "run.ended", how="failed", reason="timed_out", output=""),
            "run 1  failed  timed_out",
        ),
        (recorded("api_key-7", "document.applied", name="ci"), "api key 7  applied  ci"),
        (
            recorded("thing-1", "thing.new_in_a_later_version", x=1),
            "thing 1  new in a later version",
        ),
    ],
)
def test_an_event_is_a_line(event: dict[str, Any], line: str) -> None:
    assert event_line(event) == line


def test_an_agent_cannot_control_the_terminal() -> None:
    line = event_line(recorded("run-1", "run.ended", how="completed", output="\x1b[2J\x9b31m" * 99))

    assert line.isprintable()
    assert len(line) < 200


def test_programs_get_an_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    teller = Teller(as_json=True)
    teller.say("api", "died")
    teller.event(recorded("run-1", "run.started", attempt=1))
    teller.block(["a", "b"], what="ready", url="http://x")

    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert said[0]["text"] == "died"
    assert said[1]["type"] == "run.started"
    assert said[2]["url"] == "http://x"


def test_every_type_that_is_shown_exists() -> None:
    from domain.registry import FOLDING

    fields = {each.tag(): set(each.__struct_fields__) for each in FOLDING}

    assert {type: set(shown) - fields[type] for type, shown in SHOWN.items()} == {
        type: set[str]() for type in SHOWN
    }


def test_every_folding_event_has_a_place() -> None:
    """A new event is given its fields, or none, on purpose."""
    from domain.registry import FOLDING

    unsaid = {each.tag() for each in FOLDING} - set(SHOWN)

    assert unsaid == set()
