"""What `import runagents` gives agent code in a sandbox: RunAgents' helpers, over Argosy's gateway.

Written to that package's published interface, so that its agents run unchanged. In-sandbox code:
see `argosy._channel`; the package `runagents` there is this module.
"""

# urllib costs fifty milliseconds, so it is imported by whoever calls out:
# ruff: noqa: PLC0415

import json
import os

from argosy import agent
from argosy._calling import RunContext, tool_urls

TYPE_CHECKING = False  # what `typing` calls so, without the price of importing it
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = [
    "Agent",
    "ApprovalRequired",
    "ConsentRequired",
    "RunContext",
    "ToolNotConfigured",
    "tool",
]

TOOL_SECONDS = 60
MODEL_SECONDS = 120


class ToolNotConfigured(KeyError):
    """The agent has no such tool. Name it in the deployment's required tools."""

    def __init__(self, name: str, variable: str) -> None:
        self.tool_name = name
        super().__init__(
            f"This agent has no tool {name!r} ({variable} is not set): name it in required_tools."
        )


class ModelNotConfigured(RuntimeError):
    """The agent has no model gateway. Configure a model for its deployment."""


class ApprovalRequired(RuntimeError):
    """Somebody has to approve the call; `detail` is the gateway's answer."""

    def __init__(self, tool_name: str, detail: "dict[str, Any]") -> None:
        super().__init__(f"{tool_name}: {detail.get('message') or detail.get('code')}")
        self.tool_name = tool_name
        self.detail = detail


class ConsentRequired(ApprovalRequired):
    """The user has to consent to the call; `detail` has the URL."""


class Agent:
    """The platform as agent code sees it: tools by name, and a model."""

    def __init__(self) -> None:
        self.system_prompt = os.environ.get("SYSTEM_PROMPT") or "You are a helpful assistant."
        self.model = os.environ.get("LLM_MODEL", "")
        self.llm_gateway_url = os.environ.get("LLM_GATEWAY_URL", "")
        self.tool_urls = tool_urls()

    def has_tool(self, name: str) -> bool:
        """Whether the agent may call a tool of this name."""
        return name in self.tool_urls

    def available_tools(self) -> "list[str]":
        """Return the names of its tools, sorted."""
        return sorted(self.tool_urls)

    def call_tool(
        self,
        name: str,
        path: str = "/",
        payload: "dict[str, Any] | None" = None,
        method: str = "POST",
    ) -> "Any":
        """Call a tool; return its JSON, `{"raw": text}` or `{"error": …, "detail": text}`.

        Raises ToolNotConfigured, ApprovalRequired, ConsentRequired; URLError if nobody answers.
        """
        base = self.tool_urls.get(name)
        if base is None:
            raise ToolNotConfigured(name, "TOOL_URL_" + name.upper().replace("-", "_"))
        status, text = _send(base.rstrip("/") + path, payload or None, method, TOOL_SECONDS)
        if status >= 400:
            _raise_interrupt(name, status, text)
            return {"error": f"HTTP {status}", "detail": text}
        try:
            return json.loads(text)
        except ValueError:
            return {"raw": text}

    def chat(
        self,
        message: str,
        tools: "list[dict[str, Any]] | None" = None,
        history: "list[dict[str, Any]] | None" = None,
    ) -> "dict[str, Any]":
        """Ask the model; return the whole answer in OpenAI's form.

        Raises ModelNotConfigured, and RuntimeError with what the gateway said.
        """
        if not self.llm_gateway_url:
            raise ModelNotConfigured(
                "This agent has no model (LLM_GATEWAY_URL is not set): configure one to use chat()."
            )
        start = list(history) if history else [{"role": "system", "content": self.system_prompt}]
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [*start, {"role": "user", "content": message}],
        }
        if tools:
            body |= {"tools": tools, "tool_choice": "auto"}
        url = self.llm_gateway_url.removesuffix("/chat/completions").rstrip("/")
        status, text = _send(f"{url}/chat/completions", body, "POST", MODEL_SECONDS)
        if status >= 400:
            raise RuntimeError(f"The model gateway answered {status}: {text[:1000]}")
        answer: dict[str, Any] = json.loads(text)
        return answer


def tool(
    function: "Callable[..., Any] | None" = None,
    *,
    name: "str | None" = None,
    description: str = "",
) -> "Any":
    """Mark a function as a tool: `tool_name` and `tool_description`; its calls are reported."""

    def decorate(given: "Callable[..., Any]") -> "Callable[..., Any]":
        made: Any = agent.tool(given)
        made.tool_name = name or given.__name__.replace("_", "-")
        made.tool_description = description or (given.__doc__ or "").strip().split("\n")[0]
        return made

    return decorate if function is None else decorate(function)


def _send(url: str, body: "dict[str, Any] | None", method: str, seconds: int) -> "tuple[int, str]":
    """Return status and text. Never by a proxy: the URL is the gateway's, inside the sandbox."""
    from urllib.error import HTTPError
    from urllib.request import ProxyHandler, Request, build_opener

    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = Request(url, data=data, headers=headers, method=method)  # noqa: S310 - see above
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=seconds) as answer:
            return answer.status, answer.read().decode("utf-8", "replace")
    except HTTPError as error:
        with error:
            return error.code, error.read().decode("utf-8", "replace")


def _raise_interrupt(name: str, status: int, text: str) -> None:
    if status != 403:
        return
    try:
        detail = json.loads(text)
    except ValueError:
        return
    interrupts = {"APPROVAL_REQUIRED": ApprovalRequired, "CONSENT_REQUIRED": ConsentRequired}
    if isinstance(detail, dict) and (interrupt := interrupts.get(detail.get("code", ""))):  # type: ignore[reportUnknownArgumentType] - any JSON
        raise interrupt(name, detail)  # type: ignore[reportUnknownArgumentType] - any JSON
