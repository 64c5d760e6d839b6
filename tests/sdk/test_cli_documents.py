"""The command line on tools, policies and model providers: above all, where secrets come from."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.sdk.answers import AT
from tests.sdk.conftest import Cli
from tests.sdk.recorded_server import Answer, RecordedServer, problem

W = "/v1/workspaces/default"
COMMON = {"id": "i", "name": "a", "workspace_id": "w", "revision": 2, "updated_at": AT}
TOOL: dict[str, Any] = COMMON | {
    "base_url": "https://a.example",
    "address": "https://a.example:8443/",
    "auth_type": "APIKey",
    "has_credential": True,
    "capabilities": [{"name": "list", "method": "", "path": "/v1/*", "description": "Lists."}],
    "lacks": "",
}
POLICY: dict[str, Any] = COMMON | {
    "rules": [{"permission": "deny", "resource": "*", "operations": ["GET"], "tags": []}],
    "used_by": ["billing"],
}
PROVIDER: dict[str, Any] = COMMON | {
    "vendor": "openai",
    "models": ["m-1", "m-2"],
    "requests_per_minute": 60,
    "lacks": "Its key is missing.",
}
NOUNS: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "tool": ("tools", TOOL, ["https://a.example:8443/", "kept in the vault", "/v1/*", "any"]),
    "policy": ("policies", POLICY, ["billing", "deny", "GET"]),
    "model-provider": ("model-providers", PROVIDER, ["m-1", "60 requests", "key is missing"]),
}


def stdin(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


@pytest.mark.parametrize("noun", NOUNS)
def test_each_is_listed_shown_and_deleted(server: RecordedServer, argosy: Cli, noun: str) -> None:
    plural, answer, says = NOUNS[noun]
    page = {"items": [answer], "next_cursor": None, "position": 1}
    server.answer("GET", f"{W}/{plural}", Answer(body=page))
    server.answer("GET", f"{W}/{plural}/a", Answer(body=answer))
    server.answer("DELETE", f"{W}/{plural}/a", Answer(status=204))

    listed, shown = argosy(noun, "list"), argosy(noun, "show", "a")

    assert listed.out.splitlines()[1].startswith("a ")
    assert [text for text in says if text not in shown.out] == []
    assert json.loads(argosy(noun, "show", "a", "--json").out)["revision"] == 2
    assert argosy(noun, "delete", "a", "--yes").out == "Deleted a.\n"


@pytest.mark.parametrize("noun", NOUNS)
def test_what_was_shown_can_be_sent_back(
    server: RecordedServer, argosy: Cli, alone: Path, noun: str
) -> None:
    plural, answer, _ = NOUNS[noun]
    server.answer("PUT", f"{W}/{plural}/a", Answer(body=answer))
    (alone / "a.json").write_text(json.dumps(answer))

    done = argosy(noun, "apply", "a", "a.json")

    assert done.out == "a: revision 2.\n"
    assert done.err.strip() == answer.get("lacks", "")
    [asked] = server.asked
    declared = {"base_url", "auth_type", "capabilities", "rules", "vendor", "models"}
    assert set(asked.body) <= {*declared, "requests_per_minute"}
    assert "idempotency-key" not in asked.headers
    assert asked.headers["content-type"] == "application/json"


def test_a_credential_comes_from_the_environment(
    server: RecordedServer, argosy: Cli, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answer("PUT", f"{W}/tools/a", Answer(body=TOOL))
    (alone / "a.json").write_text('{"base_url": "https://a.example"}')
    monkeypatch.setenv("STRIPE_KEY", "sk-canary\n")

    done = argosy("tool", "apply", "a", "a.json", "--credential-env", "STRIPE_KEY", "--json")

    assert server.asked[0].body == {"base_url": "https://a.example", "credential": "sk-canary"}
    assert "canary" not in done.out + done.err


def test_or_from_stdin(
    server: RecordedServer, argosy: Cli, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answer("PUT", f"{W}/model-providers/a", Answer(body=PROVIDER))
    (alone / "a.json").write_text('{"vendor": "openai", "models": ["m"]}')
    stdin(monkeypatch, "sk-canary\n")

    argosy("model-provider", "apply", "a", "a.json", "--credential-stdin")

    assert server.asked[0].body["credential"] == "sk-canary"


def test_the_document_may_come_from_stdin(
    server: RecordedServer, argosy: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answer("PUT", f"{W}/policies/a", Answer(body=POLICY))
    stdin(monkeypatch, '{"rules": []}')

    argosy("policy", "apply", "a")

    assert server.asked[0].body == {"rules": []}


BAD: list[tuple[list[str], str]] = [
    (["a", "missing.json"], "missing.json: No such file"),
    (["a", "not.json"], "not.json: not a JSON object"),
    (["a", "list.json"], "list.json: not a JSON object"),
    (["b", "a.json"], "is of 'a', not of 'b'"),
    (["a", "a.json", "--credential-env", "NOT_SET"], "NOT_SET is not set"),
    (["a", "--credential-stdin"], "name a FILE"),
    (["a", "a.json", "--credential-stdin"], "stdin is empty"),
    (["a", "a.json", "--credential-stdin", "--credential-env", "X"], "not both"),
    (["a", "a.json", "--credential", "sk-1"], "No such option"),
]


@pytest.mark.parametrize(("arguments", "says"), BAD, ids=lambda each: str(each)[:40])
def test_what_cannot_be_sent_is_said(
    server: RecordedServer,
    argosy: Cli,
    alone: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    says: str,
) -> None:
    (alone / "a.json").write_text('{"name": "a"}')
    (alone / "not.json").write_text("{")
    (alone / "list.json").write_text("[]")
    stdin(monkeypatch, "")

    done = argosy("tool", "apply", *arguments)

    assert done.code == 2
    assert says in done.err
    assert server.asked == []


@pytest.mark.parametrize("noun", NOUNS)
def test_what_is_not_there_says_where_to_look(
    server: RecordedServer, argosy: Cli, noun: str
) -> None:
    plural = NOUNS[noun][0]
    detail = f"There is no {noun.replace('-', ' ')} 'a'."
    server.answer("GET", f"{W}/{plural}/a", problem(404, "not-found", detail))

    done = argosy(noun, "show", "a")

    assert done.code == 5
    assert f"`argosy {noun} list`" in done.err


def test_the_starter_kit_says_what_it_made(server: RecordedServer, argosy: Cli) -> None:
    kit = {
        "tool": "echo-tool",
        "model_provider": "playground-llm",
        "policy": "echo-read-policy",
        "created": ["echo-tool"],
    }
    server.answer("POST", f"{W}/starter-kit", Answer(status=201, body=kit))

    done = argosy("starter-kit")

    assert [line.split()[-1] for line in done.out.splitlines()] == ["made", "there", "there"]
    assert json.loads(argosy("starter-kit", "--json").out) == kit
