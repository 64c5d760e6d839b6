"""`argosy deploy`: what it sends, shows, and says with its exit code."""

import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sdk import answers
from tests.sdk.answers import BUILD_ID
from tests.sdk.conftest import Cli
from tests.sdk.recorded_server import Answer, RecordedServer, events, frame, problem

W = "/v1/workspaces/default"
HOSTILE = "\x1b[2J\x1b]0;x\x07\x9b31m\u202e"


def agent_folder(folder: Path) -> Path:
    """Return a folder that can be deployed."""
    folder.mkdir()
    (folder / "agent.py").write_text("print('hello')")
    (folder / "requirements.txt").write_text("idna\n")
    return folder


# -- deploy


def test_deploying_sends_the_folder(server: RecordedServer, argosy: Cli, tmp_path: Path) -> None:
    made = answers.deployed(image_uri="argosy.example/default/echo:0123")
    server.answer("POST", f"{W}/deployments", Answer(status=201, body=made))
    server.answer("GET", f"{W}/deployments/d", Answer(body=answers.deployment()))

    done = argosy(
        *("deploy", str(agent_folder(tmp_path / "Echo")), "--env", "A=b=c"),
        *("--limit", "memory_mb=256", "--limit", "cpu=0.5", "--entry-point", "agent.py"),
    )

    assert done.code == 0, done.err
    assert done.out.startswith("echo is ready: http://x/v1/workspaces/default/deployments/echo")
    assert "INSTANT_RUNTIME" in done.err
    assert "Its image: argosy.example/default/echo:0123" in done.err
    assert server.requests("POST", f"{W}/deployments")[0].body == {
        "name": "echo",
        "source": {
            "files": {"agent.py": "print('hello')"},
            "requirements": "idna\n",
            "entry_point": "agent.py",
        },
        "environment": {"A": "b=c"},
        "limits": {"memory_mb": 256, "cpu": 0.5},
    }


def large_folder(folder: Path) -> tuple[Path, str]:
    """Return a folder with much in it, and the digest of that."""
    data = "x" * 100_000
    (agent_folder(folder) / "data.txt").write_text(data)
    return folder, f"sha256:{hashlib.sha256(data.encode()).hexdigest()}"


def agent_with(digest: str) -> Answer:
    """The agent, which has a text already."""
    version = {"version": 1, "status": "ready", "definition": {"files": {"old.txt": digest}}}
    agent = {"id": "a", "name": "echo", "workspace_id": "w", "status": "active"}
    return Answer(body=agent | {"versions": [version]})


def test_what_the_agent_has_is_not_sent_again(
    server: RecordedServer, argosy: Cli, tmp_path: Path
) -> None:
    folder, digest = large_folder(tmp_path / "echo")
    server.answer("GET", f"{W}/agents/echo", agent_with(digest))
    server.answer("POST", f"{W}/deployments", Answer(status=201, body=answers.deployed()))
    server.answer("GET", f"{W}/deployments/d", Answer(body=answers.deployment()))

    done = argosy("deploy", str(folder))

    assert done.code == 0, done.err
    [sent] = server.requests("POST", f"{W}/deployments")
    assert sent.body["source"]["files"] == {
        "agent.py": "print('hello')",
        "data.txt": {"digest": digest},
    }


def test_what_the_agent_has_lost_meanwhile_is_sent(
    server: RecordedServer, argosy: Cli, tmp_path: Path
) -> None:
    folder, digest = large_folder(tmp_path / "echo")
    refused = problem(422, "invalid", "No version of echo has it.", field="source.files.data.txt")
    made = Answer(status=201, body=answers.deployed())
    server.answer("GET", f"{W}/agents/echo", agent_with(digest))
    server.answer("POST", f"{W}/deployments", refused, made)
    server.answer("GET", f"{W}/deployments/d", Answer(body=answers.deployment()))

    done = argosy("deploy", str(folder))

    assert done.code == 0, done.err
    _, again = server.requests("POST", f"{W}/deployments")
    assert again.body["source"]["files"]["data.txt"] == "x" * 100_000


