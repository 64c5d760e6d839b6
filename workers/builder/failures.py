"""What can go wrong in a build without a bug of ours, in words for the person who deployed."""

import re
from collections.abc import Mapping, Sequence

from msgspec import Struct

from domain.execution import Mode
from domain.requirements import normalised

MAX_LINE = 4_000  # characters of a line of the log, and of an explanation
MAX_DETAIL = 2_000  # characters of what it quotes
MAX_COMPLAINT = 100_000  # characters of it, its end, that are looked through


class Failure(Struct, frozen=True, kw_only=True):
    """Why a build ended: the step it happened in, what is wrong, and what to do about it.

    mode: what would be needed instead, where the failure shows that the plan cannot work.
    unbuilt: the package that has no wheel, and might be built from source.
    ranges: the versions of it that others require, as far as they are known: `>=1,<2`.
    said: the resolver's own explanation, which names all that it could not choose.
    """

    step: str
    detail: str
    hint: str = ""
    mode: Mode | None = None
    unbuilt: str = ""
    ranges: tuple[str, ...] = ()
    said: str = ""


# Each begins at the beginning of a word and takes no part of it twice: what is read may be long,
# and is what somebody has named packages.
_ABSENT = re.compile(
    r"(?<!\S)(\S+) was not found in the (?:package registry|provided package locations)"
)
_NO_WHEELS = re.compile(
    r"Wheels are required for `([^`]+)`|only found wheels for `([^`]+)`"
    r"|(?<!\S)([^\s<>=!~]+)(?:[<>=!~]\S*)? (?:has|have) no (?:usable )?wheels"
)
_RANGE = r"[<>=!~]=?[\w.*+!-]+(?:,[<>=!~]=?[\w.*+!-]+)*"
_PYTHON = re.compile(r"the current Python version \((\S+)\) does not satisfy (Python\S+)")
_UNREACHABLE = re.compile(
    r"Failed to fetch|Request failed after|error sending request|dns error|Failed to download"
)
_NO_SPACE = re.compile(r"No space left on device|Disk quota exceeded")
_FREE_SPACE = "Free some space on the build machine's disk."


def last_output(line: str) -> str:
    """Return a sentence that quotes the last line a program wrote; empty if it wrote none."""
    said = " ".join(line.split())[:MAX_DETAIL]
    return f" Its last output was: {said}" if said else ""


def machine_failed(step: str, detail: str) -> Failure:
    """Return the failure of a machine that could not do its part."""
    if _NO_SPACE.search(detail):
        return Failure(step=step, detail=detail, hint=f"{_FREE_SPACE} Then deploy again.")
    hint = "The operator must look at the build machine; then deploy again."
    return Failure(step=step, detail=detail, hint=hint)


def explain(step: str, complaint: Sequence[str], lines: Mapping[str, int], python: str) -> Failure:
    """Turn uv's complaint into a failure. `lines`: the line of each requirement by name."""
    text = " ".join(" ".join(complaint)[-MAX_COMPLAINT:].split())
    said = re.sub(r"^.*?error: ", "", text)
    said = re.sub(r"No solution found when resolving dependencies:? (?:cause: )?", "", said)
    said = re.sub(r" hint: .*$", "", said)[:MAX_DETAIL]
    if _NO_SPACE.search(text):
        return Failure(step=step, detail=said, hint=_FREE_SPACE)
    if "Hash mismatch" in text:
        return Failure(
            step=step,
            detail=said,
            hint="The index serves another file than it announced. Deploy again; if it stays, "
            "pin another version, and distrust the index.",
        )
    if re.search(r"40[13] (Unauthorized|Forbidden)|valid authentication", text):
        return Failure(
            step=step,
            detail=f"The package index refused access. {said}",
            hint="The operator must give the index's credentials (ARGOSY_PACKAGE_INDEX).",
        )
    if found := _ABSENT.search(text):
        return _absent(step, found[1], said, lines)
    if found := _NO_WHEELS.search(text):
        return _no_wheels(next(filter(None, found.groups())), text, said, lines)
    if found := _PYTHON.search(text):
        return Failure(
            step="plan",
            mode="FULL_BUILD",
            detail=f"{found[2]} is required; the base environment has Python {found[1]}. {said}",
            hint=f"Pin versions that support Python {python}.",
        )
    if "unsatisfiable" in text:
        return unsatisfiable(step, said)
    if _UNREACHABLE.search(text):
        return _unreachable(step, text, said)
    return Failure(step=step, detail=said or "uv failed without a word.")


def unsatisfiable(step: str, said: str) -> Failure:
    """Return the failure of requirements that exclude each other, in the resolver's words."""
    return Failure(
        step=step,
        detail=f"No set of versions meets all requirements: {said}",
        hint="Loosen or change one of the requirements that the explanation names.",
    )


def _absent(step: str, name: str, said: str, lines: Mapping[str, int]) -> Failure:
    where = f"requirements, line {lines[name]}: " if name in lines else ""
    more = "" if name in lines else f" {said}"
    return Failure(
        step=step,
        detail=f"{where}There is no package {name!r} in the package index.{more}",
        hint="Check the spelling; a package's name can differ from what is imported.",
    )


def _no_wheels(name: str, text: str, said: str, lines: Mapping[str, int]) -> Failure:
    ranges = re.findall(rf"depends? on {re.escape(name)}({_RANGE})(?:,?\s)", text)
    where = f"requirements, line {lines[name]}: " if name in lines else ""
    return Failure(
        step="plan",
        mode="FULL_BUILD",
        detail=f"{where}{name!r} would have to be built from source. {said}",
        hint="Choose a version that has wheels for this Python and platform (see the package's "
        "files on its index), or deploy a container image that has it.",
        unbuilt=normalised(name),
        ranges=tuple(dict.fromkeys(ranges)),
        said=said,
    )


def _unreachable(step: str, text: str, said: str) -> Failure:
    if "certificate" in text:
        hint = "The operator must point SSL_CERT_FILE to the certificates that the index needs."
    else:
        hint = (
            "Deploy again when the index is reachable; an operator can name another one with "
            "ARGOSY_PACKAGE_INDEX."
        )
    return Failure(step=step, detail=f"The package index could not be reached. {said}", hint=hint)
