"""`argosy deployment rollback` and `diff`: what they send and show."""

import json
from typing import Any

from tests.sdk import answers
from tests.sdk.conftest import Cli
from tests.sdk.recorded_server import Answer, RecordedServer, problem

ECHO = "/v1/workspaces/default/deployments/echo"
ROLLED_BACK = {"deployment": answers.deployment(), "revision": 4, "rolled_back_to": 2, "version": 2}


def side(text: str | None) -> dict[str, Any]:
    return {"digest": "sha256:00", "text": text}


DIFFERENCE: dict[str, Any] = {
    "before": 3,
    "after": 5,
    "files": [
        {
            "path": "agent.py",
            "change": "changed",
            "before": side("a\nb\n"),
            "after": side("a\nc\n"),
        },
        {"path": "large.csv", "change": "changed", "before": side(None), "after": side("x\n")},
        {"path": "new.txt", "change": "added", "before": None, "after": side("n\x1b[2J\n")},
    ],
    "requirements": {"removed": ["idna"], "added": ["idna==3.10"]},
    "configuration": [{"field": "limits.memory_mb", "before": 512, "after": 256}],
}


def test_rolling_back_names_what_serves_now(server: RecordedServer, argosy: Cli) -> None:
    server.answer("POST", f"{ECHO}/rollback", Answer(status=201, body=ROLLED_BACK))
    server.answer("POST", f"{ECHO}/rollback", Answer(status=201, body=ROLLED_BACK))

    shown = argosy("deployment", "rollback", "echo", "--to", "2")
    printed = argosy("deployment", "rollback", "echo", "--json")

    assert shown.code == 0, shown.err
    assert shown.out == "echo serves revision 4: version 2, as revision 2 did.\n"
    assert json.loads(printed.out)["rolled_back_to"] == 2
    sent = [each.body for each in server.requests("POST", f"{ECHO}/rollback")]
    assert sent == [{"to": 2}, {}]


def test_a_deployment_is_rolled_back_by_its_id_too(server: RecordedServer, argosy: Cli) -> None:
    id = "019793c2-0000-7000-8000-000000000003"
    server.answer("GET", f"/v1/deployments/{id}", Answer(body=answers.deployment()))
    path = "/v1/workspaces/w/deployments/echo/rollback"
    server.answer("POST", path, Answer(status=201, body=ROLLED_BACK))

    done = argosy("deployment", "rollback", id)

    assert done.code == 0, done.err
    assert len(server.requests("POST", path)) == 1


def test_a_refused_rollback_says_why(server: RecordedServer, argosy: Cli) -> None:
    why = "Revision 4 of echo failed; only one that was ready can serve again."
    server.answer("POST", f"{ECHO}/rollback", problem(409, "conflict", why))

    done = argosy("deployment", "rollback", "echo", "--to", "4")

    assert (done.code, done.out) == (5, "")
    assert why in done.err


def test_a_difference_is_shown_as_a_unified_diff(server: RecordedServer, argosy: Cli) -> None:
    server.answer("GET", f"{ECHO}/diff", Answer(body=DIFFERENCE))

    done = argosy("deployment", "diff", "echo", "3", "5")

    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        "--- a/agent.py",
        "+++ b/agent.py",
        "@@ -1,2 +1,2 @@",
        " a",
        "-b",
        "+c",
        "changed large.csv (too large to show)",
        "--- /dev/null",
        "+++ b/new.txt",
        "@@ -0,0 +1 @@",
        "+n\N{REPLACEMENT CHARACTER}[2J",
        "@@ requirements @@",
        "-idna",
        "+idna==3.10",
        "@@ configuration @@",
        "-limits.memory_mb: 512",
        "+limits.memory_mb: 256",
    ]


def test_a_difference_for_programs_is_what_the_server_says(
    server: RecordedServer, argosy: Cli
) -> None:
    server.answer("GET", f"{ECHO}/diff", Answer(body=DIFFERENCE))

    done = argosy("deployment", "diff", "echo", "3", "5", "--json")

    assert json.loads(done.out) == DIFFERENCE


def test_no_difference_is_said(server: RecordedServer, argosy: Cli) -> None:
    server.answer("GET", f"{ECHO}/diff", Answer(body={"before": 3, "after": 4}))

    done = argosy("deployment", "diff", "echo", "3", "4")

    assert done.out == "Revisions 3 and 4 are the same.\n"
