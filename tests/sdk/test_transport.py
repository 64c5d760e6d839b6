"""One call: done once however often it takes, and clear about what went wrong."""

import pytest
from argosy import (
    Argosy,
    Conflict,
    Forbidden,
    Invalid,
    LimitReached,
    Malformed,
    NotFound,
    Refused,
    ServerUnreachable,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnreadableAnswer,
)
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from tests.e2e.servers import free_port
from tests.sdk import answers
from tests.sdk.conftest import KEY
from tests.sdk.recorded_server import Answer, RecordedServer, problem

START = "/v1/workspaces/default/deployments/echo/runs"
RUN = f"/v1/runs/{answers.RUN_ID}"


def test_a_command_is_sent_again_under_the_same_key(server: RecordedServer, client: Argosy) -> None:
    busy = problem(503, "unavailable", "The database is away.")
    dropped = Answer(body=answers.run("waiting"), drop=True)
    server.answer("POST", START, busy, dropped, Answer(status=202, body=answers.run("waiting")))

    run = client.runs.start("echo", "hello")

    assert run.id == answers.RUN_ID
    asked = server.requests("POST", START)
    assert len(asked) == 3
    assert len({each.headers["idempotency-key"] for each in asked}) == 1
    assert all(each.body == {"message": "hello"} for each in asked)


def test_a_command_whose_first_try_is_under_way_is_sent_again(
    server: RecordedServer, client: Argosy
) -> None:
    dropped = Answer(body=answers.run("waiting"), drop=True)
    in_use = problem(409, "idempotency-key-in-use", "It is under way; send it again.")
    server.answer("POST", START, dropped, in_use, Answer(status=202, body=answers.run("waiting")))

    run = client.runs.start("echo", "hello")

    assert run.id == answers.RUN_ID
    assert len({each.headers["idempotency-key"] for each in server.requests("POST", START)}) == 1


def test_another_conflict_is_not_repeated(server: RecordedServer, client: Argosy) -> None:
    server.answer("POST", START, problem(409, "conflict", "It has ended."))

    with pytest.raises(Conflict):
        client.runs.start("echo", "hello")

    assert len(server.requests("POST", START)) == 1


def test_two_commands_have_two_keys(server: RecordedServer, client: Argosy) -> None:
    server.answer("POST", START, Answer(status=202, body=answers.run("waiting")))

    client.runs.start("echo", "hello")
    client.runs.start("echo", "hello")

    keys = [each.headers["idempotency-key"] for each in server.requests("POST", START)]
    assert len(set(keys)) == 2


def test_a_limit_is_waited_for(server: RecordedServer, client: Argosy) -> None:
    limited = Answer(status=429, body={"detail": "slow down"}, headers={"Retry-After": "0.2"})
    server.answer("GET", RUN, limited, Answer(body=answers.run()))

    assert client.runs.get(answers.RUN_ID).status == "completed"


def test_a_limit_that_takes_too_long_is_given_up(server: RecordedServer, client: Argosy) -> None:
    limited = Answer(status=429, body={"detail": "slow down"}, headers={"Retry-After": "3600"})
    server.answer("GET", RUN, limited)

    with pytest.raises(LimitReached) as caught:
        client.runs.get(answers.RUN_ID)

    assert caught.value.retry_after == 3600
    assert len(server.requests("GET", RUN)) == 1


def test_retrying_ends(server: RecordedServer, client: Argosy) -> None:
    server.answer("GET", RUN, problem(502, "unavailable", "Nobody is there."))

    with pytest.raises(Unavailable):
        client.runs.get(answers.RUN_ID)

    assert len(server.requests("GET", RUN)) == 6


