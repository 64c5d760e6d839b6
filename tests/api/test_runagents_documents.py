"""The RunAgents dialect: tools, policies and model providers, in the original's shapes."""

import asyncio
import json
from typing import Any

import pytest

from domain.documents import MODEL_PROVIDERS, TOOLS
from tests.api.conftest import Api
from tests.api.test_documents import reference, secret

# As the clients really send them.
FLAT = {
    "name": "stripe-api",
    "base_url": "https://api.stripe.com",
    "description": "Payments",
    "auth_type": "APIKey",
    "port": 443,
    "scheme": "HTTPS",
}
# The documented examples.
DRIVE: dict[str, Any] = {
    "name": "google-drive",
    "spec": {
        "description": "Google Drive file management",
        "connection": {
            "topology": "External",
            "baseUrl": "https://www.googleapis.com",
            "port": 443,
            "scheme": "HTTPS",
            "authentication": {
                "type": "OAuth2",
                "oauth2Config": {
                    "authUrl": "https://accounts.google.com/o/oauth2/v2/auth",
                    "tokenUrl": "https://oauth2.googleapis.com/token",
                    "scopes": ["https://www.googleapis.com/auth/drive.readonly"],
                },
            },
        },
        "governance": {
            "accessControl": {"mode": "Restricted"},
            "caching": {"enabled": True, "duration": "5m"},
        },
        "capabilities": [
            {
                "name": "get-file",
                "method": "GET",
                "path": "/drive/v3/files/*",
                "description": "Get file metadata",
            }
        ],
        "riskTags": ["pii"],
    },
    "credentials": {"client_id": "123.apps", "client_secret": "GOCSPX-canary"},
}
POLICY: dict[str, Any] = {
    "name": "write-approval",
    "spec": {
        "policies": [
            {"permission": "allow", "operations": ["GET"], "resource": "https://a.example/*"},
            {"permission": "approval_required", "tags": ["money"]},
        ],
        "approvals": [{"name": "writes", "approvers": {"groups": ["finance"]}}],
    },
}
PROVIDER: dict[str, Any] = {
    "name": "anthropic-prod",
    "spec": {
        "provider": "anthropic",
        "endpoint": "https://api.anthropic.com",
        "models": ["claude-3-5-sonnet-20241022"],
        "auth": {
            "type": "APIKey",
            "apiKeyConfig": {
                "in": "Header",
                "name": "x-api-key",
                "secretRef": {"name": "anthropic-api-key"},
            },
        },
        "rateLimit": {"requestsPerMinute": 500},
    },
}
BODIES = {"tools": FLAT, "policies": POLICY, "model-providers": PROVIDER}


async def test_a_tool_as_the_clients_send_it(api: Api) -> None:
    answer = await api.ask("POST", "/api/tools", json=FLAT)

    assert answer.status_code == 201
    tool = answer.json()
    assert (tool["name"], tool["namespace"]) == ("stripe-api", "default")
    assert tool["spec"]["description"] == "Payments"
    assert tool["spec"]["topology"] == "External"
    assert tool["spec"]["accessMode"] == "Open"
    assert tool["spec"]["connection"] == {
        "topology": "External",
        "baseUrl": "https://api.stripe.com",
        "port": 443,
        "scheme": "HTTPS",
        "authentication": {
            "type": "APIKey",
            "apiKeyConfig": {"in": "Header", "name": "Authorization", "valuePrefix": "Bearer "},
        },
    }
    assert tool["spec"]["capabilities"] == tool["spec"]["riskTags"] == []
    assert tool["status"] == {"phase": "Pending", "message": "Its credentials are missing."}


async def test_a_tool_as_it_is_documented(api: Api) -> None:
    answer = await api.ask("POST", "/api/tools", json=DRIVE)

    tool = answer.json()
    assert (answer.status_code, tool["status"]) == (201, {"phase": "Available", "message": ""})
    assert tool["spec"]["connection"]["authentication"] == {
        "type": "OAuth2",
        "oauth2Config": {
            "authUrl": "https://accounts.google.com/o/oauth2/v2/auth",
            "tokenUrl": "https://oauth2.googleapis.com/token",
            "scopes": ["https://www.googleapis.com/auth/drive.readonly"],
            "authParams": {},
            "credentialsSecretRef": {"name": "google-drive-credentials"},
        },
    }
    assert tool["spec"]["governance"] == {"accessControl": {"mode": "Restricted"}}
    [capability] = tool["spec"]["capabilities"]
    assert (capability["method"], capability["path"]) == ("GET", "/drive/v3/files/*")
    assert tool["spec"]["riskTags"] == ["pii"]
    assert "canary" not in answer.text
    assert await secret(api, await reference(api, TOOLS, "google-drive")) == "GOCSPX-canary"
    native = (await api.ask("GET", "/v1/workspaces/default/tools/google-drive")).json()
    assert native["oauth2"]["client_id"] == "123.apps"


