"""One build: plan, resolve, install, store. What goes wrong on the way is an outcome, not an error.

A full build is one whose packages have to be built from source. An image that is given is fetched.
"""

import asyncio
import time
from collections.abc import Coroutine, Sequence

from msgspec.structs import replace

from adapters.pins import Pinned
from domain.builds import BuildEnded, BuildRequested
from domain.errors import Invalid, NotFound, Unavailable
from domain.execution import (
    Artifact,
    Base,
    Definition,
    Image,
    ImageDefinition,
    Mode,
    Obstacle,
    SourceDefinition,
    chosen_base,
    decide_mode,
    find_obstacle,
    find_refusal,
    plain_base,
    source_digest,
)
from domain.frameworks import missing_packages
from domain.image_references import read_reference
from domain.images import image_tag
from workers.builder.base_layers import make_base_layer
from workers.builder.engine.steps import build_by_engine
from workers.builder.failures import Failure, last_output, machine_failed
from workers.builder.journal import CallbackRaised, Journal, Log, Planned
from workers.builder.oci.making import make_image
from workers.builder.overlay import make_overlay
from workers.builder.plan import Lock, resolve
from workers.builder.requirements import Requirements, read_requirements
from workers.builder.sources import resolve_from_source
from workers.builder.tools import BuildTools
from workers.images.fetching import (
    check_program,
    fetch_image,
    open_repository,
    resolve_image,
    unpack_image,
)
from workers.images.pushing import push_image, pushed_to
from workers.pumps import Cancel

SOURCE = "source"  # the step


async def run_build(
    request: BuildRequested,
    definition: Definition,
    *,
    attempt: int,
    tools: BuildTools,
    log: Log,
    planned: Planned,
    cancel: Cancel | None = None,
) -> BuildEnded:
    """Build one version; `planned` hears of the plan once it is known, before the end.

    cancel: somebody's wish that it ends, in order.

    Never raises for a build that fails, only what `log` and `planned` raise. May be cancelled at
    any time, and repeated: nothing is left of it but finished layers.
    """
    journal = Journal(request, attempt, log, planned)
    build = _Build(request, tools, journal)
    try:
        work = _run_in_time(build, journal, definition, tools.limits.seconds)
        end = await _unless_cancelled(work, journal, cancel or Cancel())
        await build.plan_unless_planned(end)
    except CallbackRaised as raised:
        raised.reraise()
    return end


async def _unless_cancelled(
    work: Coroutine[None, None, BuildEnded], journal: Journal, cancel: Cancel
) -> BuildEnded:
    tasks = asyncio.create_task(work), asyncio.create_task(cancel.asked.wait())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return tasks[0].result() if tasks[0].done() else journal.cancelled(cancel.detail)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _run_in_time(
    build: "_Build", journal: Journal, definition: Definition, seconds: int
) -> BuildEnded:
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await build.run(definition)
    except TimeoutError:
        if not limit.expired():
            raise
        return journal.failed(
            Failure(
                step=journal.step,
                detail=f"The build took longer than the {seconds} s it may take."
                f"{last_output(journal.heard)}",
                hint="Require fewer or smaller packages, or deploy again if the index was slow.",
            )
        )
    except (Unavailable, Invalid, NotFound) as error:
        return journal.failed(machine_failed(journal.step, error.detail))


