"""Deploying: one append, the same name updates in place, and what is the same is not made again."""

import asyncio
from itertools import count

import pytest
from msgspec.structs import replace

from adapters.event_store.store import Store
from domain.agents import AGENT, Active
from domain.builds import BUILD, BuildEnded, ClaimBuild, LoseBuild, Waiting
from domain.catalog import TOOL, Policy
from domain.deploying import (
    AGENT_NAMES,
    DEPLOYMENT_NAMES,
    Deploy,
    Deployed,
    cancel_build,
    delete_agent,
    deploy,
    end_build,
    lose_build,
)
from domain.deployments import DEPLOYMENT, Archived, Settings
from domain.deployments import Active as ActiveDeployment
from domain.documents import POLICIES, TOOLS, apply_document
from domain.errors import Invalid, NotFound
from domain.execution import Artifact, Base, ImageDefinition, SourceDefinition, source_digest
from domain.handling import Commands, Unit
from domain.ports import Meta
from domain.tools import BasicTool

ME = Meta(actor="key:k1", workspace_id="w", command_id="c1")
BASE = Base(name="python-3.13", python="3.13")
SOURCE = SourceDefinition(files={"agent.py": "sha256:01"}, entry_point="agent.py")
NEEDS = replace(SOURCE, requirements="httpx")
WANTED = Deploy(workspace_id="w", name="echo", definition=SOURCE, settings=Settings())
BUILT = replace(WANTED, definition=NEEDS)
ARTIFACT = Artifact(base="python-3.13", source="sha256:02", dependencies="sha256:03")


class Deploys:
    """Deploys and ends builds, with ids that can be told apart."""

    def __init__(self, commands: Commands, prefix: str = "id") -> None:
        self.commands = commands
        self._prefix = prefix
        self._ids = count(1)

    async def send(self, wanted: Deploy) -> Deployed:
        async def work(unit: Unit) -> Deployed:
            return await deploy(unit, wanted, BASE, lambda: f"{self._prefix}{next(self._ids)}")

        return (await self.commands.run(work, ME, key=wanted.name)).value

    async def claim(self, build_id: str) -> None:
        await self.commands.send(
            BUILD, build_id, ClaimBuild(build_id=build_id, worker="m"), ME, fence=1
        )

    async def end(self, end: BuildEnded) -> None:
        async def work(unit: Unit) -> None:
            await end_build(unit, end)

        await self.commands.run(work, ME, key=end.build_id)

    async def delete(self, name: str) -> None:
        async def work(unit: Unit) -> None:
            await delete_agent(unit, "w", name)

        await self.commands.run(work, ME, key=name)

    async def agent(self, id: str) -> Active:
        state = await Unit(self.commands.store).state(AGENT, id)
        assert isinstance(state, Active)
        return state

    async def deployment(self, id: str) -> ActiveDeployment:
        state = await Unit(self.commands.store).state(DEPLOYMENT, id)
        assert isinstance(state, ActiveDeployment)
        return state


@pytest.fixture
def deploys(commands: Commands) -> Deploys:
    return Deploys(commands)


async def test_a_first_deploy_makes_everything(deploys: Deploys, store: Store) -> None:
    deployed = await deploys.send(WANTED)
    types = [each.type for each in await store.read_all(after=0)]

    assert types == [
        "agent.created",
        "agent.version_drafted",
        "agent.version_ready",
        "deployment.created",
        "deployment.revision_made",
        "deployment.revision_ready",
    ]
    assert (deployed.agent_created, deployed.version, deployed.revision) == (True, 1, 1)
    assert (deployed.build_id, deployed.decision.mode) == ("", "INSTANT_RUNTIME")
    assert (await deploys.deployment(deployed.deployment_id)).serving == 1
    assert (await deploys.agent(deployed.agent_id)).versions[1].artifact == Artifact(
        base="python-3.13", source=source_digest(SOURCE.files)
    )


async def test_the_same_again_changes_nothing(deploys: Deploys, store: Store) -> None:
    first = await deploys.send(WANTED)
    head = await store.head()
    second = await deploys.send(WANTED)

    assert await store.head() == head
    assert second == replace(first, agent_created=False)


async def test_other_settings_are_another_revision_of_the_same_version(deploys: Deploys) -> None:
    await deploys.send(WANTED)
    second = await deploys.send(replace(WANTED, settings=Settings(system_prompt="Be kind.")))

    assert (second.version, second.revision) == (1, 2)


async def test_another_source_is_another_version(deploys: Deploys) -> None:
    await deploys.send(WANTED)
    other = replace(SOURCE, files={"agent.py": "sha256:09"})
    second = await deploys.send(replace(WANTED, definition=other))

    assert (second.version, second.revision) == (2, 2)


