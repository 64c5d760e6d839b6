"""The runtime layer: what is in it, that it is made once, and what `import runagents` gives."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from domain.errors import Unavailable
from tests.workers.programs import PYTHONS, Run, interpreter, run
from workers.harnesses.runtimes import runtime_digest, runtime_files, write_runtime

__all__ = ["interpreter", "run"]

# Everything a program loads that prints one line, and no more: each costs a part of a millisecond.
SCRIPT_MODULES = {"argosy", "argosy._channel", "argosy._runner", "argosy.agent"}


def test_the_layer_needs_nothing_but_the_standard_library() -> None:
    files = runtime_files()

    assert files["argosy/__init__.py"] == b""
    assert {path.split("/")[0] for path in files} == {"argosy", "runagents"}
    for path, data in files.items():
        for name in (b"msgspec", b"httpx", b"click", b"from argosy.client", b"importlib.resources"):
            assert name not in data, path


@pytest.mark.parametrize("python", PYTHONS)
def test_the_layer_is_compiled_and_readable(tmp_path: Path, python: str) -> None:
    place = write_runtime(tmp_path, python)

    assert place.stat().st_mode & 0o777 == 0o755
    compiled = list(place.glob("argosy/__pycache__/*.pyc"))
    scripts = [path for path in runtime_files() if re.fullmatch(r"argosy/\w+\.py", path)]
    assert len(compiled) == len(scripts)
    for path in place.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644)
    assert str(tmp_path).encode() not in compiled[0].read_bytes()


def test_the_layer_is_made_once_however_many_ask(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        making = [pool.submit(write_runtime, tmp_path, sys.executable) for _ in range(4)]
        places = [each.result() for each in making]
    made = places[0].stat().st_ino

    assert len(set(places)) == 1
    assert write_runtime(tmp_path, sys.executable).stat().st_ino == made
    assert [path.name for path in tmp_path.iterdir()] == [places[0].name]


def test_another_interpreter_has_another_layer(tmp_path: Path) -> None:
    link = tmp_path / "python"
    link.symlink_to(sys.executable)

    assert runtime_digest(sys.executable) == runtime_digest(str(link))
    assert runtime_digest(sys.executable) != runtime_digest("/bin/sh")


def test_an_interpreter_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot compile"):
        write_runtime(tmp_path, "/bin/false")
    with pytest.raises(Unavailable, match="cannot be run"):
        write_runtime(tmp_path, os.devnull)

    assert list(tmp_path.iterdir()) == []


def test_a_script_loads_next_to_nothing(run: Run) -> None:
    bare = subprocess.run(
        [sys.executable, "-I", "-S", "-c", "import os, sys; print(*sys.modules)"],
        capture_output=True,
        check=True,
        text=True,
    )
    ran = run("import sys\nprint(*sys.modules)")

    extra = set(ran.output.split()) - set(bare.stdout.split()) - SCRIPT_MODULES
    assert extra <= {"_sitebuiltins", "site", "sitecustomize", "importlib", "importlib._bootstrap"}


class Gateway(BaseHTTPRequestHandler):
    """Answers as the gateway would, and shows what it was asked."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, answer = 200, {"path": self.path, "body": json.loads(body or b"null")}
        if self.path.endswith("/approve"):
            status, answer = 403, {"code": "APPROVAL_REQUIRED", "message": "ask first"}
        elif self.path.endswith("/fail"):
            status, answer = 500, {"why": "no"}
        data = b"plain" if self.path.endswith("/plain") else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST  # noqa: N815 - the name is the base class's

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def gateway() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_tools_and_models_are_called_by_the_gateways_urls(run: Run, gateway: str) -> None:
    source = """
from runagents import Agent
import json
def handler(request, ctx):
    agent = Agent()
    return json.dumps([
        agent.available_tools(), agent.has_tool("echo-tool"), agent.has_tool("no"),
        agent.call_tool("echo-tool", "/say", {"a": 1}), agent.call_tool("echo-tool", method="GET"),
        agent.call_tool("echo-tool", "/plain"), agent.call_tool("echo-tool", "/fail"),
        agent.chat("hi", tools=[{"t": 1}]), ctx.chat("again", history=[{"role": "x"}]),
        ctx.call_tool("echo-tool"),
    ])
"""
    environment = {
        "TOOL_URL_ECHO_TOOL": f"{gateway}/tools/echo/",
        "LLM_GATEWAY_URL": f"{gateway}/v1/chat/completions",
        "LLM_MODEL": "m",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
    }
    ran = run(source, environment=environment, system_prompt="be kind")

    asked = {"role": "user", "content": "hi"}
    assert json.loads(ran.output) == [
        ["echo-tool"],
        True,
        False,
        {"path": "/tools/echo/say", "body": {"a": 1}},
        {"path": "/tools/echo/", "body": None},
        {"raw": "plain"},
        {"error": "HTTP 500", "detail": '{"why": "no"}'},
        {
            "path": "/v1/chat/completions",
            "body": {
                "model": "m",
                "messages": [{"role": "system", "content": "be kind"}, asked],
                "tools": [{"t": 1}],
                "tool_choice": "auto",
            },
        },
        {
            "path": "/v1/chat/completions",
            "body": {"model": "m", "messages": [{"role": "x"}, {**asked, "content": "again"}]},
        },
        {"path": "/tools/echo/", "body": None},
    ]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("call_tool('stripe-api')", "ToolNotConfigured: \"This agent has no tool 'stripe-api'"),
        ("chat('hi')", "ModelNotConfigured: This agent has no model"),
        ("call_tool('t', '/approve')", "ApprovalRequired: t: ask first"),
    ],
)
def test_what_is_not_there_is_said_clearly(run: Run, gateway: str, call: str, message: str) -> None:
    source = f"from runagents.agent import Agent\ndef handler(r): Agent().{call}\n"
    ran = run(source, environment={"TOOL_URL_T": gateway})

    assert ran.errors[0].message.startswith(message)
    assert ran.result.reason == "exit_nonzero"


def test_a_function_marked_as_a_tool_reports_its_calls(run: Run) -> None:
    source = """
from runagents import tool
@tool
def look_up(city): "The weather."; return city.upper()
@tool(name="other", description="d")
def f(): return 1
def handler(request):
    return [look_up("x"), f(), look_up.tool_name, look_up.tool_description, f.tool_name]
"""
    ran = run(source)

    assert json.loads(ran.output) == ["X", 1, "look-up", "The weather.", "other"]
    assert [entry.tool for entry in ran.entries if hasattr(entry, "tool")] == [  # type: ignore[union-attr] - those that have one
        "look_up",
        "look_up",
        "f",
        "f",
    ]
