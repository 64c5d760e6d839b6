"""One trace from a client's request to the last call of its agent, and its ids in every log."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.collectors import Collector, Seen, collecting
from tests.e2e.servers import KEY, DevServer, dev_server

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
HEADERS = {"Authorization": f"Bearer {KEY}"}
WORKSPACE = "/v1/workspaces/default"
ASK = "/call echo-tool__echo {}\n/then\n/say Whatever the cuckoo says"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


@pytest.fixture(scope="module")
def traced(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """A server that sends its traces to the collector, and logs for programs."""
    environment = collector.environment | {"ARGOSY_LOG_FORMAT": "json"}
    with dev_server(tmp_path_factory.mktemp("traced") / "data", environment=environment) as server:
        made = httpx.post(f"{server.url}{WORKSPACE}/starter-kit", headers=HEADERS, timeout=30)
        assert made.status_code == 201, made.text
        yield server


def ask(server: DevServer, name: str, message: str, trace: str) -> dict[str, Any]:
    """Request a run as a part of a trace, and return it once it has ended."""
    headers = HEADERS | {"traceparent": f"00-{trace}-{CALLER}-01", "X-Request-Id": f"ask-{trace}"}
    path = f"{server.url}{WORKSPACE}/deployments/{name}/runs"
    made = httpx.post(path, headers=headers, json={"message": message}, timeout=30)
    assert made.status_code == 202, made.text
    follow = HEADERS | {"Accept": "text/event-stream"}
    events = f"{server.url}/v1/runs/{made.json()['id']}/events"
    with httpx.stream("GET", events, headers=follow, timeout=60) as answer:
        for _ in answer.iter_lines():
            pass
    return httpx.get(f"{server.url}/v1/runs/{made.json()['id']}", headers=HEADERS).json()


def named(trace: Sequence[Seen], name: str) -> list[Seen]:
    return [span for span in trace if span.name == name]


def test_a_run_is_one_trace_from_its_request_to_its_calls(
    traced: DevServer, collector: Collector
) -> None:
    traced.argosy(
        *("deploy", "--name", "helper", "--model", "gpt-4o-mini", "--system-prompt", "Be brief."),
        *("--tool", "echo-tool", "--policy", "echo-read-policy"),
    )
    run = ask(traced, "helper", ASK, TRACE)
    assert run["status"] == "completed", run

    whole = ["invoke_agent helper", f"POST {WORKSPACE.replace('default', '{workspace}')}"]
    trace = collector.until(TRACE, lambda spans: named(spans, whole[0]) and len(spans) > 8)
    [request] = [span for span in trace if span.parent == CALLER]
    [agent] = named(trace, "invoke_agent helper")
    [queued] = named(trace, "queued")
    inside = {span.name: span for span in trace if span.parent == agent.id}

    assert request.name == f"{whole[1]}/deployments/{{slug}}/runs"
    assert (request.service, agent.service) == ("argosy-api", "argosy-host")
    assert request.attributes["http.response.status_code"] == 202
    assert request.attributes["argosy.request.id"] == f"ask-{TRACE}"
    assert {agent.parent, queued.parent} == {request.id}
    assert any(span.parent == request.id for span in named(trace, "append"))
    assert {"layers", "sandbox", "started", "program", "append"} <= set(inside)
    assert agent.attributes["argosy.run.id"] == run["id"]
    assert agent.attributes["argosy.run.how"] == "completed"
    ids = {span.id for span in trace} | {CALLER}
    assert all(span.parent in ids for span in trace), "one connected tree"
    ours = [span for span in trace if span.parent == agent.id]
    assert all(agent.began - 10**9 < span.began <= span.ended for span in ours)

    chats = named(trace, "chat gpt-4o-mini")
    assert len(chats) == 2
    assert chats[0].attributes.items() >= {
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "argosy.playground"),
        ("gen_ai.request.model", "gpt-4o-mini"),
        ("gen_ai.request.stream", True),
        ("gen_ai.response.model", "gpt-4o-mini"),
        ("http.response.status_code", 200),
        ("argosy.model_provider", "playground-llm"),
    }
    used = ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens")
    assert [sum(span.attributes[name] for span in chats) for name in used] == [
        run["usage"]["input_tokens"],
        run["usage"]["output_tokens"],
    ]
    [tool] = named(trace, "execute_tool echo-tool")
    assert tool.attributes["argosy.tool.decision"] == "allow"
    assert {span.parent for span in [*chats, tool]} == {agent.id}
    said = str([span.attributes for span in trace])
    assert not any(secret in said for secret in (KEY, "cuckoo", "Be brief"))


def test_what_fails_is_an_error_in_its_trace(traced: DevServer, collector: Collector) -> None:
    trace_id = TRACE.replace("a", "b")
    traced.argosy("deploy", "--name", "bare", "--model", "gpt-4o-mini", "--tool", "echo-tool")

    ask(traced, "bare", f"{ASK}\n/then\n/fail 418 I am a teapot", trace_id)

    trace = collector.until(trace_id, lambda spans: named(spans, "invoke_agent bare"))
    [denied] = named(trace, "execute_tool echo-tool")
    assert (denied.failed, denied.attributes["error.type"]) == (True, "deny")
    [agent] = named(trace, "invoke_agent bare")
    assert "teapot" not in str(trace)
    assert agent.attributes["argosy.attempt"] == 1


def test_a_build_is_in_the_trace_of_its_deploy(
    traced: DevServer, collector: Collector, tmp_path: Path
) -> None:
    trace_id = TRACE.replace("a", "c")
    body = {"name": "built", "image": "127.0.0.1:9/nothing/there:1"}
    headers = HEADERS | {"traceparent": f"00-{trace_id}-{CALLER}-01"}
    made = httpx.post(
        f"{traced.url}{WORKSPACE}/deployments", headers=headers, json=body, timeout=30
    )
    assert made.status_code == 201, made.text

    trace = collector.until(trace_id, lambda spans: named(spans, "build"), 30)
    [build] = named(trace, "build")
    assert build.service == "argosy-build"
    assert build.attributes["argosy.build.how"] == "failed"
    assert build.failed


def test_every_line_about_a_run_has_its_ids(traced: DevServer) -> None:
    trace_id = TRACE.replace("a", "d")
    run = ask(traced, "helper", "hello", trace_id)
    workspace = httpx.get(f"{traced.url}{WORKSPACE}", headers=HEADERS).json()["id"]

    lines = [
        line
        for log in (traced.data / "logs").glob("*.log")
        for text in log.read_text().splitlines()
        if text.startswith("{") and run["id"] in text
        for line in [json.loads(text)]
    ]
    theirs = {"run": run["id"], "workspace": workspace}
    asked = {"request_id": f"ask-{trace_id}", "trace_id": trace_id}
    by_event = {line["event"]: line for line in lines if line["process"] == "host"}
    assert {"run.claimed", "run.started", "run.ended"} <= set(by_event)
    for line in by_event.values():
        assert theirs.items() | asked.items() | {("attempt", 1)} <= line.items(), line
    requests = [line for line in lines if line["event"] == "request.done"]
    assert requests
    for line in requests:
        assert theirs.items() <= line.items(), line
        assert line["request_id"]
        assert line["trace_id"]
    [first] = [line for line in requests if line["method"] == "POST"]
    assert asked.items() <= first.items()
