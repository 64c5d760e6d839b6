"""`argosy deploy --dry-run`: what it sends and shows."""

import json
from pathlib import Path

from tests.sdk.conftest import Cli
from tests.sdk.recorded_server import Answer, RecordedServer

PREVIEW = "/v1/workspaces/default/deploy/preview"
ANSWER = {
    "name": "echo",
    "version": 2,
    "revision": 3,
    "unchanged": False,
    "execution_mode": "FAST_OVERLAY",
    "build_required": True,
    "build_profile": "fast_overlay",
    "decision_reason": "idna will be installed from wheels over python-3.13.",
}


def folder(place: Path) -> str:
    place.mkdir()
    (place / "agent.py").write_text("print('hello')")
    (place / "requirements.txt").write_text("idna\n")
    return str(place)


def test_a_dry_run_asks_and_deploys_nothing(
    server: RecordedServer, argosy: Cli, tmp_path: Path
) -> None:
    server.answer("POST", PREVIEW, Answer(body=ANSWER))

    done = argosy("deploy", folder(tmp_path / "echo"), "--dry-run", "--env", "A=1")

    assert done.code == 0, done.err
    assert "FAST_OVERLAY" in done.out
    assert "idna will be installed from wheels over python-3.13." in done.out
    assert "version 2, revision 3" in done.out
    assert "Nothing was changed." in done.err
    assert server.requests("POST", PREVIEW)[0].body == {
        "name": "echo",
        "source": {"files": {"agent.py": "print('hello')"}, "requirements": "idna\n"},
        "environment": {"A": "1"},
    }
    assert server.requests("POST", "/v1/workspaces/default/deployments") == []


def test_a_dry_run_for_programs_is_what_the_server_says(
    server: RecordedServer, argosy: Cli, tmp_path: Path
) -> None:
    server.answer("POST", PREVIEW, Answer(body=ANSWER))

    done = argosy("deploy", folder(tmp_path / "echo"), "--dry-run", "--json")

    assert json.loads(done.out) == ANSWER


def test_watching_and_a_dry_run_exclude_each_other(argosy: Cli, tmp_path: Path) -> None:
    done = argosy("deploy", folder(tmp_path / "echo"), "--dry-run", "--watch")

    assert (done.code, done.out) == (2, "")
    assert "--dry-run" in done.err