@pytest.mark.parametrize("first", ["made", "refused"])
def test_a_watched_folder_is_deployed_when_it_changes(
    server: RecordedServer, argosy: Cli, tmp_path: Path, first: str
) -> None:
    """A change that does not build, or cannot be sent, is waited out."""
    folder = agent_folder(tmp_path / "echo")
    made = Answer(status=201, body=answers.deployed())
    refused = problem(422, "invalid", "agent.py, line 1: invalid syntax.")
    server.answer(
        "POST", f"{W}/deployments", {"made": made, "refused": refused}[first], refused, made
    )
    server.answer("GET", f"{W}/deployments/d", Answer(body=answers.deployment()))
    del argosy  # another process is the command line, with the same settings
    command = [Path(sys.executable).with_name("argosy"), "deploy", str(folder), "--watch"]

    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        said = iter(process.stderr.readline, "")
        assert any("Watching" in line for line in said)
        (folder / "agent.py").write_text("print(")
        assert any("error: agent.py, line 1" in line for line in said)
        (folder / "notes.log").write_bytes(b"\xff")
        assert any("error: notes.log: not a text file" in line for line in said)
        (folder / ".gitignore").write_text("*.log\n")
        (folder / "agent.py").write_text("print('again')")
        assert any("Try it" in line for line in said)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0

    *_, last = server.requests("POST", f"{W}/deployments")
    assert last.body["source"]["files"] == {"agent.py": "print('again')"}


@pytest.mark.parametrize("others", [["--json"], ["--no-wait"]])
def test_watching_shows_what_becomes_of_it(argosy: Cli, tmp_path: Path, others: list[str]) -> None:
    done = argosy("deploy", str(agent_folder(tmp_path / "echo")), "--watch", *others)

    assert done.code == 2
    assert "--watch takes a FOLDER" in done.err


def test_a_model_and_tools_need_no_folder(server: RecordedServer, argosy: Cli) -> None:
    server.answer("POST", f"{W}/deployments", Answer(status=201, body=answers.deployed()))
    server.answer("GET", f"{W}/deployments/d", Answer(body=answers.deployment()))

    done = argosy(
        *("deploy", "--name", "helper", "--model", "gpt-4o-mini", "--system-prompt", "Be kind."),
        *("--tool", "echo-tool", "--tool", "shop", "--policy", "echo-read-policy"),
    )

    assert done.code == 0, done.err
    assert "Sending an agent without code as helper" in done.err
    assert server.requests("POST", f"{W}/deployments")[0].body == {
        "name": "helper",
        "system_prompt": "Be kind.",
        "llm_configs": [{"model": "gpt-4o-mini"}],
        "required_tools": ["echo-tool", "shop"],
        "policies": ["echo-read-policy"],
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--name", "helper"], "Name a FOLDER, or a --model"),
        (["--model", "m"], "Without a FOLDER, give --name."),
        (
            ["--model", "m", "--name", "n", "--entry-point", "a.py"],
            "--entry-point is about a FOLDER",
        ),
    ],
)
def test_what_is_neither_is_named(argosy: Cli, arguments: list[str], said: str) -> None:
    done = argosy("deploy", *arguments)

    assert done.code == 2
    assert said in done.err


def test_deploying_shows_the_build(server: RecordedServer, argosy: Cli, tmp_path: Path) -> None:
    made = answers.deployed(build_id=BUILD_ID, build_required=True, execution_mode="FAST_OVERLAY")
    log = events(
        frame(1, "status", status="running"),
        frame(2, "log", step="install", stream="stdout", line="Installed idna"),
        frame(3, "complete", status="succeeded"),
    )
    server.answer("POST", f"{W}/deployments", Answer(status=201, body=made))
    server.answer("GET", f"/v1/builds/{BUILD_ID}/events", log)
    pending, ready = answers.deployment("pending"), answers.deployment("ready")
    server.answer("GET", f"{W}/deployments/d", Answer(body=pending), Answer(body=ready))

    done = argosy("deploy", str(agent_folder(tmp_path / "echo")), "--json")

    assert done.code == 0, done.err
    assert "install      Installed idna" in done.err
    assert json.loads(done.out)["deployment"]["status"] == "ready"


