"""What an agent's environment says of its models and tools."""

import json
import subprocess

from domain.catalog import Capability, Tool
from domain.deployments import ModelConfig, Settings
from workers.gateway.environment import (
    GATEWAY_URL,
    MAX_VARIABLE_BYTES,
    agent_environment,
    passable,
    tool_functions,
)

BASE = "http://127.0.0.1:8701"
ECHO = Tool(
    base_url="https://echo.example.invalid",
    description="Echoes.",
    capabilities=[Capability(name="echo", method="POST", path="/echo", description="Say it.")],
)
PLAIN = Tool(base_url="https://api.stripe.com", description="Money.")


def test_an_agent_without_anything_knows_the_gateway() -> None:
    environment, left_out = agent_environment(Settings(), {})

    assert left_out == []
    assert environment == {
        "ARGOSY_GATEWAY_PORT": "8701",
        "LLM_GATEWAY_URL": f"{BASE}/v1/chat/completions",
        "OPENAI_BASE_URL": f"{BASE}/v1",
        "OPENAI_API_BASE": f"{BASE}/v1",
        "ANTHROPIC_BASE_URL": f"{BASE}/v1",
        "OPENAI_API_KEY": "platform-managed",
        "ANTHROPIC_API_KEY": "platform-managed",
        "TOOL_NAMES": "",
        "TOOL_DEFINITIONS_JSON": "[]",
        "TOOL_ROUTES_JSON": "{}",
        "TOOL_URL_REWRITES_JSON": "{}",
        "GOVERNANCE_URL": BASE,
        "RUNAGENTS_OUTBOUND_MODE": "direct",
        "MAX_TOOL_ITERATIONS": "10",
        "PORT": "8080",
    }


def test_models_are_named_by_their_role() -> None:
    configs = [
        ModelConfig(provider="openai", model="text-embedding-3-small", role="embedding"),
        ModelConfig(provider="anthropic", model="claude", role="chat", model_provider="ours"),
        ModelConfig(provider="openai", model="gpt-4o-mini", role="default"),
        ModelConfig(provider="openai", model="other", role="embedding"),
    ]

    environment, _ = agent_environment(Settings(llm_configs=configs), {})

    assert {name: value for name, value in environment.items() if name.startswith("LLM_")} == {
        "LLM_GATEWAY_URL": f"{BASE}/v1/chat/completions",
        "LLM_MODEL": "claude",
        "LLM_PROVIDER": "anthropic",
        "LLM_PROVIDER_NAME": "ours",
        "LLM_MODEL_EMBEDDING": "text-embedding-3-small",
        "LLM_PROVIDER_EMBEDDING": "openai",
    }


def test_without_a_chat_model_the_first_is_the_one() -> None:
    configs = [ModelConfig(provider="openai", model="m", role="classify")]

    environment, _ = agent_environment(Settings(llm_configs=configs), {})

    assert environment["LLM_MODEL"] == environment["LLM_MODEL_CLASSIFY"] == "m"


def test_tools_are_urls_functions_and_routes() -> None:
    settings = Settings(
        required_tools=["echo-tool", "stripe-api", "unknown"],
        tool_url_mappings={
            "https://echo.example.invalid": "echo-tool",
            "https://api.stripe.com": "stripe-api",
        },
    )

    environment, _ = agent_environment(settings, {"echo-tool": ECHO, "stripe-api": PLAIN})

    assert environment["TOOL_NAMES"] == "echo-tool,stripe-api,unknown"
    assert environment["TOOL_URL_ECHO_TOOL"] == f"{BASE}/tools/echo-tool"
    assert environment["TOOL_URL_STRIPE_API"] == f"{BASE}/tools/stripe-api"
    assert environment["TOOL_URL_UNKNOWN"] == f"{BASE}/tools/unknown"
    assert json.loads(environment["TOOL_URL_REWRITES_JSON"]) == {
        "https://echo.example.invalid": f"{BASE}/tools/echo-tool/echo",
        "https://api.stripe.com": f"{BASE}/tools/stripe-api",
    }
    assert environment["RUNAGENTS_OUTBOUND_MODE"] == "alias"
    assert json.loads(environment["TOOL_ROUTES_JSON"]) == {
        "echo-tool__echo": {"tool": "echo-tool", "method": "POST", "path": "/echo"},
        "stripe-api__call": {"tool": "stripe-api", "method": "POST", "path": "/"},
    }
    first, second = json.loads(environment["TOOL_DEFINITIONS_JSON"])
    assert first == {
        "type": "function",
        "function": {
            "name": "echo-tool__echo",
            "description": "Say it.",
            "parameters": {"type": "object", "properties": {}},
        },
    }
    assert second["function"]["description"] == "Money."


def test_functions_have_names_that_models_accept() -> None:
    names = ["read all", "read/all", "x" * 100, "x" * 101]
    tool = Tool(base_url="https://x", capabilities=[Capability(name=name) for name in names])

    definitions, routes = tool_functions({"t": tool})

    made = [each["function"]["name"] for each in definitions]
    assert made == ["t__read_all", "t__read_all_2", "t__" + "x" * 61, "t__" + "x" * 59 + "_2"]
    assert list(routes) == made


def test_a_wildcard_is_no_part_of_a_route() -> None:
    tool = Tool(base_url="https://x", capabilities=[Capability(name="any", path="/v1/*")])

    _, routes = tool_functions({"t": tool})

    assert routes["t__any"]["path"] == "/v1/"


def test_the_deployments_own_variables_win_but_not_over_argosys() -> None:
    own = {"OPENAI_BASE_URL": "https://own", "PORT": "9", "ARGOSY_GATEWAY_PORT": "1", "X": "y"}

    environment, _ = agent_environment(Settings(environment=own), {})

    assert environment["OPENAI_BASE_URL"] == "https://own"
    assert (environment["PORT"], environment["X"]) == ("9", "y")
    assert environment["ARGOSY_GATEWAY_PORT"] == "8701"
    assert environment["LLM_GATEWAY_URL"].startswith(GATEWAY_URL)


def test_what_the_kernel_cannot_pass_is_left_out_and_named() -> None:
    own = {"HUGE": "x" * 200_000, **{f"BIG_{n}": "x" * 90_000 for n in range(12)}}
    capabilities = [Capability(name=f"c{n}", description="d" * 1000) for n in range(120)]
    tool = Tool(base_url="https://x", capabilities=capabilities)

    environment, left_out = agent_environment(
        Settings(environment=own, required_tools=["t"]), {"t": tool}
    )

    assert left_out == ["HUGE", "BIG_11", "TOOL_DEFINITIONS_JSON"]
    assert environment["TOOL_URL_T"]
    subprocess.run(["/bin/true"], env=environment, check=True)


def test_the_largest_variable_can_be_passed() -> None:
    value = "x" * (MAX_VARIABLE_BYTES - len("NAME") - 2)

    environment, left_out = passable({"NAME": value})

    assert (environment, left_out) == ({"NAME": value}, [])
    subprocess.run(["/bin/true"], env=environment, check=True)
