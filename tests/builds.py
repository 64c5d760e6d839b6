"""Builds real sets of requirements from the package index, and runs what comes of them.

`python -m tests.builds [--pull] [NAME ...]` prints a line for each set: name, mode, whether the
decision was confirmed or revised, seconds, and what came of it. Refusals that are meant to happen
show the resolver's words. It exits with 1 if anything is not as it should be. It takes a minute or
two. With `--pull` each image is pushed to a registry, pulled from there by podman, and its program
run in it as well.
"""

import asyncio
import json
import os
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager

from msgspec.structs import replace

from adapters.base_locks import read_lock
from adapters.settings import Settings
from tests.containers.engine import Engine, need_podman
from tests.registries import registry
from tests.workers.builds import Builder, open_directory, the_driver
from tests.workers.requirement_sets import RequirementSet, RunPulled, try_set
from workers.builder.indexes import find_index
from workers.builder.tools import BUILD_LIMITS
from workers.sandboxes.bases import find_base

PULL = "--pull"
IDNA = "sha256:946d195a0d259cbba61165e88e65941f16e9b36ea6ddb97f00452bae8b1287d3"
DOCOPT = "sha256:49b3a825280bd66b3aa83585ef59c4a8c82f2c8a522dbe754a8bc8d08c85c491"

SETS = (
    RequirementSet(
        name="web framework with an extra",
        requirements="fastapi==0.115.*\nuvicorn[standard]\n",
        mode="FAST_OVERLAY",
        program="import fastapi, uvicorn, httptools; print('ok')",
        says=("httptools",),
    ),
    RequirementSet(
        name="base of a framework",
        requirements="langgraph\nlangchain-openai\n",
        framework="langgraph",
        mode="INSTANT_RUNTIME",
        revised=True,
        program="import langgraph.graph, langchain_openai; print('ok')",
    ),
    RequirementSet(
        name="more than a framework's base has",
        requirements="langgraph\ntabulate==0.9.0\n",
        framework="langgraph",
        mode="FAST_OVERLAY",
        program="import langgraph.graph, tabulate; print('ok')",
        says=("Over langgraph. From wheels: tabulate 0.9.0.",),
    ),
    RequirementSet(
        name="not as a framework's base has it",
        requirements="langgraph\nidna==3.10\n",
        framework="langgraph",
        mode="FAST_OVERLAY",
        program="import langgraph.graph, idna; assert idna.__version__ == '3.10'; print('ok')",
        says=("langgraph could not be the base",),
    ),
    RequirementSet(
        name="compiled wheels",
        requirements="numpy==2.*\npyyaml\n",
        mode="FAST_OVERLAY",
        program="import numpy, yaml; assert numpy.arange(3).sum() == 3; print('ok')",
    ),
    RequirementSet(
        name="markers",
        requirements="idna; python_version >= '3.8'\n"
        "tomli; python_version < '3.11'\ncolorama; sys_platform == 'win32'\n",
        mode="FAST_OVERLAY",
        program="import idna, importlib.util as u; assert not u.find_spec('tomli'); print('ok')",
        says=("From wheels: idna",),
    ),
    RequirementSet(
        name="markers that are all false",
        requirements="pywin32; sys_platform == 'win32'\ntomli; python_version < '3'\n",
        mode="INSTANT_RUNTIME",
        revised=True,
        program="print('ok')",
        says=("Nothing has to be installed",),
    ),
    RequirementSet(
        name="pins that contradict",
        requirements="requests==2.31.0\nurllib3==1.20\n",
        mode="FAST_OVERLAY",
        fails="resolve",
        says=("requests==2.31.0 depends on urllib3>=1.21.1,<3", "urllib3==1.20"),
    ),
    RequirementSet(
        name="pins that contradict deeper",
        requirements="pydantic==2.9.2\npydantic-core==2.0.0\n",
        mode="FAST_OVERLAY",
        fails="resolve",
        says=("pydantic==2.9.2 depends on pydantic-core==2.23.4",),
    ),
    RequirementSet(
        name="source distribution only",
        requirements="docopt>=0.6\n",
        mode="FULL_BUILD",
        revised=True,
        program="import docopt; assert docopt.__version__ == '0.6.2'; print('ok')",
        says=("Built from source: docopt 0.6.2",),
    ),
    RequirementSet(
        name="source distribution of a dependency",
        requirements="pipreqs==0.4.11\n",
        mode="FULL_BUILD",
        revised=True,
        program="from pipreqs import pipreqs; print('ok')",
        says=("Built from source: docopt", "pipreqs 0.4.11"),
    ),
    RequirementSet(
        name="C code from source",
        requirements="python-Levenshtein==0.12.2\n",
        mode="FULL_BUILD",
        revised=True,
        program="import Levenshtein; assert Levenshtein.distance('a', 'b') == 1; print('ok')",
        says=("Built from source: python-levenshtein 0.12.2",),
    ),
    RequirementSet(
        name="yanked version, pinned",
        requirements="requests==2.32.0\n",
        mode="FAST_OVERLAY",
        program="import requests; assert requests.__version__ == '2.32.0'; print('ok')",
        says=("is yanked",),
    ),
    RequirementSet(
        name="yanked version, not pinned",
        requirements="requests>=2.31,<2.32.2\n",
        mode="FAST_OVERLAY",
        program="import requests; assert requests.__version__ == '2.31.0'; print('ok')",
    ),
    RequirementSet(
        name="local version that no index has",
        requirements="idna==3.10+ours.1\n",
        mode="FAST_OVERLAY",
        fails="resolve",
        says=("no version of idna==3.10+ours.1",),
    ),
    RequirementSet(
        name="hash of a wheel",
        requirements=f"idna==3.10 --hash={IDNA}\n",
        mode="FAST_OVERLAY",
        program="import idna; print('ok')",
    ),
    RequirementSet(
        name="hash of a source distribution",
        requirements=f"docopt==0.6.2 \\\n  --hash={DOCOPT}\n",
        mode="FULL_BUILD",
        revised=True,
        program="import docopt; print('ok')",
    ),
    RequirementSet(
        name="hash of something else",
        requirements=f"idna==3.10 --hash={DOCOPT}\n",
        mode="FAST_OVERLAY",
        fails="resolve",
        says=("line 1: none of the wheels of idna 3.10",),
    ),
)


