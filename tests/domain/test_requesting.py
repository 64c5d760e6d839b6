"""Requesting a run: of what serves, or of what is being built."""

from functools import partial
from itertools import count

import pytest
from msgspec.structs import replace

from adapters.event_store.store import Store
from domain.builds import BUILD, BuildEnded, ClaimBuild
from domain.catalog import Tool
from domain.deploying import Deploy, Deployed, delete_agent, deploy, end_build
from domain.deployments import Settings
from domain.documents import TOOLS, apply_document
from domain.errors import NotFound
from domain.execution import Base, SourceDefinition
from domain.handling import Commands, Unit
from domain.ports import Meta
from domain.requesting import DeploymentFailed, NewRun, ToolsMissing, request_run
from domain.runs import RunRequested

ME = Meta(actor="key:k1", workspace_id="w", command_id="c1")
SOURCE = SourceDefinition(files={"agent.py": "sha256:01"}, entry_point="agent.py")
INSTANT = Deploy(
    workspace_id="w", name="echo", definition=SOURCE, settings=Settings(max_attempts=2)
)
BUILT = replace(INSTANT, definition=replace(SOURCE, requirements="httpx"))
NEW_RUN = NewRun(
    workspace_id="w",
    slug="echo",
    message="hello",
    history=[{"role": "user"}],
    context={"tier": "gold"},
    user_id="u",
    conversation_id="c",
)
_ids = count(1)


async def deployed(commands: Commands, wanted: Deploy) -> Deployed:
    async def work(unit: Unit) -> Deployed:
        base = Base(name="python-3.13", python="3.13")
        return await deploy(unit, wanted, base, lambda: f"id{next(_ids)}")

    return (await commands.run(work, ME, key="deploy")).value


async def requested(commands: Commands, wanted: NewRun = NEW_RUN) -> RunRequested:
    async def work(unit: Unit) -> RunRequested:
        return await request_run(unit, wanted, "r1")

    return (await commands.run(work, ME, key="request")).value


async def build_ended(commands: Commands, end: BuildEnded) -> None:
    claim = ClaimBuild(build_id=end.build_id, worker="m")
    await commands.send(BUILD, end.build_id, claim, ME, fence=1)

    async def work(unit: Unit) -> None:
        await end_build(unit, end)

    await commands.run(work, ME, key="end")


async def test_a_run_is_of_the_revision_that_serves(commands: Commands, store: Store) -> None:
    made = await deployed(commands, INSTANT)
    request = await requested(commands)

    assert request == RunRequested(
        run_id="r1",
        workspace_id="w",
        agent_id=made.agent_id,
        agent_name="echo",
        deployment_id=made.deployment_id,
        slug="echo",
        revision=1,
        message="hello",
        history=[{"role": "user"}],
        context={"tier": "gold"},
        user_id="u",
        conversation_id="c",
        waits_for="",
        max_attempts=2,
    )
    assert [each.event for each in (await store.load("run-r1")).events] == [request]


async def test_a_run_waits_for_the_first_build(commands: Commands) -> None:
    made = await deployed(commands, BUILT)

    assert (await requested(commands)).waits_for == made.build_id


async def test_while_a_new_revision_is_built_the_old_one_serves(commands: Commands) -> None:
    await deployed(commands, INSTANT)
    await deployed(commands, BUILT)
    request = await requested(commands)

    assert (request.revision, request.waits_for) == (1, "")


async def test_a_new_revision_serves_once_it_is_built(commands: Commands) -> None:
    await deployed(commands, INSTANT)
    made = await deployed(commands, BUILT)
    await build_ended(commands, BuildEnded(build_id=made.build_id, how="succeeded", attempt=1))
    request = await requested(commands)

    assert (request.revision, request.waits_for) == (2, "")


async def test_a_deployment_of_which_nothing_was_built_refuses(commands: Commands) -> None:
    made = await deployed(commands, BUILT)
    end = BuildEnded(build_id=made.build_id, how="failed", attempt=1, step="resolve", detail="none")
    await build_ended(commands, end)

    with pytest.raises(DeploymentFailed, match="resolve: none") as refusal:
        await requested(commands)

    assert refusal.value.members == {"deployment": made.deployment_id, "revision": 1}


async def test_an_unknown_deployment_is_not_found(commands: Commands) -> None:
    await deployed(commands, INSTANT)

    with pytest.raises(NotFound):
        await requested(commands, replace(NEW_RUN, slug="other"))
    with pytest.raises(NotFound):
        await requested(commands, replace(NEW_RUN, workspace_id="v"))


async def test_a_deleted_deployment_is_not_found(commands: Commands) -> None:
    await deployed(commands, INSTANT)

    async def work(unit: Unit) -> None:
        await delete_agent(unit, "w", "echo")

    await commands.run(work, ME, key="delete")

    with pytest.raises(NotFound):
        await requested(commands)


async def test_a_run_of_an_agent_without_its_tools_is_refused(commands: Commands) -> None:
    """Once they are there it goes, without another deploy."""
    settings = Settings(required_tools=["web", "mail", "no name"])
    made = await deployed(commands, replace(INSTANT, settings=settings))

    async def work(unit: Unit) -> None:
        for name in ("web", "mail"):
            await apply_document(
                unit,
                TOOLS,
                "w",
                name,
                lambda _: Tool(base_url="http://t"),
                new_id=partial(str, name),
            )

    with pytest.raises(ToolsMissing, match="web, mail, no name") as refusal:
        await requested(commands)
    await commands.run(work, ME, key="tools")
    with pytest.raises(ToolsMissing, match="exist yet: no name"):
        await requested(commands)
    await deployed(commands, replace(INSTANT, settings=Settings(required_tools=["web"])))

    assert refusal.value.members["deployment"] == made.deployment_id
    assert refusal.value.members["tools"] == ["web", "mail", "no name"]
    assert (await requested(commands)).revision == 2
