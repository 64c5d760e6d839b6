"""Source distributions: which one to build, and fetching it without running anything of it.

uv chooses it, by versions and hashes alone: with `--no-deps` it asks for no package's metadata, for
which it might have to run the package. A program of ours downloads it, in a sandbox like uv's.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from domain.requirements import normalised
from workers.builder.failures import Failure, explain
from workers.builder.indexes import with_credentials
from workers.builder.programs import OUT, Say, online_spec, run_online, script
from workers.builder.requirements import Wanted
from workers.builder.tools import BuildTools
from workers.builder.uv import PROGRAM as UV
from workers.builder.uv import run_beside_uv

STEP = "source"
PROGRAM = "/opt/fetch.py"
FILE = "sdist"  # its name, wherever it was fetched from


class Sdist(Struct, frozen=True):
    """One source distribution. `sha256`: 64 hex digits, as the index announces them.

    place: where the package is required, for people: `requirements, line 3: `, or nothing.
    """

    name: str
    version: str
    url: str
    sha256: str
    place: str = ""


class _File(Struct, frozen=True):
    url: str
    hashes: dict[str, str] = {}


class _Package(Struct, frozen=True):
    name: str
    version: str
    sdist: _File | None = None


class _Chosen(Struct, frozen=True):
    """What is of interest in a `pylock.toml` (PEP 751)."""

    packages: list[_Package] = []


async def choose_sdist(
    tools: BuildTools, failed: Failure, wanted: Wanted | None, say: Say
) -> Sdist | Failure:
    """Return the newest sdist that all requirements of it allow, as far as these are known.

    failed: the resolution that lacked its wheels. wanted: its line in the requirements, if any.
    Where the ranges of its dependents exclude each other, one of them is kept to: the last, which
    uv names first.
    """
    own = wanted.text if wanted else failed.unbuilt
    ranges = [f"{failed.unbuilt}{range}" for range in failed.ranges]
    place = f"requirements, line {wanted.line}: " if wanted and wanted.line else ""
    found: Sdist | Failure | None = None
    for asked in ([own, *ranges], *([own, range] for range in reversed(ranges))):
        found = await _ask(tools, failed.unbuilt, asked, place, say)
        if isinstance(found, Sdist):
            break
    assert found is not None
    if isinstance(found, Failure):
        return msgspec.structs.replace(failed, detail=f"{failed.detail} {found.detail}", unbuilt="")
    if wanted and wanted.hashes and f"sha256:{found.sha256}" not in wanted.hashes:
        return Failure(
            step=STEP,
            detail=f"{place}{found.name} {found.version} has no wheel for this Python, and its "
            "source distribution has none of the hashes that are given.",
            hint=f"Add --hash=sha256:{found.sha256} if that is the file you mean, or no hash.",
        )
    return found


async def has_wheel(tools: BuildTools, sdist: Sdist) -> bool:
    """Whether the index has a wheel of the same version, for this Python and platform."""

    async def say(_: str) -> None:
        """Leave out of the log that there is none, which is no error."""

    arguments = [
        *(UV, "pip", "compile", "-", "--python", tools.python.python, "--no-deps"),
        *("--only-binary", ":all:", "--no-header", "--color", "never"),
        *tools.index.arguments,
    ]
    ran = await run_beside_uv(tools, STEP, arguments, say, stdin=f"{sdist.name}=={sdist.version}\n")
    return not isinstance(ran, Failure) and ran.code == 0


async def fetch_sdist(tools: BuildTools, sdist: Sdist, into: Path, say: Say) -> Failure | None:
    """Download it into an empty directory, as `sdist`. Its digest is checked."""
    spec = online_spec(tools, into, {PROGRAM: script("fetch")})
    asked = {
        "url": with_credentials(tools.index, sdist.url),
        "sha256": sdist.sha256,
        "into": f"{OUT}/{FILE}",
    }
    stdin = msgspec.json.encode(asked).decode()
    argv = [tools.python.python, "-I", "-S", PROGRAM]
    ran = await run_online(tools, STEP, spec, argv, say, stdin=stdin, out=into)
    if isinstance(ran, Failure):
        detail = f"{sdist.place}{sdist.name} {sdist.version}: {ran.detail}"
        return msgspec.structs.replace(ran, detail=detail)
    if ran.code == 0:
        return None
    said = ran.complaint[-1] if ran.complaint else "It ended without a word."
    return Failure(
        step=STEP,
        detail=f"{sdist.place}The source of {sdist.name} {sdist.version} could not be fetched from "
        f"the package index: {said}",
        hint="Deploy again; if it stays, the operator must look at the package index.",
    )


async def _ask(
    tools: BuildTools, name: str, asked: Sequence[str], place: str, say: Say
) -> Sdist | Failure:
    arguments = [
        *(UV, "pip", "compile", "-", "--python", tools.python.python, "--no-deps"),
        *("--no-binary", name, "--format", "pylock.toml", "--no-header", "--color", "never"),
        *tools.index.arguments,
    ]
    stdin = "".join(f"{text}\n" for text in asked)
    ran = await run_beside_uv(tools, STEP, arguments, say, stdin=stdin)
    if isinstance(ran, Failure):
        return ran
    if ran.code != 0:
        return explain(STEP, ran.complaint, {}, tools.base.python)
    for package in msgspec.toml.decode(ran.answer, type=_Chosen).packages:
        digest = package.sdist.hashes.get("sha256", "") if package.sdist else ""
        if package.sdist and digest and normalised(package.name) == name:
            return Sdist(name, package.version, package.sdist.url, digest, place)
    return Failure(step=STEP, detail="It has no source distribution with a SHA-256 either.")