async def test_requirements_are_built_first(deploys: Deploys) -> None:
    deployed = await deploys.send(BUILT)
    build = await Unit(deploys.commands.store).state(BUILD, deployed.build_id)
    deployment = await deploys.deployment(deployed.deployment_id)

    assert isinstance(build, Waiting)
    assert (build.request.version, build.request.revision) == (1, 1)
    assert build.request.mode == "FAST_OVERLAY"
    assert deployment.serving == 0
    assert deployment.revisions[1].build_id == deployed.build_id


async def test_a_redeploy_waits_for_the_build_under_way(deploys: Deploys, store: Store) -> None:
    first = await deploys.send(BUILT)
    head = await store.head()
    same = await deploys.send(BUILT)
    other = await deploys.send(replace(BUILT, settings=Settings(system_prompt="Be kind.")))
    builds = [each for each in await store.read_all(after=0) if each.type == "build.requested"]

    assert same == replace(first, agent_created=False)
    assert (other.version, other.revision, other.build_id) == (1, 2, first.build_id)
    assert len(builds) == 1
    assert await store.head() == head + 1


async def test_an_ended_build_readies_all_that_waited_for_it(deploys: Deploys) -> None:
    first = await deploys.send(BUILT)
    await deploys.send(replace(BUILT, settings=Settings(system_prompt="Be kind.")))
    await deploys.claim(first.build_id)
    await deploys.end(
        BuildEnded(build_id=first.build_id, how="succeeded", attempt=1, artifact=ARTIFACT)
    )
    version = (await deploys.agent(first.agent_id)).versions[1]
    deployment = await deploys.deployment(first.deployment_id)

    assert (version.status, version.artifact) == ("ready", ARTIFACT)
    assert [each.status for each in deployment.revisions.values()] == ["ready", "ready"]
    assert deployment.serving == 2


async def test_a_failed_build_fails_all_that_waited_for_it(deploys: Deploys) -> None:
    served = await deploys.send(WANTED)
    failing = await deploys.send(BUILT)
    await deploys.claim(failing.build_id)
    await deploys.end(
        BuildEnded(
            build_id=failing.build_id, how="failed", attempt=1, step="resolve", detail="no wheel"
        )
    )
    version = (await deploys.agent(served.agent_id)).versions[2]
    deployment = await deploys.deployment(served.deployment_id)

    assert (version.status, version.detail) == ("failed", "resolve: no wheel")
    assert deployment.revisions[2].detail == "resolve: no wheel"
    assert deployment.serving == 1, "the old revision serves on"


async def test_what_failed_is_built_anew_when_it_is_deployed_again(deploys: Deploys) -> None:
    first = await deploys.send(BUILT)
    await deploys.claim(first.build_id)
    await deploys.end(BuildEnded(build_id=first.build_id, how="failed", attempt=1))
    second = await deploys.send(BUILT)

    assert (second.version, second.revision) == (2, 2)
    assert second.build_id not in ("", first.build_id)


async def test_what_was_built_is_not_built_again(deploys: Deploys) -> None:
    first = await deploys.send(BUILT)
    await deploys.claim(first.build_id)
    await deploys.end(
        BuildEnded(build_id=first.build_id, how="succeeded", attempt=1, artifact=ARTIFACT)
    )
    second = await deploys.send(replace(BUILT, settings=Settings(system_prompt="Be kind.")))

    assert (second.version, second.revision, second.build_id) == (1, 2, "")


async def test_images_and_full_builds_go_to_the_builder(deploys: Deploys) -> None:
    image = await deploys.send(replace(WANTED, definition=ImageDefinition(image="echo:1")))
    full = await deploys.send(
        replace(WANTED, name="full", definition=replace(SOURCE, python="2.7"))
    )

    assert (image.decision.mode, full.decision.mode) == ("IMAGE", "FULL_BUILD")
    assert image.build_id
    assert full.build_id


async def test_tools_are_made_once_and_revised(deploys: Deploys, store: Store) -> None:
    web = BasicTool(base_url="https://web.example")
    first = await deploys.send(replace(WANTED, tools={"web": web}))
    same = await deploys.send(replace(WANTED, tools={"web": web}))
    other = replace(WANTED, name="other", tools={"web": BasicTool(base_url="https://else.example")})
    revised = await deploys.send(other)
    id = await store.resolve("w", TOOLS.name, "web")

    assert (first.tools_created, same.tools_created, revised.tools_created) == (["web"], [], [])
    assert id
    assert [each.type for each in (await store.load(f"{TOOL.category}-{id}")).events] == [
        "document.applied",
        "document.revised",
    ]


async def test_a_policy_that_is_not_there_makes_nothing(deploys: Deploys, store: Store) -> None:
    web = BasicTool(base_url="https://web.example")
    settings = Settings(policies=["careful"])
    wanted = replace(WANTED, tools={"web": web}, settings=settings, binds=["careful"])

    with pytest.raises(Invalid) as caught:
        await deploys.send(wanted)

    assert caught.value.members == {"field": "policies[0]"}
    assert "careful" in caught.value.detail
    assert await store.head() == 0
    assert await store.resolve("w", TOOLS.name, "web") is None


