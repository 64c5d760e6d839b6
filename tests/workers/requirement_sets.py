"""Sets of requirements, tried to the end: decided, built, and a program run with what was built."""

import asyncio
import time
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from domain.builds import BuildEnded
from domain.execution import Mode, SourceDefinition, decide_mode
from domain.limits import Limits
from tests.workers.builds import REQUEST, Builder
from workers.sandboxes.driver import Exit, Mount, Output, Spec

PLACES = ("/opt/dependencies", "/opt/base")
LIMITS = Limits(memory_mb=1_024, pids=64, disk_mb=64)


class RequirementSet(Struct, frozen=True, kw_only=True):
    """What is required, and what should come of it.

    mode: what the build plans in the end. revised: it is not what was decided before.
    program: prints `ok` with the packages there. fails: the step where the build should fail.
    says: words of the plan's evidence, the log or, where it fails, of the failure.
    """

    name: str
    requirements: str
    mode: Mode
    revised: bool = False
    program: str = ""
    fails: str = ""
    says: tuple[str, ...] = ()
    framework: str = ""


class Tried(Struct, frozen=True, kw_only=True):
    """What came of a set. `wrong`: what should not have; empty if all is well."""

    mode: str
    revised: bool
    seconds: float
    detail: str
    wrong: str = ""


type RunPulled = Callable[[str, str], str]
"""Runs a program in a pulled image, by its `image_uri`; returns what it said."""


async def try_set(
    builder: Builder, wanted: RequirementSet, run_pulled: RunPulled | None = None
) -> Tried:
    """Decide and build the set, and run its program in a sandbox, and in its image if asked to."""
    source = await builder.blobs.put(wanted.program.encode())
    definition = SourceDefinition(
        files={"agent.py": source},
        entry_point="agent.py",
        requirements=wanted.requirements,
        framework=wanted.framework,
    )
    decided = decide_mode(definition, builder.tools.base).mode
    began = time.monotonic()
    end = await builder.build_definition(definition, replace(REQUEST, mode=decided))
    seconds = time.monotonic() - began
    (plan,) = builder.plans
    said = f"{plan.evidence} {builder.text} {end.detail} {end.hint}"
    wrongs = [
        f"planned {plan.mode}, not {wanted.mode}" * (plan.mode != wanted.mode),
        f"decided {decided} before" * (plan.confirmed == wanted.revised),
        f"failed: {end.step}: {end.detail}" * (end.how != "succeeded" and not wanted.fails),
        f"did not fail in {wanted.fails}" * (bool(wanted.fails) and end.step != wanted.fails),
        *(f"does not say {words!r}" for words in wanted.says if words not in said),
    ]
    if end.how == "succeeded" and not any(wrongs):
        wrongs.append(await _run(builder, end, wanted.program))
        if run_pulled is not None:
            assert end.artifact
            assert end.artifact.image_uri
            said = await asyncio.to_thread(run_pulled, end.artifact.image_uri, wanted.program)
            wrongs.append(_judged(said, "pulled"))
    return Tried(
        mode=plan.mode,
        revised=not plan.confirmed,
        seconds=seconds,
        detail=end.detail,
        wrong="; ".join(filter(None, wrongs)),
    )


async def _run(builder: Builder, end: BuildEnded, program: str) -> str:
    """Run a program with the layers of a build; returns what went wrong."""
    assert end.artifact
    base = builder.tools.python
    mounts = [
        Mount(str(await builder.layers.dependencies(digest)), place)
        for place, digest in zip(
            PLACES, (end.artifact.dependencies, end.artifact.base_packages), strict=True
        )
        if digest
    ]
    spec = Spec(
        layers=(*base.layers, *mounts),
        symlinks=base.symlinks,
        hidden=base.hidden,
        files=base.files,
        environment={"PYTHONPATH": ":".join(PLACES)},
        limits=LIMITS,
        scope=builder.tools.scope,
    )
    said = b""
    ended = Exit(code=None)
    async with builder.tools.driver.open(spec) as sandbox:
        async for item in sandbox.run([base.python, "-c", program]):
            match item:
                case Output(data=data):
                    said += data
                case Exit():
                    ended = item
    text = said.decode("utf-8", "replace")
    return _judged(text if ended.code == 0 else f"{text} (it did not exit with 0)", "in a sandbox")


def _judged(said: str, where: str) -> str:
    return "" if said.strip().endswith("ok") else f"{where} the program said: {said[-500:]}"
