"""The starter kit: a tool, a model and a policy with which an agent works at once, without keys."""

from collections.abc import Callable

from msgspec import Struct

from domain.catalog import Capability, ModelProvider, Policy, Rule, Spec, Tool
from domain.documents import MODEL_PROVIDERS, POLICIES, TOOLS, Kind, apply_document
from domain.handling import Unit
from domain.model_providers import PLAYGROUND_ADDRESS
from domain.tools import ECHO_ADDRESS

ECHO_TOOL = "echo-tool"
PLAYGROUND = "playground-llm"
ECHO_POLICY = "echo-read-policy"

_TOOL = Tool(
    base_url=ECHO_ADDRESS,
    description="Answers what it is sent. Built in.",
    port=80,
    scheme="HTTP",
    capabilities=[
        Capability(name="echo", method="POST", path="/echo", description="Echo a message.")
    ],
    serves="echo",
)
_PROVIDER = ModelProvider(
    vendor="openai", models=["gpt-4o-mini"], endpoint=PLAYGROUND_ADDRESS, serves="playground"
)
_POLICY = Policy(
    rules=[Rule(permission="allow", resource=f"{ECHO_ADDRESS}/*", operations=["POST"])]
)


class StarterKit(Struct, frozen=True, kw_only=True):
    """The names in it. created: those that were not there before."""

    tool: str = ECHO_TOOL
    model_provider: str = PLAYGROUND
    policy: str = ECHO_POLICY
    created: list[str]


async def seed_starter_kit(unit: Unit, workspace_id: str, new_id: Callable[[], str]) -> StarterKit:
    """Make what is missing of the kit. What has one of its names already stays as it is."""

    async def make[S: Spec](kind: Kind[S], name: str, spec: S) -> bool:
        applied = await apply_document(
            unit, kind, workspace_id, name, lambda current: current or spec, new_id=new_id
        )
        return applied.before is None

    made = {
        ECHO_TOOL: await make(TOOLS, ECHO_TOOL, _TOOL),
        PLAYGROUND: await make(MODEL_PROVIDERS, PLAYGROUND, _PROVIDER),
        ECHO_POLICY: await make(POLICIES, ECHO_POLICY, _POLICY),
    }
    return StarterKit(created=[name for name, new in made.items() if new])