async def test_what_is_shown_can_be_sent_again(api: Api) -> None:
    """With the secret kept, although nothing of it was shown."""
    made = {
        path: (await api.ask("POST", f"/api/{path}", json=body)).json()
        for path, body in (("tools", DRIVE), ("policies", POLICY), ("model-providers", PROVIDER))
    }
    before = await api.services.store.head()

    for path, shown in made.items():
        answer = await api.ask("POST", f"/api/{path}", json=shown)

        assert answer.status_code == 201, answer.text
        assert answer.json() == shown
    assert await api.services.store.head() == before


async def test_the_flat_shape_leaves_the_rest_of_a_tool_as_it_is(api: Api) -> None:
    """Without its capabilities a tool would let everything through."""
    spec = DRIVE["spec"] | {
        "connection": {
            "baseUrl": "https://api.stripe.com",
            "authentication": {"type": "APIKey", "apiKeyConfig": {"in": "Query", "name": "key"}},
        }
    }
    body = {"name": "stripe-api", "spec": spec, "credentials": {"api_key": "sk-canary"}}
    first = (await api.ask("POST", "/api/tools", json=body)).json()

    again = (await api.ask("POST", "/api/tools", json=FLAT)).json()

    assert first["spec"]["connection"]["authentication"]["apiKeyConfig"] == {
        "in": "Query",
        "name": "key",
        "valuePrefix": "",
        "secretRef": {"name": "stripe-api-credentials"},
    }
    assert again["spec"] == first["spec"] | {"description": "Payments"}
    assert again["status"]["phase"] == "Available"


async def test_null_is_as_good_as_nothing(api: Api) -> None:
    flat = FLAT | {"description": None, "spec": None, "credentials": None}
    spec = DRIVE["spec"] | {"governance": None, "riskTags": None}

    for body in (flat, DRIVE | {"spec": spec}):
        assert (await api.ask("POST", "/api/tools", json=body)).status_code == 201


async def test_policies_are_made_replaced_and_found(api: Api) -> None:
    """`policies.apply` asks for the name first, and a 404 decides between POST and PUT."""
    missing = await api.ask("GET", "/api/policies/write-approval")
    early = await api.ask("PUT", "/api/policies/write-approval", json=POLICY)
    made = await api.ask("POST", "/api/policies", json=POLICY)
    await api.ask(
        "POST",
        "/api/deploy",
        json={
            "agent_name": "bound",
            "source_files": {"agent.py": "print(1)"},
            "policies": ["write-approval"],
        },
    )
    deny = {"permission": "deny", "resource": "*"}
    changed = {"name": "write-approval", "spec": {"policies": [deny]}}
    replaced = await api.ask("PUT", "/api/policies/write-approval", json=changed)

    assert (missing.status_code, early.status_code) == (404, 404)
    assert made.status_code == 201
    assert made.json()["namespace"] == "default"
    assert made.json()["spec"] == POLICY["spec"]
    assert made.json()["status"] == {"ready": True, "message": ""}
    assert made.json()["used_by"] == []
    assert replaced.status_code == 200
    assert replaced.json()["spec"] == {"policies": [deny], "approvals": []}
    assert replaced.json()["used_by"] == [{"name": "bound", "namespace": "default"}]
    assert (await api.ask("GET", "/api/policies")).json() == [replaced.json()]


