"""Reading a requirements text: what is asked for, line by line, before any index is asked.

Only parsed requirements go on to uv, never the text: no option, path or URL of it gets there.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace
from packaging.requirements import InvalidRequirement, Requirement

from domain.requirements import PROVIDED, normalised, requirement_lines, split_hashes
from workers.builder.failures import Failure

MAX_LINES = 1_000
MAX_LENGTH = 1_000  # characters of one, without its hashes: some wheels come in hundreds of builds


class Wanted(Struct, frozen=True):
    """One requirement: its line in the text, and the requirement as PEP 508 writes it.

    hashes: those that the line allows; empty allows all.
    """

    line: int
    name: str
    text: str
    hashes: frozenset[str] = frozenset()


class Requirements(Struct, frozen=True):
    """What has to be resolved, and what the base environment answers to already."""

    wanted: tuple[Wanted, ...]
    provided: tuple[str, ...]

    def by_name(self) -> Mapping[str, Wanted]:
        """The requirements by normalised name; of several for one package, the first."""
        return {wanted.name: wanted for wanted in reversed(self.wanted)}

    def and_also(self, names: Sequence[str]) -> "Requirements":
        """Return them with packages that no line of the text asks for."""
        more = tuple(Wanted(0, name, name) for name in names)
        return replace(self, wanted=(*self.wanted, *more))


def read_requirements(whole: str) -> Requirements | Failure:
    """Parse a pip requirements text; the failure names the line."""
    wanted: list[Wanted] = []
    provided: list[str] = []
    for number, line in requirement_lines(whole):
        text, hashes = split_hashes(line)
        if len(wanted) == MAX_LINES or len(text) > MAX_LENGTH:
            return _invalid(
                number,
                text,
                f"at most {MAX_LINES} requirements of {MAX_LENGTH} characters are allowed",
            )
        try:
            requirement = parse(text)
        except InvalidRequirement as error:
            return _invalid(number, line, str(error).splitlines()[0])
        if requirement.url:
            return _invalid(number, line, "only packages of an index can be installed")
        name = normalised(requirement.name)
        if name in PROVIDED:
            provided.append(str(requirement))
        else:
            wanted.append(Wanted(number, name, str(requirement), hashes))
    return Requirements(tuple(wanted), tuple(provided))


def parse(text: str) -> Requirement:
    """Parse one requirement. Raises InvalidRequirement, also where that is nested too deeply."""
    try:
        return Requirement(text)
    except RecursionError:
        raise InvalidRequirement("it is nested too deeply") from None


def _invalid(number: int, line: str, why: str) -> Failure:
    return Failure(
        step="plan",
        detail=f"requirements, line {number}: {line[:100]!r}: {why.rstrip('.')}.",
        hint="Write one requirement a line, such as httpx>=0.28 or pydantic[email]==2.12.5.",
    )
