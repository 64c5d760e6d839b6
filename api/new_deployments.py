"""What a native deploy sends, and what it means: a source, an image, or neither and a model."""

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct

from api.calls import Call
from api.folding import fold
from api.sources import Source, check_environment, check_text, stored
from domain import agents
from domain.agents import AGENT
from domain.catalog import ModelVendor
from domain.deploying import AGENT_NAMES
from domain.deployments import ModelConfig, Settings
from domain.errors import Invalid, NotFound
from domain.execution import ConfigurationDefinition, Definition, ImageDefinition
from domain.image_references import read_reference
from domain.limits import Limits
from domain.ports import Blobs
from domain.sources import check_name

MAX_NAMES = 200  # tools, policies or models of one deploy

type Names = Annotated[list[Annotated[str, Meta(max_length=200)]], Meta(max_length=MAX_NAMES)]


class KeptFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file that a version of the same agent has already, by what it holds."""

    digest: Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}$")]


class NewSource(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """files: text by relative path, or the digest of a text that a version of the agent has.

    The rest is found in them where it is not named.
    """

    files: Annotated[dict[str, str | KeptFile], Meta(examples=[{"agent.py": "print('hello')\n"}])]
    entry_point: Annotated[str, Meta(max_length=512)] = ""
    requirements: str | None = None
    framework: Annotated[str, Meta(max_length=100)] = ""
    python: Annotated[str, Meta(pattern=r"^(\d+\.\d+(\.\d+)?)?$")] = ""


class NewModel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model that the agent uses, and for what; the first for `chat` is the one that answers.

    provider, model_provider: the vendor and the provider document, where the model's name alone
    does not say whose it is.
    """

    model: Annotated[str, Meta(min_length=1, max_length=200)]
    provider: ModelVendor | None = None
    model_provider: Annotated[str, Meta(max_length=200)] = ""
    role: Literal["chat", "default", "embedding", "classify", "reranking"] = "default"
    monthly_budget_usd: Annotated[float, Meta(ge=0)] | None = None


class NewDeployment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A deploy: `source`, or `image`, or neither for an agent that is a prompt, a model and tools.

    required_tools, policies: names of tools that the agent may call, and of what allows it.
    tool_url_mappings: names of tools by the URL in the agent's code that they stand for.
    """

    name: Annotated[str, Meta(examples=["echo"])]
    source: NewSource | None = None
    image: Annotated[str, Meta(min_length=1, max_length=500)] | None = None
    environment: dict[str, str] = {}
    system_prompt: str = ""
    llm_configs: Annotated[list[NewModel], Meta(max_length=MAX_NAMES)] = []
    required_tools: Names = []
    policies: Names = []
    tool_url_mappings: dict[str, str] = {}
    limits: Limits = Limits()
    max_attempts: Annotated[int, Meta(ge=1, le=100)] = 1


async def definition_of(
    data: NewDeployment, call: Call, workspace_id: str, blobs: Blobs | None
) -> Definition:
    """Return what is to be run. `blobs`: where its files go, None for a preview.

    Raises Invalid naming the field.
    """
    match data.source, data.image:
        case NewSource() as source, None:
            sent = Source(
                files=await _texts(source.files, call, workspace_id, data.name),
                entry_point=source.entry_point,
                requirements=source.requirements,
                framework=source.framework,
                python=source.python,
                configured=bool(data.llm_configs),
            )
            return await stored(sent, call.shared, blobs)
        case None, str() as image:
            read_reference(image)
            return ImageDefinition(image=image)
        case None, None if data.llm_configs:
            return ConfigurationDefinition()
        case None, None:
            raise Invalid(
                "Send `source` or `image`, or `llm_configs` for an agent that is a prompt, a model "
                "and tools.",
                field="source",
            )
        case _:
            raise Invalid("Send `source` or `image`, not both.", field="image")


async def _texts(
    files: Mapping[str, str | KeptFile], call: Call, workspace_id: str, name: str
) -> dict[str, str]:
    """Return the files with the texts of those that were not sent.

    Only what the same agent has: else a digest would be a way to read others' files, or to learn
    whether anybody has one.
    """
    kept = {path: file.digest for path, file in files.items() if isinstance(file, KeptFile)}
    texts = {path: file for path, file in files.items() if isinstance(file, str)}
    if not kept:
        return texts
    known = await _digests(call, workspace_id, name)
    for path, digest in kept.items():
        if digest not in known:
            raise _not_kept(path, name)
    try:
        contents = await call.services.blobs.get_all(list(kept.values()))
    except NotFound as lost:
        path = next(path for path, digest in kept.items() if digest == lost.members["digest"])
        raise _not_kept(path, name) from None
    texts |= {path: data.decode() for path, data in zip(kept, contents, strict=True)}
    return {path: texts[path] for path in files}


async def _digests(call: Call, workspace_id: str, name: str) -> set[str]:
    """Return the digests of all files of an agent's versions."""
    id = await call.store.resolve(workspace_id, AGENT_NAMES, name)
    match (await fold(call.store, AGENT, id or "")).state:
        case agents.Active(versions=versions):
            definitions = [version.definition for version in versions.values()]
            return {
                digest
                for each in definitions
                if not isinstance(each, ImageDefinition)
                for digest in each.files.values()
            }
        case _:
            return set()


def _not_kept(path: str, name: str) -> Invalid:
    detail = f"No version of {name} has this text of {path}: send the text."
    return Invalid(detail, field=f"source.files.{path}"[:200])


def settings_of(data: NewDeployment) -> Settings:
    """Return what the revision is to run with. Raises Invalid naming the field."""
    for number, tool in enumerate(data.required_tools):
        check_name(tool, field=f"required_tools[{number}]")
    return Settings(
        environment=check_environment(data.environment, field="environment"),
        system_prompt=check_text(data.system_prompt, "system_prompt"),
        limits=data.limits,
        max_attempts=data.max_attempts,
        required_tools=data.required_tools,
        tool_url_mappings=data.tool_url_mappings,
        llm_configs=[
            ModelConfig(
                provider=each.provider or "",
                model=each.model,
                role=each.role,
                model_provider=each.model_provider,
                monthly_budget_usd=each.monthly_budget_usd,
            )
            for each in data.llm_configs
        ],
        policies=data.policies,
    )