class _Build:
    """One build, from its definition to its end."""

    def __init__(self, request: BuildRequested, tools: BuildTools, journal: Journal) -> None:
        self._journal = journal
        self._base_packages = ""
        self._request = request
        self._tools = tools
        self._slug = tools.slug

    async def run(self, definition: Definition) -> BuildEnded:
        """All steps in order."""
        base = self._tools.base
        if isinstance(definition, SourceDefinition):
            base = plain_base(definition.python, base) or base
        request = self._request
        await self._journal.say(
            f"Version {request.version} of {request.agent_name}, over {base.name}"
        )
        if isinstance(definition, ImageDefinition):
            return await self._image(definition)
        if not isinstance(definition, SourceDefinition):
            decision = decide_mode(definition, self._tools.base)
            await self._journal.plan(decision.mode, decision.reason)
            return self._journal.succeeded(None)
        if obstacle := find_obstacle(definition, self._tools.base):
            return await self._of_its_own(definition, obstacle)
        self._tools = self._tools.of(base)
        requirements = read_requirements(definition.requirements)
        if isinstance(requirements, Failure):
            return self._journal.failed(requirements)
        for line in requirements.provided:
            await self._journal.say(f"{line} is provided by the base environment")
        chosen = chosen_base(definition, base)
        if chosen is not base:
            built = await self._over_framework(definition, requirements, chosen)
            if not isinstance(built, Failure):
                return built
            if built.step == SOURCE:
                return await self._replanned(built)
            self._journal.evidence = f"{chosen.name} could not be the base: {built.detail} "
            await self._journal.say(f"{self._journal.evidence}The base is {base.name} instead.")
            requirements = await self._with_frameworks(definition, requirements)
        return await self._over_plain(definition, requirements, base)

    async def _of_its_own(self, definition: SourceDefinition, obstacle: Obstacle) -> BuildEnded:
        """Have a container engine build what no base can be."""
        tools, journal = self._tools, self._journal
        refusal = find_refusal(definition, tools.base, tools.settings.installation)
        if refusal:
            await journal.plan("FULL_BUILD", refusal.reason)
            detail = f"This server does not build environments of their own. {refusal.reason}"
            return journal.failed(Failure(step="plan", detail=detail, hint=refusal.cure))
        image = await build_by_engine(tools, self._request, definition, obstacle.reason, journal)
        if isinstance(image, Failure):
            return journal.failed(image)
        artifact = Artifact(base="", source=source_digest(definition.files), image=image)
        return await self._push(definition, artifact, image)

    async def _image(self, definition: ImageDefinition) -> BuildEnded:
        """Fetch a container image and see that it can be run."""
        tools, workspace = self._tools, self._request.workspace_id
        await self._journal.enter("resolve")
        try:
            reference = read_reference(definition.image)
        except Invalid as refusal:  # of an older server, which did not look
            return self._journal.failed(Failure(step=self._journal.step, detail=refusal.detail))
        async with open_repository(tools, workspace, reference) as repository:
            resolved = await resolve_image(repository, reference)
            if isinstance(resolved, Failure):
                return self._journal.failed(resolved)
            if idle := check_program(self._journal.step, resolved.config):
                return self._journal.failed(idle)
            evidence = f"{reference} is {resolved.image.manifest}, for {resolved.platform}."
            await self._journal.say(evidence)
            await self._journal.plan("IMAGE", evidence)
            await self._journal.enter("fetch")
            fetched = await fetch_image(tools, repository, workspace, resolved, self._journal.say)
        if isinstance(fetched, Failure):
            return self._journal.failed(fetched)
        self._journal.cached = fetched
        await self._journal.enter("unpack")
        refused = await unpack_image(tools, resolved.image)
        if refused:
            return self._journal.failed(refused)
        await self._journal.say("Ready")
        return self._journal.succeeded(Artifact(base="", source="", image=resolved.image))

    async def _with_frameworks(
        self, definition: SourceDefinition, requirements: Requirements
    ) -> Requirements:
        """Require what the source imports of frameworks: the base that has it cannot be used."""
        scripts = [path for path in definition.files if path.endswith(".py")]
        contents = await self._tools.blobs.get_all([definition.files[path] for path in scripts])
        texts = (content.decode("utf-8", "replace") for content in contents)
        files = dict.fromkeys(definition.files, "") | dict(zip(scripts, texts, strict=True))
        names = missing_packages(files, requirements.by_name())
        if names:
            await self._journal.say(f"It imports, and so requires, {', '.join(names)}")
        return requirements.and_also(names)

    async def _over_framework(
        self, definition: SourceDefinition, requirements: Requirements, base: Base
    ) -> BuildEnded | Failure:
        """Build over a base that has packages; the failure says why that base cannot be used."""
        lock = Lock((), 0.0)
        if requirements.wanted:
            found = await self._resolve(requirements, base)
            if isinstance(found, Failure):
                return found
            lock = found
        await self._journal.enter("base")
        await self._journal.say(f"The base environment is {base.name}")
        layer = await make_base_layer(self._tools, base, self._journal.hear)
        if isinstance(layer, Failure):
            return layer
        self._base_packages = layer.digest
        self._journal.cached = layer.contents is None
        return await self._over(definition, lock, base)

    async def _over_plain(
        self, definition: SourceDefinition, requirements: Requirements, base: Base
    ) -> BuildEnded:
        if not requirements.wanted:
            await self._journal.plan(
                "INSTANT_RUNTIME", f"{base.name} has everything that is required."
            )
            return await self._store(definition, base, "")
        lock = await self._resolve(requirements, base)
        if isinstance(lock, Failure):
            return await self._replanned(lock)
        return await self._over(definition, lock, base)

    async def _replanned(self, failure: Failure) -> BuildEnded:
        """End with a failure; it may have shown that the plan cannot be what it was."""
        if failure.mode is not None:
            await self._journal.plan(failure.mode, failure.detail)
        return self._journal.failed(failure)

    async def _resolve(self, requirements: Requirements, base: Base) -> Lock | Failure:
        await self._journal.enter("resolve")
        began = time.time()
        lock = await resolve(self._tools, base, requirements, self._journal.hear)
        self._journal.cached = isinstance(lock, Lock) and lock.at < began
        if isinstance(lock, Failure) and lock.unbuilt:
            await self._journal.enter(SOURCE)
            return await resolve_from_source(
                self._tools, base, requirements, lock, self._journal.hear
            )
        return lock

    async def _over(self, definition: SourceDefinition, lock: Lock, base: Base) -> BuildEnded:
        """Plan and install what the base lacks."""
        if not lock.packages:
            await self._journal.plan(
                "INSTANT_RUNTIME",
                f"Nothing has to be installed over {base.name} for this platform.",
            )
            return await self._store(definition, base, "")
        over = "" if base is self._tools.base else f"Over {base.name}. "
        mode: Mode = "FULL_BUILD" if lock.built else "FAST_OVERLAY"
        await self._journal.plan(mode, over + _evidence(lock), lock.digest)
        return await self._install(definition, lock, base)

    async def _install(self, definition: SourceDefinition, lock: Lock, base: Base) -> BuildEnded:
        await self._journal.enter("install")
        overlay = await make_overlay(self._tools, lock, self._journal.hear)
        if isinstance(overlay, Failure):
            return self._journal.failed(overlay)
        contents = overlay.contents
        self._journal.cached = contents is None
        if contents is None:
            await self._journal.say(
                "The same packages were installed before; their layer is used again"
            )
        else:
            size = contents.size / 1e6
            await self._journal.say(f"The layer has {contents.files} files of {size:.1f} MB")
        return await self._store(definition, base, overlay.digest)

    async def _store(
        self, definition: SourceDefinition, base: Base, dependencies: str
    ) -> BuildEnded:
        await self._journal.enter("store")
        stored = await self._tools.blobs.has(list(definition.files.values()))
        lost = sorted(path for path, blob in definition.files.items() if blob not in stored)
        if lost:
            return self._journal.failed(
                Failure(
                    step="store",
                    detail=f"The blob store does not have {lost[0]} ({len(lost)} files are lost).",
                    hint="Deploy again; if it stays, the operator must look at the blob store.",
                )
            )
        artifact = Artifact(
            base=base.name,
            source=source_digest(definition.files),
            dependencies=dependencies,
            base_packages=self._base_packages,
        )
        await self._journal.enter("image")
        name = self._request.agent_name
        image, self._journal.cached = await make_image(self._tools, name, definition, artifact)
        return await self._push(definition, replace(artifact, image=image), image)

    async def _push(
        self, definition: SourceDefinition, artifact: Artifact, image: Image
    ) -> BuildEnded:
        """End with the artifact, once the operator's registry, if there is one, has its image."""
        journal, settings = self._journal, self._tools.settings
        if settings.registry:
            await journal.enter("push")
            slug = await self._slug(self._request.workspace_id)
            tag = image_tag(definition)
            place = pushed_to(settings, slug, self._request.agent_name, tag)
            pushed = await push_image(self._tools, place, image, journal.say)
            if isinstance(pushed, Failure):
                return journal.failed(pushed)
            artifact = replace(artifact, image_uri=pushed)
        await journal.say("Ready")
        return journal.succeeded(artifact)

    async def plan_unless_planned(self, end: BuildEnded) -> None:
        """Say of a build that ended before its plan was known why the mode stays what it was."""
        if self._journal.planned:
            return
        if end.how == "cancelled":
            await self._journal.plan(self._request.mode, "It was cancelled before more was known.")
        elif end.step == SOURCE:
            await self._journal.plan("FULL_BUILD", end.detail)
        else:
            evidence = f"Nothing could be resolved. {end.detail}"
            await self._journal.plan(self._request.mode, evidence)


def _evidence(lock: Lock) -> str:
    built = {wheel.name for wheel in lock.built}
    made = [package for package in lock.packages if package.name in built]
    ready = [package for package in lock.packages if package.name not in built]
    said = [("Built from source", made), ("From wheels", ready)]
    return " ".join(f"{words}: {_listed(packages)}." for words, packages in said if packages)


def _listed(packages: Sequence[Pinned], most: int = 8) -> str:
    names = [f"{package.name} {package.version}" for package in packages]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
