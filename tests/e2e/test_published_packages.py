"""The packages that agents are written with, as they are published, inside a sandbox."""

import importlib.util
from pathlib import Path

import httpx

from tests.e2e.servers import KEY, DevServer

HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
LLM = [{"provider": "openai", "model": "gpt-4o-mini", "role": "chat"}]

OPENAI_AND_ANTHROPIC = """
import anthropic, openai

def handler(request):
    asked = [{"role": "user", "content": request["message"]}]
    whole = openai.OpenAI().chat.completions.create(model="gpt-4o-mini", messages=asked)
    pieces = openai.OpenAI().chat.completions.create(
        model="gpt-4o-mini", messages=asked, stream=True
    )
    streamed = "".join(
        each.choices[0].delta.content or "" for each in pieces if each.choices
    )
    said = anthropic.Anthropic().messages.create(
        model="gpt-4o-mini", max_tokens=100, messages=asked
    )
    return "|".join([whole.choices[0].message.content, streamed, said.content[0].text])
"""

RUNAGENTS = """
import runagents

def handler(request):
    tools = runagents.Agent()
    answer = tools.call_tool("echo-tool", path="/echo", payload={"message": request["message"]})
    return {"response": f"{runagents.__file__}: {answer}"}
"""


WRITTEN_DOWN = """
import json, urllib.request
import requests

URL = "https://echo.example.invalid"

def handler(request):
    data = json.dumps({"message": request["message"]}).encode()
    call = urllib.request.Request(
        f"{URL}/echo", data=data, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(call, timeout=20) as answer:
        first = json.load(answer)["reply"]
    second = requests.post(f"{URL}/echo", json={"message": "again"}, timeout=20).json()["reply"]
    return f"{first}|{second}"
"""


def package(name: str) -> dict[str, str]:
    """Return the text files of an installed package, by their path below site-packages."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    root = Path(spec.origin).parent
    files = root.rglob("*.py")
    return {str(path.relative_to(root.parent)): path.read_text() for path in files}


def deploy(dev: DevServer, body: dict[str, object]) -> None:
    for path, sent in (("/api/starter-kit", None), ("/api/deploy", body)):
        answer = httpx.post(f"{dev.url}{path}", json=sent, headers=HEADERS, timeout=30)
        assert answer.status_code == 201, answer.text


def test_the_packages_of_openai_and_anthropic_need_no_change(dev: DevServer) -> None:
    """From wheels, with nothing said in the code of where models are or what the key is."""
    files = {"agent.py": OPENAI_AND_ANTHROPIC, "requirements.txt": "openai\nanthropic\n"}
    deploy(dev, {"agent_name": "both-packages", "source_files": files, "llm_configs": LLM})

    run = dev.argosy("invoke", "both-packages", "-m", "/say hi", "--json", timeout=110).json

    assert run["output"] == "hi|hi|hi"


def test_the_package_of_runagents_needs_no_change(dev: DevServer) -> None:
    """Among the agent's own files, so that it is the published code and not our module."""
    files = {"agent.py": RUNAGENTS, **package("runagents")}
    deploy(
        dev,
        {
            "agent_name": "published-runtime",
            "source_files": files,
            "required_tools": ["echo-tool"],
            "policies": ["echo-read-policy"],
        },
    )

    run = dev.argosy("invoke", "published-runtime", "-m", "well met", "--json").json

    assert run["output"].startswith("/work/runagents/__init__.py: ")
    assert "well met" in run["output"]


def test_urls_that_are_written_down_lead_to_the_tools_they_are_mapped_to(dev: DevServer) -> None:
    """Contract 6.4, with the two libraries that it names."""
    deploy(
        dev,
        {
            "agent_name": "written-down",
            "source_files": {"agent.py": WRITTEN_DOWN, "requirements.txt": "requests\n"},
            "required_tools": ["echo-tool"],
            "tool_url_mappings": {"https://echo.example.invalid": "echo-tool"},
            "policies": ["echo-read-policy"],
        },
    )

    run = dev.argosy("invoke", "written-down", "-m", "mapped", "--json", timeout=110).json

    assert run["output"] == "mapped|again"