async def test_model_providers_take_a_key_and_never_show_it(api: Api) -> None:
    without = await api.ask("POST", "/api/model-providers", json=PROVIDER)
    keyed = PROVIDER | {"credentials": {"api_key": "sk-canary"}}
    with_key = await api.ask("POST", "/api/model-providers", json=keyed)
    kept = await api.ask("POST", "/api/model-providers", json=PROVIDER)
    none = {"name": "anthropic-prod", "spec": PROVIDER["spec"] | {"auth": {"type": "None"}}}
    known = await reference(api, MODEL_PROVIDERS, "anthropic-prod")
    dropped = await api.ask("POST", "/api/model-providers", json=none)

    assert without.status_code == 201
    assert without.json()["status"] == {"phase": "Pending", "message": "Its key is missing."}
    assert with_key.json()["status"] == {"phase": "Available", "message": ""}
    assert with_key.json() | {"updated_at": ""} == kept.json() | {"updated_at": ""}
    assert with_key.json()["spec"] == {
        "provider": "anthropic",
        "endpoint": "https://api.anthropic.com/v1",
        "models": ["claude-3-5-sonnet-20241022"],
        "auth": {
            "type": "APIKey",
            "apiKeyConfig": {
                "in": "Header",
                "name": "x-api-key",
                "valuePrefix": "",
                "secretRef": {"name": "anthropic-prod-credentials"},
            },
        },
        "rateLimit": {"requestsPerMinute": 500},
    }
    assert dropped.json()["status"]["phase"] == "Pending"
    assert await secret(api, known) is None
    assert "canary" not in with_key.text


@pytest.mark.parametrize("noun", BODIES)
async def test_each_is_listed_found_and_deleted(api: Api, noun: str) -> None:
    body = BODIES[noun]
    path = f"/api/{noun}/{body['name']}"
    made = (await api.ask("POST", f"/api/{noun}", json=body)).json()

    listed = await api.ask("GET", f"/api/{noun}")
    found = await api.ask("GET", path)
    deleted = await api.ask("DELETE", path)

    assert listed.json() == [made] == [found.json()]
    assert "null" not in json.dumps(made), "the clients trip over some"
    assert (deleted.status_code, deleted.json()) == (200, {"status": "deleted"})
    assert (await api.ask("GET", f"/api/{noun}")).json() == []
    for method in ("GET", "DELETE"):
        gone = await api.ask(method, path)
        assert (gone.status_code, list(gone.json())) == (404, ["error"])


async def test_a_namespace_in_a_tool_s_path_decides(api: Api) -> None:
    await api.ask("POST", "/v1/workspaces", json={"slug": "staging"})
    header = {"X-Workspace-Namespace": "staging"}
    made = await api.ask("POST", "/api/tools", json=FLAT, headers=header)

    assert made.json()["namespace"] == "staging"
    assert (await api.ask("GET", "/api/tools/stripe-api")).status_code == 404
    assert (await api.ask("GET", "/api/tools/default/stripe-api")).status_code == 404
    assert (await api.ask("GET", "/api/tools/staging/stripe-api")).json() == made.json()
    assert (await api.ask("DELETE", "/api/tools/staging/stripe-api")).status_code == 200
    assert (await api.ask("GET", "/api/tools", headers=header)).json() == []


@pytest.mark.parametrize("noun", BODIES)
async def test_fifty_at_once_make_one(api: Api, noun: str) -> None:
    answers = await asyncio.gather(
        *(api.ask("POST", f"/api/{noun}", json=BODIES[noun]) for _ in range(50))
    )

    assert {each.status_code for each in answers} == {201}
    assert len((await api.ask("GET", f"/api/{noun}")).json()) == 1


def spec(**changes: Any) -> dict[str, Any]:
    return {"name": "a", "spec": {"connection": {"baseUrl": "https://a.example"}} | changes}


def connection(**changes: Any) -> dict[str, Any]:
    return spec(connection={"baseUrl": "https://a.example"} | changes)


def provider(**changes: Any) -> dict[str, Any]:
    return {"name": "a", "spec": {"provider": "openai", "models": ["a"]} | changes}


def rule(**changes: Any) -> dict[str, Any]:
    return {"name": "a", "spec": {"policies": [{"permission": "deny", "resource": "*"} | changes]}}


