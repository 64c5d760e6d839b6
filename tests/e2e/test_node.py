"""Agents in JavaScript, from the deploy to their answer."""

from typing import Any

import httpx
import pytest

from adapters.bases import find_base
from tests.conftest import require
from tests.e2e.servers import KEY, DevServer

HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}

SCRIPT = (
    "import { readFileSync } from 'node:fs';\nconsole.log('heard ' + readFileSync(0, 'utf8'));\n"
)
COMMON = (
    "const { twice } = require('./lib.js');\nexports.handler = async (r) => twice(r.message);\n"
)
LIBRARY = "exports.twice = (text) => `${text} ${text}`;\n"
RICH = """
export function handler(request) {
  console.log("a line for the log");
  return { response: `${request.message}, ${request.context.name}`, mood: "good" };
}
"""
STREAMS = "export default async function* () { yield 'one '; yield 'two \\u{1F600}'; }\n"
FAILS = "export const handler = () => { throw new TypeError('no such luck'); };\n"


@pytest.fixture(scope="module", autouse=True)
def node() -> None:
    if not find_base().node:
        require("node", "there is no Node 20 on this machine")


def post(dev: DevServer, path: str, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{dev.url}{path}", json=body, headers=HEADERS, timeout=30)


def deploy(dev: DevServer, name: str, files: dict[str, str]) -> httpx.Response:
    body = {"name": name, "source": {"files": files}}
    return post(dev, "/v1/workspaces/default/deployments", body)


@pytest.mark.parametrize(
    ("name", "files", "output"),
    [
        ("script", {"agent.mjs": SCRIPT}, "heard go"),
        ("common", {"agent.js": COMMON, "lib.js": LIBRARY}, "go go"),
        ("modules", {"index.js": SCRIPT, "package.json": '{"type": "module"}'}, "heard go"),
        ("streams", {"agent.mjs": STREAMS}, "one two 😀"),
    ],
)
def test_it_runs_at_once(dev: DevServer, name: str, files: dict[str, str], output: str) -> None:
    deployed = deploy(dev, f"node-{name}", files)
    assert deployed.status_code == 201, deployed.text

    run = dev.argosy("invoke", f"node-{name}", "-m", "go", "--json").json

    assert deployed.json()["execution_mode"] == "INSTANT_RUNTIME"
    assert (run["status"], run["output"].strip()) == ("completed", output)


def test_a_handler_answers_and_logs(dev: DevServer) -> None:
    deploy(dev, "node-rich", {"agent.mjs": RICH})
    path = "/v1/workspaces/default/deployments/node-rich/runs"
    body = {"message": "hello", "context": {"name": "you"}}
    run_id = post(dev, path, body).json()["id"]

    run = dev.argosy("run", "events", run_id, "--follow", "--json", expect=None)

    assert "hello, you" in run.out
    assert "a line for the log" in run.out
    assert '"mood"' in dev.argosy("replay", f"run-{run_id}", "--json").out


def test_a_failure_names_the_place(dev: DevServer) -> None:
    deploy(dev, "node-fails", {"agent.mjs": FAILS})

    run = dev.argosy("invoke", "node-fails", "-m", "go", "--json", expect=1).json

    assert run["status"] == "failed"
    assert "TypeError: no such luck" in str(run)


@pytest.mark.parametrize(
    ("files", "field", "words"),
    [
        (
            {"agent.js": COMMON, "package.json": '{"dependencies": {"left-pad": "1"}}'},
            "source.files.package.json",
            "left-pad",
        ),
        ({"agent.js": COMMON, "package.json": "{"}, "source.files.package.json", "cannot be read"),
        ({"agent.js": COMMON, "requirements.txt": "six"}, "source.requirements", "are Python's"),
    ],
)
def test_packages_are_refused_at_once(
    dev: DevServer, files: dict[str, str], field: str, words: str
) -> None:
    refused = deploy(dev, "node-refused", files)

    assert refused.status_code == 422
    assert refused.json()["field"] == field
    assert words in refused.json()["detail"]
