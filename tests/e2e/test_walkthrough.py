"""What a person does on the first day, from an empty machine to a replayed run."""

import json
from pathlib import Path

import httpx

from tests.e2e.servers import KEY, ROOT, DevServer


def deploy(dev: DevServer, folder: Path, **files: str) -> None:
    """Write a folder of source files (`agent_py` is agent.py) and deploy it."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        folder.joinpath(name.replace("_", ".")).write_text(text)
    dev.argosy("deploy", str(folder))


def test_the_example_is_deployed_invoked_and_replayed(dev: DevServer) -> None:
    deployed = dev.argosy("deploy", str(ROOT / "examples" / "echo"))
    assert "/deployments/echo/runs" in deployed.out

    followed = dev.argosy("invoke", "echo", "-m", "hello", "--follow")
    assert "hello" in followed.out

    run = dev.argosy("invoke", "echo", "-m", "hello", "--json").json
    assert {"id", "status", "reason", "output", "files", "usage"} <= set(run)
    assert run["status"] == "completed"
    assert "hello" in run["output"]

    shown = dev.argosy("run", "show", run["id"], "--json").json
    assert shown["output"] == run["output"]
    listed = dev.argosy("run", "list", "--json").json
    assert listed["items"][0]["id"] == run["id"]
    events = dev.argosy("run", "events", run["id"], "--json").json
    assert [event["version"] for event in events["items"]] == list(
        range(1, len(events["items"]) + 1)
    )
    assert events["items"][-1]["type"] == "complete"

    replayed = dev.argosy("replay", f"run-{run['id']}", "--json").json
    assert replayed["events"][-1]["type"] == "run.ended"
    assert replayed["state"]["end"]["how"] == "completed"
    earlier = dev.argosy("replay", f"run-{run['id']}", "--at", "1", "--json").json
    assert "end" not in earlier["state"]


def test_everything_that_was_made_is_listed(dev: DevServer) -> None:
    dev.argosy("deploy", str(ROOT / "examples" / "echo"))
    agents = dev.argosy("agent", "list", "--json").json
    deployments = dev.argosy("deployment", "list", "--json").json
    assert "echo" in [agent["name"] for agent in agents["items"]]
    assert "echo" in [deployment["slug"] for deployment in deployments["items"]]
    assert dev.argosy("agent", "show", "echo", "--json").json["versions"][0]["status"] == "ready"
    assert dev.argosy("deployment", "show", "echo", "--json").json["serving"] == 1


def test_the_script_of_the_published_example_prints_hello(dev: DevServer) -> None:
    """`print("hello")` through the deploy API, word for word; what it names was made before."""
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    tool = {"name": "stripe-api", "base_url": "https://api.stripe.com"}
    rule = {"permission": "allow", "resource": "https://api.stripe.com/*"}
    policy = {"name": "billing-stripe-policy", "spec": {"policies": [rule]}}
    for path, made in (("tools", tool), ("policies", policy)):
        answer = httpx.post(f"{dev.url}/api/{path}", json=made, headers=headers, timeout=30)
        assert answer.status_code == 201, answer.text
    body = {
        "agent_name": "billing-agent",
        "source_files": {"agent.py": 'print("hello")'},
        "required_tools": ["stripe-api"],
        "llm_configs": [{"provider": "openai", "model": "gpt-4o-mini", "role": "chat"}],
        "policies": ["billing-stripe-policy"],
        "entry_point": "agent.py",
        "requirements": "runagents>=0.2.0\n",
    }
    answer = httpx.post(f"{dev.url}/api/deploy", json=body, headers=headers, timeout=30)

    assert answer.status_code == 201, answer.text
    deployed = answer.json()
    assert deployed["agent"] == "billing-agent"
    assert deployed["namespace"] == "default"
    assert deployed["execution_mode"] == "INSTANT_RUNTIME"
    assert deployed["build_required"] is False
    run = dev.argosy("invoke", "billing-agent", "-m", "go", "--json").json
    assert run["output"] == "hello"


def test_what_a_published_deploy_says_reaches_the_agent(dev: DevServer) -> None:
    source = (
        "import os, helper\n"
        "def handler(request, ctx):\n"
        "    return '|'.join([os.environ['REGION'], ctx.system_prompt, helper.GREETING])\n"
    )
    body = {
        "agent_name": "spoken-to",
        "source_files": {"src/main_agent.py": source, "src/helper.py": "GREETING = 'hi'"},
        "entry_point": "src/main_agent.py",
        "requirements": "runagents>=0.2.0\n",
        "framework": "autogen",
        "system_prompt": "Be kind.",
        "env": [{"name": "REGION", "value": "north"}],
    }
    headers = {"Authorization": f"Bearer {KEY}"}

    answer = httpx.post(f"{dev.url}/api/deploy", json=body, headers=headers, timeout=30)

    assert answer.status_code == 201, answer.text
    run = dev.argosy("invoke", "spoken-to", "-m", "x", "--json").json
    assert run["output"] == "north|Be kind.|hi"


def test_an_image_that_cannot_be_fetched_is_refused_in_words(dev: DevServer) -> None:
    """The deployment fails and says why, and so does a run of it."""
    body = {"agent_name": "boxed", "image": "127.0.0.1:9/acme/my-agent:1.2.0"}
    headers = {"Authorization": f"Bearer {KEY}"}
    answer = httpx.post(f"{dev.url}/api/deploy", json=body, headers=headers, timeout=30)
    assert answer.json()["execution_mode"] == "IMAGE"
    build = dev.argosy("build", "list", "--json").json["items"][0]

    dev.argosy("build", "logs", build["id"], "--follow", expect=1)

    refused = dev.argosy("invoke", "boxed", "-m", "x", expect=None)
    assert refused.code != 0
    assert "ARGOSY_OUTBOUND_ALLOW" in refused.err


def test_a_framework_that_is_imported_is_there(dev: DevServer, tmp_path: Path) -> None:
    source = (
        "from pydantic_ai import Agent\n"
        "from pydantic_ai.models.test import TestModel\n"
        "def handler(request):\n"
        "    model = TestModel(custom_output_text='made up')\n"
        "    return Agent(model).run_sync(request['message']).output\n"
    )
    deploy(dev, tmp_path / "framework", agent_py=source)

    run = dev.argosy("invoke", "framework", "-m", "x", "--json").json

    assert run["output"] == "made up"
    bases = {base["name"]: base for base in dev.argosy("base", "list", "--json").json}
    (used,) = (
        base for name, base in bases.items() if name.startswith("pydantic-ai") and base["layer"]
    )
    layer = dev.argosy("base", "build", used["name"], "--json", timeout=300).json["layer"]
    assert layer == used["layer"]
    assert (
        "There is no base environment 'nope'" in dev.argosy("base", "build", "nope", expect=1).err
    )


def test_requirements_are_built_into_a_layer(dev: DevServer, tmp_path: Path) -> None:
    source = (
        "import idna\ndef handler(request):\n    return idna.encode(request['message']).decode()\n"
    )
    deploy(dev, tmp_path / "overlay", agent_py=source, requirements_txt="idna==3.10\n")

    run = dev.argosy("invoke", "overlay", "-m", "bücher", "--json").json

    assert run["output"] == "xn--bcher-kva"
    build = dev.argosy("build", "list", "--json").json["items"][0]
    assert build["status"] == "succeeded"
    log = dev.argosy("build", "logs", build["id"])
    assert "idna" in log.out


def test_a_requirement_that_does_not_exist_is_named(dev: DevServer, tmp_path: Path) -> None:
    folder = tmp_path / "missing"
    folder.mkdir()
    (folder / "agent.py").write_text("print('never')")
    (folder / "requirements.txt").write_text("argosy-no-such-package-on-any-index\n")

    deployed = dev.argosy("deploy", str(folder), expect=None)

    assert deployed.code != 0
    assert "argosy-no-such-package-on-any-index" in deployed.out + deployed.err


def test_how_a_run_ended_is_the_exit_code(dev: DevServer, tmp_path: Path) -> None:
    deploy(dev, tmp_path / "broken", agent_py="def handler(request):\n    return 1 / 0\n")

    failed = dev.argosy("invoke", "broken", "-m", "x", "--json", expect=1)

    assert failed.json["reason"] == "exit_nonzero"
    events = dev.argosy("run", "events", failed.json["id"], "--json").json["items"]
    assert any("ZeroDivisionError" in json.dumps(event) for event in events)


def test_an_agent_that_never_ends_is_cancelled(dev: DevServer, tmp_path: Path) -> None:
    source = "import time\nprint('started', flush=True)\nwhile True:\n    time.sleep(1)\n"
    deploy(dev, tmp_path / "endless", agent_py=source)
    headers = {"Authorization": f"Bearer {KEY}"}
    run = httpx.post(
        f"{dev.url}/v1/workspaces/default/deployments/endless/runs",
        json={"message": "x"},
        headers=headers,
    ).json()
    stream = headers | {"Accept": "text/event-stream"}
    path = f"{dev.url}/v1/runs/{run['id']}/events"
    terminal: list[str] = []
    with httpx.stream("GET", path, headers=stream, timeout=30) as answer:
        for line in answer.iter_lines():
            if line.startswith("data:") and '"started"' in line:
                dev.argosy("run", "cancel", run["id"])
            if line == "event: complete":
                terminal.append(line)

    assert terminal == ["event: complete"]
    shown = dev.argosy("run", "show", run["id"], "--json").json
    assert shown["status"] == "cancelled"


def test_files_that_a_run_leaves_can_be_downloaded(dev: DevServer, tmp_path: Path) -> None:
    source = "open('report.txt', 'w').write('made here')\nprint('done')\n"
    deploy(dev, tmp_path / "writer", agent_py=source)

    run = dev.argosy("invoke", "writer", "-m", "x", "--json").json

    assert [file["path"] for file in run["files"]] == ["report.txt"]
    headers = {"Authorization": f"Bearer {KEY}"}
    path = f"{dev.url}/v1/runs/{run['id']}/files/report.txt"
    assert httpx.get(path, headers=headers).text == "made here"


def test_workspaces_and_keys_are_managed(dev: DevServer) -> None:
    dev.argosy("workspace", "create", "staging")
    slugs = [each["slug"] for each in dev.argosy("workspace", "list", "--json").json["items"]]
    assert {"default", "staging"} <= set(slugs)

    made = dev.argosy("key", "create", "ci", "--role", "viewer", "--json").json
    viewer = {"Authorization": f"Bearer {made['key']}"}
    assert httpx.get(f"{dev.url}/v1/workspaces", headers=viewer).status_code == 200
    dev.argosy("key", "revoke", made["id"])
    assert httpx.get(f"{dev.url}/v1/workspaces", headers=viewer).status_code == 401


def test_what_an_agent_returns_is_kept_whole(dev: DevServer, tmp_path: Path) -> None:
    source = "def handler(request):\n    return {'response': 'a' * 200_000, 'score': 0.5}\n"
    deploy(dev, tmp_path / "long", agent_py=source)

    run = dev.argosy("invoke", "long", "-m", "x", "--json").json

    assert run["output"] == "a" * 200_000
    assert run["extra"] == {"score": 0.5}
    shown = dev.argosy("run", "show", run["id"], "--json").json
    assert len(shown["output"]) == 64 * 1024