def test_a_failed_build_is_explained(server: RecordedServer, argosy: Cli, tmp_path: Path) -> None:
    made = answers.deployed(build_id=BUILD_ID, build_required=True)
    failed = answers.build("failed", step="resolve", detail="No nope 1.", hint="Check the name.")
    server.answer("POST", f"{W}/deployments", Answer(status=201, body=made))
    log = events(frame(1, "complete", status="failed", detail="No nope 1."))
    server.answer("GET", f"/v1/builds/{BUILD_ID}/events", log)
    server.answer("GET", f"/v1/builds/{BUILD_ID}", Answer(body=failed))
    server.answer("GET", f"{W}/deployments/d", Answer(body=answers.deployment("failed", serving=3)))

    done = argosy("deploy", str(agent_folder(tmp_path / "echo")))

    assert done.code == 1
    assert "The deploy failed. resolve: No nope 1. Check the name." in done.err
    assert "Revision 3 serves as before." in done.err
    assert done.out == ""


def test_not_waiting_says_so(server: RecordedServer, argosy: Cli, tmp_path: Path) -> None:
    made = answers.deployed(build_id=BUILD_ID, build_required=True)
    server.answer("POST", f"{W}/deployments", Answer(status=201, body=made))
    server.answer("GET", f"{W}/deployments/d", Answer(body=answers.deployment("pending")))

    done = argosy("deploy", str(agent_folder(tmp_path / "echo")), "--no-wait")

    assert done.code == 0
    assert "echo is being built" in done.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--env", "novalue"], "--env: 'novalue' is not NAME=VALUE"),
        (["--limit", "speed=3"], "there is no limit 'speed'; there are memory_mb"),
        (["--limit", "memory_mb=much"], "memory_mb takes a number, not 'much'"),
        (["--max-attempts", "0"], "0 is not in the range x>=1"),
    ],
)
def test_a_wrong_option_is_named(
    argosy: Cli, tmp_path: Path, arguments: list[str], said: str
) -> None:
    done = argosy("deploy", str(tmp_path), *arguments)

    assert done.code == 2
    assert said in done.err
    assert done.err.startswith("error: argosy deploy: ")
    assert len(done.err.splitlines()) == 1


def test_what_the_server_refuses_is_one_line(
    server: RecordedServer, argosy: Cli, tmp_path: Path
) -> None:
    refused = problem(422, "invalid", "Not a name.", field="name", line=3)
    server.answer("POST", f"{W}/deployments", refused)

    done = argosy("deploy", str(agent_folder(tmp_path / "echo")))

    assert done.code == 2
    assert done.err.splitlines()[-1] == "error: name: Not a name."


def test_a_folder_that_cannot_be_sent_is_one_line(argosy: Cli, tmp_path: Path) -> None:
    (tmp_path / "logo.png").write_bytes(b"\x89PNG")

    done = argosy("deploy", str(tmp_path))

    assert done.code == 2
    assert done.err.startswith("error: logo.png: not a text file")


def test_why_a_build_failed_controls_no_terminal(
    server: RecordedServer, argosy: Cli, tmp_path: Path
) -> None:
    made = answers.deployed(build_id=BUILD_ID, build_required=True)
    failed = answers.build("failed", step="resolve", detail=HOSTILE, hint=HOSTILE)
    server.answer("POST", f"{W}/deployments", Answer(status=201, body=made))
    log = events(frame(1, "complete", status="failed", detail=HOSTILE))
    server.answer("GET", f"/v1/builds/{BUILD_ID}/events", log)
    server.answer("GET", f"/v1/builds/{BUILD_ID}", Answer(body=failed))
    server.answer("GET", f"{W}/deployments/d", Answer(body=answers.deployment("failed")))

    done = argosy("deploy", str(agent_folder(tmp_path / "echo")))

    assert not set("\x1b\x07\x9b\u202e") & set(done.out + done.err)