async def test_a_policy_that_is_there_is_bound_and_need_not_stay(deploys: Deploys) -> None:
    async def work(unit: Unit) -> None:
        await apply_document(
            unit, POLICIES, "w", "careful", lambda _: Policy(), new_id=lambda: "p1"
        )

    await deploys.commands.run(work, ME, key="careful")
    bound = replace(WANTED, settings=Settings(policies=["careful"]), binds=["careful"])
    kept = replace(WANTED, settings=Settings(policies=["careful", "gone"]))

    assert (await deploys.send(bound)).revision == 1
    assert (await deploys.send(kept)).revision == 2, "kept from before, whatever became of it"


async def test_urls_are_rewritten_to_tools_that_are_there_or_will_be(deploys: Deploys) -> None:
    url = "https://api.example"
    web = BasicTool(base_url="https://web.example")
    comes = replace(WANTED, tools={"web": web}, maps={url: "web"})
    required = replace(WANTED, settings=Settings(required_tools=["later"]), maps={url: "later"})

    with pytest.raises(Invalid) as unknown:
        await deploys.send(replace(WANTED, maps={url: "later"}))
    with pytest.raises(Invalid) as nowhere:
        await deploys.send(replace(comes, maps={"api.example": "web"}))

    assert unknown.value.members == {"field": f"tool_url_mappings.{url}"}
    assert nowhere.value.members == {"field": "tool_url_mappings.api.example"}
    assert (await deploys.send(comes)).tools_created == ["web"]
    assert (await deploys.send(required)).revision == 2


async def test_a_deleted_agent_gives_its_names_back(deploys: Deploys, store: Store) -> None:
    first = await deploys.send(WANTED)
    await deploys.delete("echo")
    names = [await store.names("w", kind) for kind in (AGENT_NAMES, DEPLOYMENT_NAMES)]
    gone = await Unit(store).state(DEPLOYMENT, first.deployment_id)
    second = await deploys.send(WANTED)

    assert names == [{}, {}]
    assert isinstance(gone, Archived)
    assert (second.agent_created, second.version) == (True, 1)
    assert second.agent_id != first.agent_id


async def test_what_is_not_there_cannot_be_deleted(deploys: Deploys) -> None:
    with pytest.raises(NotFound):
        await deploys.delete("echo")


async def test_a_build_ends_though_its_agent_was_deleted_meanwhile(
    deploys: Deploys, store: Store
) -> None:
    deployed = await deploys.send(BUILT)
    await deploys.claim(deployed.build_id)
    await deploys.delete("echo")
    head = await store.head()
    await deploys.end(
        BuildEnded(build_id=deployed.build_id, how="succeeded", attempt=1, artifact=ARTIFACT)
    )

    assert [each.type for each in await store.read_all(after=head)] == ["build.ended"]


async def test_a_build_that_loses_its_last_worker_fails_what_waited(deploys: Deploys) -> None:
    deployed = await deploys.send(BUILT)
    for attempt in range(1, 6):
        claim = ClaimBuild(build_id=deployed.build_id, worker="m")
        await deploys.commands.send(BUILD, deployed.build_id, claim, ME, fence=attempt)
        lose = LoseBuild(build_id=deployed.build_id, attempt=attempt, detail="gone")

        async def work(unit: Unit, lose: LoseBuild = lose) -> None:
            await lose_build(unit, lose)

        await deploys.commands.run(work, ME, key="lose")

    version = (await deploys.agent(deployed.agent_id)).versions[1]
    assert version.status == "failed"
    assert version.detail.startswith("worker: The build lost its worker 5 times.")


async def test_a_build_that_is_cancelled_before_anybody_took_it_fails_what_waited(
    deploys: Deploys, store: Store
) -> None:
    deployed = await deploys.send(BUILT)
    head = await store.head()

    async def work(unit: Unit) -> None:
        await cancel_build(unit, deployed.build_id, "enough")

    await deploys.commands.run(work, ME, key="cancel")
    await deploys.commands.run(work, ME, key="cancel again")

    assert [each.type for each in await store.read_all(after=head)] == [
        "build.ended",
        "agent.version_failed",
        "deployment.revision_failed",
    ]
    assert (await deploys.agent(deployed.agent_id)).versions[1].detail == "enough"
    again = await deploys.send(BUILT)
    assert (again.version, again.build_id == deployed.build_id) == (2, False)


async def test_fifty_deploys_of_one_name_at_once_make_one_agent(
    deploys: Deploys, store: Store
) -> None:
    deployed = await asyncio.gather(*(deploys.send(WANTED) for _ in range(50)))
    created = [each for each in await store.read_all(after=0) if each.type == "agent.created"]

    assert len(created) == 1
    assert len({each.agent_id for each in deployed}) == 1
    assert sum(each.agent_created for each in deployed) == 1