def test_a_bug_of_the_server_is_not_repeated(server: RecordedServer, client: Argosy) -> None:
    server.answer("GET", RUN, problem(500, "error", "Something went wrong."))

    with pytest.raises(Unavailable) as caught:
        client.runs.get(answers.RUN_ID)

    assert caught.value.request_id == "req-1"
    assert len(server.requests("GET", RUN)) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Malformed),
        (401, Unauthenticated),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (413, TooLarge),
        (418, Refused),
        (422, Invalid),
    ],
)
def test_a_problem_becomes_its_error(
    server: RecordedServer, client: Argosy, status: int, kind: type[Refused]
) -> None:
    server.answer("GET", RUN, problem(status, "name-taken", "It is taken.", field="name", owner=7))

    with pytest.raises(kind) as caught:
        client.runs.get(answers.RUN_ID)

    error = caught.value
    assert type(error) is kind
    assert (error.status, error.type, error.detail) == (status, "name-taken", "It is taken.")
    assert error.field == "name"
    assert error.members == {"field": "name", "owner": 7}


def test_nothing_listening_is_said(server: RecordedServer) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with Argosy(url, KEY, retry_seconds=0.2) as client, pytest.raises(ServerUnreachable) as caught:
        client.whoami()

    assert url in caught.value.detail
    assert "nothing listens there" in caught.value.detail


@pytest.mark.parametrize(
    "answer",
    [Answer(raw=b"<html>hello</html>"), Answer(body={"id": 1}), Answer(raw=b"\xff\xfe")],
)
def test_another_program_is_recognised(
    server: RecordedServer, client: Argosy, answer: Answer
) -> None:
    server.answer("GET", RUN, answer)

    with pytest.raises(UnreadableAnswer):
        client.runs.get(answers.RUN_ID)


def test_an_error_page_of_a_proxy_is_a_refusal(server: RecordedServer, client: Argosy) -> None:
    server.answer("GET", RUN, Answer(status=403, raw=b"<html>no</html>"))

    with pytest.raises(Forbidden, match="The server answered 403"):
        client.runs.get(answers.RUN_ID)


def test_the_key_is_sent_and_never_shown(server: RecordedServer, client: Argosy) -> None:
    server.answer("GET", RUN, problem(401, "unauthenticated", "No."))

    with pytest.raises(Unauthenticated) as caught:
        client.runs.get(answers.RUN_ID)

    assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"
    shown = [repr(client), repr(client.__dict__), repr(caught.value), str(caught.value)]
    shown += [repr(caught.value.__dict__)]
    assert not any(KEY in text for text in shown)


def test_names_are_quoted_in_paths(server: RecordedServer, client: Argosy) -> None:
    server.answer("GET", "/v1/workspaces/default/agents/a%2Fb%3Fc", Answer(status=404, body={}))

    with pytest.raises(NotFound):
        client.agents.get("a/b?c")

    assert server.asked[0].path == "/v1/workspaces/default/agents/a%2Fb%3Fc"


def test_lists_are_read_page_by_page(server: RecordedServer, client: Argosy) -> None:
    first = {"items": [answers.run()], "next_cursor": "more", "position": 9}
    second = {"items": [answers.run("failed")], "next_cursor": None, "position": 9}
    server.answer("GET", "/v1/workspaces/default/runs", Answer(body=first), Answer(body=second))

    found = list(client.runs.all(status="completed"))

    assert [each.status for each in found] == ["completed", "failed"]
    assert [each.path.split("?")[1] for each in server.asked] == [
        "status=completed&limit=200",
        "status=completed&limit=200&cursor=more",
    ]


def test_a_request_is_a_part_of_its_callers_trace(
    server: RecordedServer, client: Argosy, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answer("GET", RUN, Answer(body=answers.run()))
    given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    mine = SpanContext(0xA1, 0xB2, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))

    client.runs.get(answers.RUN_ID)
    monkeypatch.setenv("TRACEPARENT", given)
    client.runs.get(answers.RUN_ID)
    with use_span(NonRecordingSpan(mine)):
        client.runs.get(answers.RUN_ID)

    sent = [each.headers.get("traceparent") for each in server.requests("GET", RUN)]
    assert sent == [None, given, f"00-{0xA1:032x}-{0xB2:016x}-01"]
