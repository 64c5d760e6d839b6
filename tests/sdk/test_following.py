"""A followed stream: nothing twice, nothing missing, however the connection fares."""

import itertools
import json

import pytest
from argosy import Argosy, NotFound, StreamLost
from argosy import following as module
from argosy.sse import frames

from tests.sdk import answers
from tests.sdk.recorded_server import Answer, RecordedServer, events, frame, problem

EVENTS = f"/v1/runs/{answers.RUN_ID}/events"


def followed(client: Argosy, after: int = 0) -> list[int | None]:
    """Return the versions that a follower sees, in order."""
    return [event.version for event in client.runs.follow(answers.RUN_ID, after=after)]


def test_it_ends_after_complete(server: RecordedServer, client: Argosy) -> None:
    server.answer(
        "GET",
        EVENTS,
        events(frame(1, "status", status="waiting"), frame(2, "complete", status="completed")),
    )

    found = list(client.runs.follow(answers.RUN_ID))

    assert [event.type for event in found] == ["status", "complete"]
    assert found[0].data == {"status": "waiting"}
    assert found[1].last


def test_a_dropped_connection_is_resumed(server: RecordedServer, client: Argosy) -> None:
    server.answer(
        "GET",
        EVENTS,
        events(frame(1, "status"), frame(2, "message")[:-9], drop=True),
        events(frame(2, "message"), frame(None, "delta"), drop=True),
        events(frame(3, "log")),
        events(frame(4, "complete")),
    )
    lost: list[str] = []

    found = [each.version for each in client.runs.follow(answers.RUN_ID, lost=lost.append)]

    assert found == [1, 2, None, 3, 4]
    resumed = [each.headers.get("last-event-id") for each in server.requests("GET", EVENTS)]
    assert resumed == [None, "1", "2", "3"]
    assert len(lost) == 3


def test_what_comes_again_is_not_shown_again(server: RecordedServer, client: Argosy) -> None:
    server.answer(
        "GET",
        EVENTS,
        events(frame(1, "status"), frame(2, "log"), drop=True),
        events(*(frame(n, "log") for n in (1, 2, 3)), frame(4, "complete")),
    )

    assert followed(client) == [1, 2, 3, 4]


def test_a_gap_is_read_again(server: RecordedServer, client: Argosy) -> None:
    server.answer(
        "GET",
        EVENTS,
        events(frame(1, "status"), frame(4, "log"), frame(5, "complete")),
        events(frame(2, "log"), frame(3, "log"), frame(4, "log"), frame(5, "complete")),
    )

    assert followed(client) == [1, 2, 3, 4, 5]
    assert server.asked[1].headers["last-event-id"] == "1"


def test_it_starts_after_the_version_it_is_given(server: RecordedServer, client: Argosy) -> None:
    server.answer("GET", EVENTS, events(frame(8, "log"), frame(9, "complete")))

    assert followed(client, after=7) == [8, 9]
    assert server.asked[0].headers["last-event-id"] == "7"


def test_a_server_that_restarts_is_waited_for(server: RecordedServer, client: Argosy) -> None:
    server.answer(
        "GET",
        EVENTS,
        events(frame(1, "status"), drop=True),
        problem(503, "unavailable", "Starting."),
        problem(502, "unavailable", "Starting."),
        events(frame(2, "complete")),
    )

    assert followed(client) == [1, 2]


def test_waiting_for_a_server_ends(
    server: RecordedServer, client: Argosy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.3)
    server.answer(
        "GET", EVENTS, events(frame(1, "status"), drop=True), problem(503, "unavailable", "No.")
    )

    with pytest.raises(StreamLost) as caught:
        followed(client)

    assert caught.value.after == 1


def test_a_gap_that_stays_is_said(
    server: RecordedServer, client: Argosy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.3)
    server.answer("GET", EVENTS, events(frame(1, "status"), frame(3, "complete")))

    with pytest.raises(StreamLost, match="1 events before 3 are missing"):
        followed(client)


def test_a_refusal_is_raised_at_once(server: RecordedServer, client: Argosy) -> None:
    with pytest.raises(NotFound):
        followed(client)

    assert len(server.asked) == 1


def test_the_log_is_followed_for_ever(server: RecordedServer, client: Argosy) -> None:
    def logged(position: int) -> bytes:
        data = json.dumps(answers.recorded(position, "run.ended")).encode()
        return b"id: %d\nevent: run.ended\ndata: %s\n\n" % (position, data)

    server.answer("GET", "/v1/events", events(logged(3)), events(logged(4), drop=True))

    found = itertools.islice(client.events.follow(after=2), 2)

    assert [event.position for event in found] == [3, 4]


def test_waiting_returns_the_run_as_it_ended(server: RecordedServer, client: Argosy) -> None:
    server.answer("GET", EVENTS, events(frame(1, "status"), frame(2, "complete")))
    server.answer("GET", f"/v1/runs/{answers.RUN_ID}", Answer(body=answers.run("failed")))

    assert client.runs.wait(answers.RUN_ID).status == "failed"


def test_stored_events_are_read_page_by_page(server: RecordedServer, client: Argosy) -> None:
    first = {"items": [{"type": "status", "version": 1, "at": answers.AT}], "next_after": 1}
    second = {"items": [{"type": "complete", "version": 2, "at": answers.AT}], "next_after": None}
    server.answer("GET", EVENTS, Answer(body=first), Answer(body=second))

    assert [event.version for event in client.runs.events(answers.RUN_ID)] == [1, 2]


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_frames_are_read_however_the_bytes_are_cut(size: int) -> None:
    text = "a\u2028b\u0085c\x0bd"
    sent = b": hi\r\n\r\nid: 7\r\nevent: log\r\ndata: " + text.encode() + b"\ndata: 2\n\nid: 8\n\n"

    found = list(frames(sent[at : at + size] for at in range(0, len(sent), size)))

    assert [(each.id, each.event, each.data.decode()) for each in found] == [
        ("7", "log", f"{text}\n2")
    ]