BAD: list[tuple[str, dict[str, Any] | bytes, str]] = [
    ("tools", b"", "tool name and base_url are required"),
    ("tools", b"{", "not JSON"),
    ("tools", b"[" * 100_000, "object"),
    ("tools", {"name": "a"}, "tool name and base_url are required"),
    ("tools", {"base_url": "https://a.example"}, "tool name and base_url are required"),
    ("tools", {"name": "a", "spec": {}}, "tool name and base_url are required"),
    ("tools", FLAT | {"name": "Not A Name"}, "name must be 1 to 63"),
    ("tools", FLAT | {"name": 5}, "name"),
    ("tools", FLAT | {"base_url": "api.stripe.com"}, "base_url must begin with http"),
    ("tools", FLAT | {"auth_type": "Basic"}, "auth_type"),
    ("tools", FLAT | {"port": 0}, "port must be 1 to 65535"),
    ("tools", FLAT | {"scheme": "https"}, "scheme"),
    ("tools", FLAT | {"credentials": {"api_key": "a\nb"}}, "credentials must be"),
    ("tools", FLAT | {"credentials": {"api_key": 5}}, "credentials.api_key"),
    ("tools", FLAT | {"credentials": {"api_key": "a", "client_secret": "b"}}, "not both"),
    ("tools", FLAT | {"auth_type": "None", "credentials": {"api_key": "a"}}, "no credentials"),
    ("tools", connection(baseUrl="https://u:p@a.example"), "spec.connection.baseUrl must not"),
    ("tools", connection(port=70_000), "spec.connection.port"),
    ("tools", connection(authentication={"type": "Basic"}), "spec.connection.authentication.type"),
    ("tools", connection(authentication={"type": "OAuth2"}), "oauth2Config is required"),
    (
        "tools",
        connection(authentication={"type": "OAuth2", "oauth2Config": {"tokenUrl": "id"}}),
        "spec.connection.authentication.oauth2Config.tokenUrl",
    ),
    ("tools", spec(capabilities=[{"path": "/"}]), "spec.capabilities[0].name"),
    ("tools", spec(capabilities=[{"name": "a", "path": "v1"}]), "spec.capabilities[0].path"),
    ("policies", b"", "'spec' is required"),
    ("policies", {"spec": {"policies": []}}, "policy name is required"),
    ("policies", {"name": "a", "spec": {}}, "'spec.policies' is required"),
    ("policies", rule(permission="may"), "spec.policies[0].permission"),
    ("policies", rule(operation=["GET"]), "operation"),
    ("policies", rule(operations=["READ"]), "spec.policies[0].operations[0]"),
    ("policies", rule(resource="ftp://a"), "spec.policies[0].resource"),
    ("policies", rule(resource=""), "spec.policies[0] chooses nothing"),
    ("model-providers", b"", "'spec' is required"),
    ("model-providers", {"spec": PROVIDER["spec"]}, "model provider name is required"),
    ("model-providers", provider(provider="acme"), "spec.provider"),
    ("model-providers", provider(models=[]), "spec.models"),
    ("model-providers", provider(models=[{"id": "a"}]), "spec.models[0]"),
    ("model-providers", provider(endpoint="x"), "spec.endpoint"),
    ("model-providers", provider(auth={"type": "AWSSignature"}), "spec.auth.type"),
    (
        "model-providers",
        provider(auth={"apiKeyConfig": {"name": "X-Key"}}),
        "spec.auth.apiKeyConfig.name must be 'authorization' for openai",
    ),
    (
        "model-providers",
        provider(auth={"type": "None"}) | {"credentials": {"api_key": "a"}},
        "spec.auth.type None takes no credentials",
    ),
    (
        "model-providers",
        provider(rateLimit={"requestsPerMinute": -1}),
        "spec.rateLimit.requestsPerMinute",
    ),
]


async def test_bad_input_is_a_400_that_names_the_field(api: Api) -> None:
    before = await api.services.store.head()
    for noun, body, says in BAD:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()

        answer = await api.ask("POST", f"/api/{noun}", content=content)

        assert answer.status_code == 400, (noun, body, answer.text)
        assert list(answer.json()) == ["error"]
        assert says in answer.json()["error"], (noun, body, answer.text)
    assert await api.services.store.head() == before


async def test_a_policy_s_path_and_body_agree(api: Api) -> None:
    await api.ask("POST", "/api/policies", json=POLICY)

    other = await api.ask("PUT", "/api/policies/write-approval", json=POLICY | {"name": "other"})
    unnamed = await api.ask("PUT", "/api/policies/write-approval", json={"spec": POLICY["spec"]})

    assert other.status_code == 400
    assert "write-approval" in other.json()["error"]
    assert unnamed.status_code == 200


@pytest.mark.parametrize("noun", BODIES)
async def test_viewers_read_and_deployers_write(api: Api, noun: str) -> None:
    body = BODIES[noun]
    viewer, deployer = await api.make_key("viewer"), await api.make_key("deployer")

    assert (await api.ask("POST", f"/api/{noun}", json=body, key=viewer)).status_code == 403
    assert (await api.ask("POST", f"/api/{noun}", json=body, key=deployer)).status_code == 201
    assert (await api.ask("GET", f"/api/{noun}", key=viewer)).status_code == 200
