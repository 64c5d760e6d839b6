"""The harness `native`: a prompt, a model and tools, run for real against a model over HTTP."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from domain.entries import MessageSaid, ToolCalled, ToolReturned
from tests.workers.conversations import (
    Reply,
    World,
    answered,
    event,
    said,
    streamed,
    wanting,
    world,
)
from tests.workers.programs import Ran, Watch, ignore, interpreter, run_task
from workers.harnesses.harness import Task

__all__ = ["interpreter"]

ECHO = "echo-tool__call"


@pytest.fixture
def there() -> Iterator[World]:
    """The model and the tools that the agent finds."""
    with world() as made:
        yield made


class Agent:
    """Runs the loop, each time anew."""

    def __init__(self, folder: Path, python: str, runtime: Path) -> None:
        self._folder, self._python, self._runtime = folder, python, runtime

    def run(self, environment: dict[str, str], **fields: Any) -> Ran:
        """Send one message."""
        watch: Watch = fields.pop("watch", ignore)
        work = self._folder / "work"
        work.mkdir()
        task = Task(
            run_id="run-1",
            message=fields.pop("message", "hello"),
            entry_point="",
            python=self._python,
            runtime_target=str(self._runtime),
            working_directory=str(work),
            environment=environment,
            **fields,
        )
        return run_task("native", task, work, watch=watch)


@pytest.fixture
def agent(tmp_path: Path, interpreter: tuple[str, Path]) -> Agent:
    return Agent(tmp_path, *interpreter)


def test_what_the_model_says_is_the_answer(agent: Agent, there: World) -> None:
    there.models = [said("Hel", "lo, ü.")]
    history = [{"role": "user", "content": "before"}, {"role": "assistant", "content": "yes"}]

    ran = agent.run(
        there.environment(), message="now", history=[*history, 3], system_prompt="Be kind."
    )

    assert ran.output == "Hello, ü."
    assert (ran.result.how, ran.code, ran.errors) == ("completed", 0, [])
    assert there.conversations == [
        [
            {"role": "system", "content": "Be kind."},
            *history,
            {"role": "user", "content": "now"},
        ]
    ]
    asked = there.asked[0].json
    assert (asked["model"], asked["stream"]) == ("a-model", True)
    assert asked["stream_options"] == {"include_usage": True}
    assert "tools" not in asked
    assert ran.logs("stderr") == ["1 items of the history are no messages and were left out."]


def test_text_reaches_the_run_while_the_model_still_speaks(agent: Agent, there: World) -> None:
    """The model ends its answer only once the first part of it has been seen."""
    reply = said("first ", "second")
    go_on = threading.Event()
    reply.pieces.insert(1, go_on)
    there.models = [reply]
    seen: list[str] = []

    def watch(stream: str, data: bytes) -> None:
        if stream == "channel" and b"first" in data:
            seen.append("second" if b"second" in data else "alone")
            go_on.set()

    ran = agent.run(there.environment(), watch=watch)

    assert seen == ["alone"]
    assert ran.output == "first second"


def test_pieces_that_come_fast_are_joined(agent: Agent, there: World) -> None:
    there.models = [said(*(f"{number} " for number in range(500)))]

    ran = agent.run(there.environment())

    assert ran.output == "".join(f"{number} " for number in range(500))
    assert len(ran.said) < 100


def test_a_tool_is_called_and_its_result_told(agent: Agent, there: World) -> None:
    there.models = [
        wanting((ECHO, '{"text": "ü"}'), (ECHO, ""), text="Let me ask."),
        said("It said ü."),
    ]
    there.tools = [answered({"echo": "ü"}), Reply([b"plain"])]

    ran = agent.run(there.environment(ECHO))

    assert ran.output == "It said ü."
    assert "".join(ran.said) == "Let me ask.\nIt said ü."
    first, second = there.calls
    assert (first.method, first.path, first.json) == ("POST", "/tools/echo-tool/", {"text": "ü"})
    assert first.headers["x-tool-call-id"] == "call-1a"
    assert first.headers["x-tool-name"] == "echo-tool"
    assert first.headers["x-tool-function"] == ECHO
    assert first.headers["x-tool-turn"] == "1"
    assert second.json == {}
    assert [each for each in ran.entries if isinstance(each, ToolCalled | ToolReturned)] == [
        ToolCalled(call_id="call-1a", tool=ECHO, input={"text": "ü"}),
        ToolReturned(call_id="call-1a", tool=ECHO, output={"echo": "ü"}),
        ToolCalled(call_id="call-1b", tool=ECHO, input=""),
        ToolReturned(call_id="call-1b", tool=ECHO, output="plain"),
    ]
    assert there.asked[0].json["tools"][0]["function"]["name"] == ECHO
    _, _, asked, *told = there.conversations[1]
    assert asked["content"] == "Let me ask."
    assert asked["tool_calls"][0] == {
        "id": "call-1a",
        "type": "function",
        "function": {"name": ECHO, "arguments": '{"text": "ü"}'},
    }
    assert told == [
        {"role": "tool", "tool_call_id": "call-1a", "content": '{"echo": "\\u00fc"}'},
        {"role": "tool", "tool_call_id": "call-1b", "content": "plain"},
    ]


def test_a_model_that_does_not_stream_serves_as_well(agent: Agent, there: World) -> None:
    call = {"id": "", "type": "function", "function": {"name": ECHO, "arguments": "{}"}}
    asking = {"role": "assistant", "content": None, "tool_calls": [call]}
    answer = {"role": "assistant", "content": "Done."}
    there.models = [
        answered({"choices": [{"message": asking, "finish_reason": "tool_calls"}]}),
        answered({"choices": [{"message": answer, "finish_reason": "stop"}]}),
    ]
    there.tools = [answered("ok")]

    ran = agent.run(there.environment(ECHO))

    assert ran.output == "Done."
    asked, told = there.conversations[1][-2:]
    assert asked["tool_calls"][0]["id"] == told["tool_call_id"] != ""


@pytest.mark.parametrize(
    ("route", "arguments", "method", "path", "body"),
    [
        (
            {"tool": "shop", "method": "GET", "path": "/items/{id}/parts"},
            {"id": "a/b ü", "size": 3, "tags": ["x", "y z"], "all": True, "none": None},
            "GET",
            "/tools/shop/items/a%2Fb%20%C3%BC/parts?size=3&tags=x&tags=y+z&all=true",
            b"",
        ),
        (
            {"tool": "shop", "method": "DELETE", "path": "items/{id}"},
            {"id": 7},
            "DELETE",
            "/tools/shop/items/7",
            b"",
        ),
        (
            {"tool": "shop", "method": "put", "path": "/items/{id}"},
            {"id": 7, "name": "ü"},
            "PUT",
            "/tools/shop/items/7",
            b'{"name": "\\u00fc"}',
        ),
    ],
    ids=["get", "delete", "put"],
)
def test_routes_say_what_a_call_is_over_http(
    agent: Agent,
    there: World,
    route: dict[str, str],
    arguments: dict[str, Any],
    method: str,
    path: str,
    body: bytes,
) -> None:
    there.models = [wanting(("shop__do", json.dumps(arguments))), said("ok")]
    there.tools = [answered("ok")]

    ran = agent.run(there.environment(shop__do=route))

    assert ran.output == "ok"
    (call,) = there.calls
    assert (call.method, call.path, call.body) == (method, path, body)


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        (ECHO, '{"text": ', "The arguments are not JSON"),
        (ECHO, "[1]", "The arguments must be a JSON object."),
        ("nothing__call", "{}", "There is no tool 'nothing__call'."),
        ("shop__do", "{}", "The argument 'id' is missing."),
        ("bro\r\nken__call", "{}", "There is no tool"),
    ],
)
def test_a_call_that_cannot_be_made_is_told_to_the_model(
    agent: Agent, there: World, name: str, arguments: str, told: str
) -> None:
    there.models = [wanting((name, arguments)), said("I see.")]
    route = {"tool": "shop", "method": "GET", "path": "/items/{id}"}

    ran = agent.run(there.environment(ECHO, shop__do=route))

    assert ran.output == "I see."
    assert there.calls == []
    assert told in json.loads(there.conversations[1][-1]["content"])["error"]
    (returned,) = (each for each in ran.entries if isinstance(each, ToolReturned))
    assert returned.failed


def test_a_denial_is_told_to_the_model_and_seen_in_the_run(agent: Agent, there: World) -> None:
    denied = {"code": "POLICY_DENIED", "error": "No policy allows it.", "tool": "echo-tool"}
    there.models = [wanting((ECHO, "{}")), said("I may not.")]
    there.tools = [answered(denied, 403)]

    ran = agent.run(there.environment(ECHO))

    assert (ran.result.how, ran.output) == ("completed", "I may not.")
    told = json.loads(there.conversations[1][-1]["content"])
    assert told["error"] == "HTTP 403"
    assert json.loads(told["detail"]) == denied
    (returned,) = (each for each in ran.entries if isinstance(each, ToolReturned))
    assert returned.failed
    assert "No policy allows it." in str(returned.output)


def test_a_call_that_needs_an_approval_ends_the_run(agent: Agent, there: World) -> None:
    there.models = [wanting((ECHO, "{}"), (ECHO, "{}"))]
    there.tools = [answered({"code": "APPROVAL_REQUIRED", "message": "Ask somebody."}, 403)]

    ran = agent.run(there.environment(ECHO))

    assert (ran.result.how, ran.result.reason) == ("failed", "policy_denied")
    assert ran.result.detail == "Ask somebody."
    assert len(there.calls) == 1


def test_a_tool_that_breaks_off_or_says_too_much_is_told_so(agent: Agent, there: World) -> None:
    there.models = [wanting((ECHO, "{}"), (ECHO, "{}")), said("I see.")]
    there.tools = [Reply([b"half"], whole=False), Reply([b"x" * 65_536] * 40)]

    ran = agent.run(there.environment(ECHO))

    assert ran.output == "I see."
    broken, long = (each["content"] for each in there.conversations[1][-2:])
    assert "could not be reached" in broken
    assert long.startswith("xxx")
    assert long.endswith("[cut here: only 100000 bytes are shown]")


def test_calls_without_end_reach_a_limit(agent: Agent, there: World) -> None:
    there.models = [wanting((ECHO, "{}")) for _ in range(9)]
    there.tools = [answered("more") for _ in range(9)]

    ran = agent.run({**there.environment(ECHO), "MAX_TOOL_ITERATIONS": "3"})

    assert (ran.result.how, ran.result.reason) == ("failed", "step_limit")
    assert "after 3 rounds" in ran.result.detail
    assert len(there.conversations) == 4
    assert len(there.calls) == 3


@pytest.mark.parametrize("wait", [{"Retry_After": "0"}, {"Retry_After": "0.05"}])
def test_a_busy_model_is_asked_again(agent: Agent, there: World, wait: dict[str, str]) -> None:
    busy = answered({"error": {"message": "Too many requests."}}, 429, **wait)
    there.models = [busy, busy, said("Now.")]

    ran = agent.run(there.environment())

    assert ran.output == "Now."
    assert len(there.conversations) == 3
    assert ran.logs("stderr")[0].startswith("The model answered 429: Too many requests. Asking")


@pytest.mark.parametrize(
    ("status", "headers", "tries"), [(429, "0", 5), (503, "0", 5), (429, "3600", 1)]
)
def test_a_model_that_stays_busy_fails_the_run(
    agent: Agent, there: World, status: int, headers: str, tries: int
) -> None:
    there.models = [answered({"error": {"message": "Busy."}}, status, Retry_After=headers)] * 9

    ran = agent.run(there.environment())

    assert (ran.result.how, ran.result.reason) == ("failed", "model_error")
    assert ran.result.detail == f"The model answered {status}: Busy."
    assert len(there.asked) == tries


BAD_KEY: dict[str, Any] = {"error": {"message": "The key is wrong.", "code": 1}}


@pytest.mark.parametrize(
    ("reply", "detail"),
    [
        (answered(BAD_KEY, 401), "The model answered 401: The key is wrong."),
        (answered({"error": "gone"}, 502), "The model answered 502: gone"),
        (answered({}, 500), "The model answered 500: nothing"),
        (Reply([b"<html>"], 503), "The model answered 503: <html>"),
        (answered({"choices": []}), "The model's answer broke off."),
        (answered([1]), "The model's answer broke off."),
        (Reply([b"oh"]), "The model's answer is not one of chat completions."),
        (streamed({"content": "half"}, finish=None), "The model's answer broke off."),
    ],
)
def test_a_model_that_fails_fails_the_run_with_its_words(
    agent: Agent, there: World, reply: Reply, detail: str
) -> None:
    there.models = [reply]

    ran = agent.run(there.environment())

    assert (ran.result.how, ran.result.reason) == ("failed", "model_error")
    assert ran.result.detail == detail
    assert [each.message for each in ran.errors] == [detail]
    assert len(there.asked) == 1


def test_what_was_said_before_it_broke_off_is_kept(agent: Agent, there: World) -> None:
    stream = {"Content-Type": "text/event-stream"}
    first = event({"choices": [{"delta": {"content": "Half an"}}]})
    failed = event({"error": {"message": "The model was stopped."}})
    there.models = [Reply([first, failed], headers=stream)]

    ran = agent.run(there.environment())

    assert [each.text for each in ran.entries if isinstance(each, MessageSaid)] == ["Half an"]
    assert ran.result.detail == "The model was stopped."


def test_a_stream_that_is_cut_fails_the_run(agent: Agent, there: World) -> None:
    reply = said("Half an answer", " and more")
    there.models = [Reply(reply.pieces[:1], headers=reply.headers, whole=False)]

    ran = agent.run(there.environment())

    assert ran.result.reason == "model_error"
    assert "broke off" in ran.result.detail
    assert ran.said == ["Half an answer"]


def test_an_agent_without_a_model_says_what_to_do(agent: Agent) -> None:
    ran = agent.run({"LLM_GATEWAY_URL": "http://127.0.0.1:1/v1/chat/completions"})

    assert (ran.result.how, ran.result.reason) == ("failed", "model_error")
    assert "llm_configs" in ran.result.detail


def test_a_gateway_that_is_not_there_is_named(agent: Agent) -> None:
    ran = agent.run({"LLM_GATEWAY_URL": "http://127.0.0.1:1/v1/chat/completions", "LLM_MODEL": "m"})

    assert ran.result.reason == "model_error"
    assert "could not be asked" in ran.result.detail


def test_reasoning_is_shown_apart(agent: Agent, there: World) -> None:
    there.models = [streamed({"reasoning_content": "Hm."}, {"content": "Yes."}, finish="length")]

    ran = agent.run(there.environment())

    assert (ran.thoughts, ran.output) == (["Hm."], "Yes.")
    assert ran.logs("stderr") == ["The model stopped early: length."]
