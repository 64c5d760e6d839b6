"""The environment that tells an agent of its models and tools (RunAgents contract §6.1).

What the harness says of the program itself (AGENT_NAME, SYSTEM_PROMPT, USER_ENTRY_POINT…) is not
here. No URL carries a token: the sandbox's socket says who calls.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from domain.catalog import Capability, Tool
from domain.deployments import ModelConfig, Settings

# Free of what agents and their frameworks listen on.
GATEWAY_PORT = 8701
GATEWAY_URL = f"http://127.0.0.1:{GATEWAY_PORT}"
MODELS_URL = f"{GATEWAY_URL}/v1"
# The forwarder's word to go, and what no deployment may replace.
PORT_VARIABLE = "ARGOSY_GATEWAY_PORT"
AGENT_PORT = "8080"
MAX_TOOL_ITERATIONS = "10"
KEY = "platform-managed"

# The kernel takes 128 KiB a variable, its name included, and 2 MiB of them and of arguments.
MAX_VARIABLE_BYTES = 100_000
MAX_ENVIRONMENT_BYTES = 1_000_000

MAX_FUNCTION_NAME = 64  # characters, as OpenAI allows
_CHAT_ROLES = frozenset({"chat", "default"})


def agent_environment(
    settings: Settings, tools: Mapping[str, Tool]
) -> tuple[dict[str, str], list[str]]:
    """Return the variables, and the names of those that are too large to be passed.

    tools: the documents of `settings.required_tools`, as far as they exist.
    """
    port = {PORT_VARIABLE: str(GATEWAY_PORT)}
    own = settings.environment
    ours = {
        **_models(settings.llm_configs),
        **_tools(settings, tools),
        "GOVERNANCE_URL": GATEWAY_URL,
        "RUNAGENTS_OUTBOUND_MODE": "alias" if settings.tool_url_mappings else "direct",
        "MAX_TOOL_ITERATIONS": MAX_TOOL_ITERATIONS,
        "PORT": AGENT_PORT,
    }
    # Named twice, the first place and the last value count: what wins also comes first.
    return passable({**port, **own, **ours, **own, **port})


def passable(environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return what the kernel can pass to a program, the first ones first, and the other names."""
    passed: dict[str, str] = {}
    left_out: list[str] = []
    size = 0
    for name, value in environment.items():
        length = len(name.encode()) + len(value.encode("utf-8", "replace")) + 2
        if length > MAX_VARIABLE_BYTES or size + length > MAX_ENVIRONMENT_BYTES:
            left_out.append(name)
        else:
            passed[name] = value
            size += length
    return passed, left_out


def tool_url(name: str) -> str:
    """Return where a tool's paths begin."""
    return f"{GATEWAY_URL}/tools/{name}"


def tool_functions(tools: Mapping[str, Tool]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the tools as functions for a model, and what a call of each of them is over HTTP."""
    definitions: list[dict[str, Any]] = []
    routes: dict[str, Any] = {}
    for name, tool in tools.items():
        for capability in tool.capabilities or [Capability(name="call", method="POST")]:
            function = _function_name(f"{name}__{capability.name}", routes)
            routes[function] = {
                "tool": name,
                "method": capability.method or "POST",
                "path": capability.path.rstrip("*") or "/",
            }
            described = capability.description or tool.description or f"Calls {name}."
            definitions.append(
                {
                    "type": "function",
                    "function": {
                        "name": function,
                        "description": described,
                        "parameters": {"type": "object", "properties": {}},
                    },
                }
            )
    return definitions, routes


def _models(configs: Sequence[ModelConfig]) -> dict[str, str]:
    environment = {
        "LLM_GATEWAY_URL": f"{MODELS_URL}/chat/completions",
        "OPENAI_BASE_URL": MODELS_URL,
        "OPENAI_API_BASE": MODELS_URL,
        "ANTHROPIC_BASE_URL": MODELS_URL,  # its clients add `/v1/messages`, which is there as well
        "OPENAI_API_KEY": KEY,
        "ANTHROPIC_API_KEY": KEY,
    }
    chat = next((each for each in configs if each.role in _CHAT_ROLES), None)
    for config in [chat or configs[0]] if configs else []:
        environment |= {"LLM_MODEL": config.model, "LLM_PROVIDER": config.provider}
        if config.model_provider:
            environment["LLM_PROVIDER_NAME"] = config.model_provider
    for config in reversed(configs):  # the first of a role counts
        if config.role not in _CHAT_ROLES:
            suffix = _variable(config.role)
            environment[f"LLM_MODEL_{suffix}"] = config.model
            environment[f"LLM_PROVIDER_{suffix}"] = config.provider
    return environment


def _tools(settings: Settings, tools: Mapping[str, Tool]) -> dict[str, str]:
    names = settings.required_tools
    definitions, routes = tool_functions({name: tools[name] for name in names if name in tools})
    rewrites = {
        url: _rewritten(name, tools.get(name)) for url, name in settings.tool_url_mappings.items()
    }
    return {
        **{f"TOOL_URL_{_variable(name)}": tool_url(name) for name in names},
        "TOOL_NAMES": ",".join(names),
        "TOOL_DEFINITIONS_JSON": _json(definitions),
        "TOOL_ROUTES_JSON": _json(routes),
        "TOOL_URL_REWRITES_JSON": _json(rewrites),
    }


def _rewritten(name: str, tool: Tool | None) -> str:
    """Return what a mapped URL becomes. Old runtimes do not append what follows the mapped part."""
    match tool:
        case Tool(capabilities=[Capability(path=path)]) if not path.endswith("*") and path != "/":
            return tool_url(name) + path
        case _:
            return tool_url(name)


def _function_name(wanted: str, taken: Mapping[str, object]) -> str:
    """Return a name that models accept and no other function has."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", wanted)
    name, number = plain[:MAX_FUNCTION_NAME], 2
    while name in taken:
        suffix = f"_{number}"
        name, number = plain[: MAX_FUNCTION_NAME - len(suffix)] + suffix, number + 1
    return name


def _variable(name: str) -> str:
    return re.sub(r"[^A-Z0-9_]", "_", name.upper())


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