async def main(arguments: list[str]) -> int:
    """Try the sets with these names, or all; returns how many were not as they should be."""
    names = [each for each in arguments if each != PULL]
    surprises = 0
    locks = {"langgraph": read_lock("langgraph", find_base().version)}
    with open_directory() as directory, ExitStack() as opened:
        index = find_index("", os.environ)
        builder = Builder(directory, the_driver(), index, limits=BUILD_LIMITS, locks=locks)
        run_pulled = opened.enter_context(pulling(builder)) if PULL in arguments else None
        for each in SETS:
            if names and each.name not in names:
                continue
            tried = await try_set(builder, each, run_pulled)
            surprises += bool(tried.wrong)
            how = "revised" if tried.revised else "confirmed"
            came = tried.wrong or (f"ok: refused: {tried.detail}" if each.fails else "ok")
            sys.stdout.write(
                f"{each.name:<36} {tried.mode:<16} {how:<10} {tried.seconds:6.1f} s  {came}\n"
            )
            sys.stdout.flush()
    return surprises


@contextmanager
def pulling(builder: Builder) -> Generator[RunPulled]:
    """Have the builder push to a registry; yields what pulls from there and runs a program."""
    need_podman()
    with registry() as ours, open_directory() as root:
        settings = Settings(
            registry=f"{ours.host}/sets",
            insecure_registries=ours.host,
            outbound_allow=ours.host,
        )
        builder.tools = replace(builder.tools, settings=settings)
        engine = Engine(root)

        def run(uri: str, program: str) -> str:
            engine.run("pull", "--quiet", "--tls-verify=false", uri)
            (image,) = json.loads(engine.run("image", "inspect", uri))
            python = image["Config"]["Entrypoint"][0]
            done = engine.try_(
                *("run", "--rm", "--network=none", "--entrypoint", python, uri, "-c", program)
            )
            engine.run("rmi", "--force", uri)
            return done.stdout if done.returncode == 0 else done.stdout + done.stderr + " (failed)"

        try:
            yield run
        finally:
            engine.run("rmi", "--all", "--force")


if __name__ == "__main__":
    sys.exit(1 if asyncio.run(main(sys.argv[1:])) else 0)
