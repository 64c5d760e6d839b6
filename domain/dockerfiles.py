"""What a Dockerfile takes from elsewhere: the images it is built from, and what it may not ask for.

An engine would fetch images and URLs over its own network, where nobody judges the address. So
images are resolved for it (see `FROM` and `COPY --from`), and everything else that reaches out by
itself is refused. What cannot be read for sure is refused, too: another reader might see more in it
than this one does.

The instructions are those of Docker's reference: https://docs.docker.com/reference/dockerfile/.
"""

import re
from collections.abc import Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from domain.errors import Invalid
from domain.image_references import read_reference

MAX_TEXT = 100_000  # characters of a Dockerfile
MAX_PACKAGES_TEXT = 50_000  # of a list of Debian packages
MAX_NAME = 1_000  # of an image, before and after variables are put into it
SCRATCH = "scratch"  # no image, but none at all

_INSTRUCTION = re.compile(r"\s*([A-Za-z]+)(?:\s+(.*))?", re.DOTALL)
_DIRECTIVE = re.compile(r"#\s*(escape|syntax)\s*=", re.IGNORECASE)
# Docker's own syntax of any version: what it has beyond this reader's is refused where it is used.
_PLAIN_SYNTAX = re.compile(
    r"#\s*syntax\s*=\s*(docker\.io/)?docker/dockerfile(:\S+)?", re.IGNORECASE
)
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_FROM = re.compile(r"(?P<image>\S+)(?:\s+AS\s+(?P<stage>[A-Za-z][\w.-]*))?", re.IGNORECASE)
_COPY_FROM = re.compile(r"--from=(\S+)")
_ELSEWHERE = re.compile(r"(?:https?|ftp|git|ssh)://|git@", re.IGNORECASE)
_HEREDOC = re.compile(r"<<-?\s*[\"']?[A-Za-z_]")
# Policy 5.6.1 and 5.6.12 of Debian.
_DEBIAN_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(?:=[0-9][A-Za-z0-9.+:~-]*)?")
_WORDS = frozenset(
    {
        "ADD",
        "ARG",
        "CMD",
        "COPY",
        "ENTRYPOINT",
        "ENV",
        "EXPOSE",
        "FROM",
        "HEALTHCHECK",
        "LABEL",
        "MAINTAINER",
        "RUN",
        "SHELL",
        "STOPSIGNAL",
        "USER",
        "VOLUME",
        "WORKDIR",
    }
)


class _Refused(Exception):
    """Why, and at which line."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line, self.why = line, why


class Named(Struct, frozen=True):
    """An image that an instruction names, and where in its rest."""

    image: str
    start: int
    end: int


class Instruction(Struct, frozen=True):
    """One instruction: the line it begins at, from 1, its word in capitals, and the rest."""

    line: int
    word: str
    rest: str
    images: tuple[Named, ...] = ()

    def with_images(self, names: Mapping[str, str]) -> str:
        """Return it with other names for its images."""
        rest = self.rest
        for each in reversed(self.images):
            rest = rest[: each.start] + names[each.image] + rest[each.end :]
        return f"{self.word} {rest}\n"


class Dockerfile(Struct, frozen=True):
    """A Dockerfile that can be built."""

    instructions: tuple[Instruction, ...]

    @property
    def images(self) -> tuple[str, ...]:
        """What it takes from registries, as it names it, each once."""
        named = (named.image for each in self.instructions for named in each.images)
        return tuple(dict.fromkeys(named))

    def with_images(self, names: Mapping[str, str]) -> str:
        """Return its text with other names for its images, a line for each instruction."""
        return "".join(each.with_images(names) for each in self.instructions)


def read_dockerfile(text: str, *, path: str = "Dockerfile", field: str = "files") -> Dockerfile:
    """Read a Dockerfile. Raises Invalid for `field`, naming the line and the way out."""
    check_length(text, MAX_TEXT, path=path, field=field)
    reader = _Reader()
    try:
        instructions = tuple(reader.read(each) for each in _instructions(text))
    except _Refused as refused:
        raise Invalid(f"{path}, line {refused.line}: {refused.why}.", field=field) from None
    if not any(each.word == "FROM" for each in instructions):
        raise Invalid(f"{path} has no FROM; it must say what it builds upon.", field=field)
    return Dockerfile(instructions)


def read_system_packages(
    text: str, *, path: str = "apt.txt", field: str = "files"
) -> tuple[str, ...]:
    """Return Debian packages, each `name` or `name=version`; raises Invalid for `field`."""
    check_length(text, MAX_PACKAGES_TEXT, path=path, field=field)
    found: list[str] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.partition("#")[0].strip()
        if not line:
            continue
        if not _DEBIAN_PACKAGE.fullmatch(line):
            raise Invalid(
                f"{path}, line {number}: {line[:100]!r} is not a Debian package, such as ffmpeg or "
                "ffmpeg=7:5.1.6-0+deb12u1.",
                field=field,
            )
        found.append(line)
    return tuple(found)


def check_length(text: str, most: int, *, path: str, field: str) -> None:
    """Raise Invalid for a file that takes too long to read while a request waits."""
    if len(text) > most:
        raise Invalid(f"{path} has at most {most} characters.", field=field)


class _Reader:
    """Follows the stages and the arguments that come before the first of them."""

    def __init__(self) -> None:
        self._stages = 0
        self._named_stages: set[str] = set()
        self._arguments: dict[str, str] = {}

    def read(self, given: Instruction) -> Instruction:
        """Return an instruction with the images that it names."""
        return replace(given, images=tuple(self._named(given)))

    def _named(self, given: Instruction) -> list[Named]:
        match given.word:
            case "FROM":
                return self._from(given)
            case "ARG":
                self._argument(given)
            case "COPY" | "ADD":
                return [
                    Named(self._image(given, found[1]), *found.span(1))
                    for found in _COPY_FROM.finditer(given.rest)
                    if not self._is_stage(found[1], numbered=True)
                ]
            case _:
                pass
        return []

    def _from(self, given: Instruction) -> list[Named]:
        found = _FROM.fullmatch(given.rest)
        if found is None or found["image"].startswith("--"):
            raise _Refused(given.line, "it is FROM image or FROM image AS name here, without flags")
        name = self._expanded(given, found["image"])
        earlier = self._is_stage(name)
        self._stages += 1
        self._named_stages.add((found["stage"] or "").lower())
        if earlier or name == SCRATCH:
            if name != found["image"]:  # an engine might expand it to something else
                raise _Refused(given.line, f"write {name} itself, not what stands for it")
            return []
        return [Named(self._image(given, name), *found.span("image"))]

    def _is_stage(self, name: str, *, numbered: bool = False) -> bool:
        if numbered and name.isdecimal():
            return len(name) <= len(str(MAX_TEXT)) and int(name) < self._stages
        return name.lower() in self._named_stages

    def _argument(self, given: Instruction) -> None:
        if self._stages:
            return
        name, equals, value = given.rest.strip().partition("=")
        if equals:
            self._arguments[name] = value.strip().strip("\"'")

    def _expanded(self, given: Instruction, name: str) -> str:
        def value(found: re.Match[str]) -> str:
            argument = found[1] or found[2]
            if argument not in self._arguments:
                raise _Refused(
                    given.line, f"{argument} has no value; give it one by ARG before FROM"
                )
            return self._arguments[argument][:MAX_NAME]

        expanded = _VARIABLE.sub(value, name) if len(name) <= MAX_NAME else name
        if len(expanded) > MAX_NAME:
            raise _Refused(given.line, f"an image's name has at most {MAX_NAME} characters")
        return expanded

    def _image(self, given: Instruction, name: str) -> str:
        try:
            read_reference(name)
        except Invalid as refusal:
            raise _Refused(given.line, refusal.detail.rstrip(".")) from None
        return name


def _instructions(text: str) -> Iterator[Instruction]:
    """Yield the instructions, continuation lines joined and comments left out."""
    pending, start = "", 0
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if raw.lstrip().startswith("#"):
            if _DIRECTIVE.match(raw.lstrip()) and not _PLAIN_SYNTAX.fullmatch(raw.strip()):
                raise _Refused(number, "parser directives are not known here; leave the line out")
            continue
        if not raw.strip():
            continue
        start = start or number
        joined = raw.rstrip()
        if joined.endswith("\\"):
            pending += joined[:-1] + " "
            continue
        yield _instruction(start, pending + joined)
        pending, start = "", 0
    if pending.strip():
        yield _instruction(start, pending)


def _instruction(line: int, text: str) -> Instruction:
    found = _INSTRUCTION.fullmatch(text.strip())
    word = found[1].upper() if found else ""
    rest = (found[2] or "").strip() if found else ""
    if word == "ONBUILD":
        raise _Refused(line, "nothing is built upon what is built here; leave ONBUILD out")
    if word not in _WORDS:
        raise _Refused(line, f"{text.strip()[:40]!r} is no instruction that is known here")
    if word in ("ADD", "COPY", "RUN") and _HEREDOC.search(rest):
        raise _Refused(line, "here-documents are not read here; put the text into a file")
    if word == "RUN" and rest.startswith("--"):
        raise _Refused(line, "flags of RUN are not known here; leave them out")
    # A variable or an escape could turn into a URL.
    if word == "ADD" and (_ELSEWHERE.search(rest) or "$" in rest or "\\" in rest):
        raise _Refused(
            line, "ADD fetches nothing here; put the file among the source's and COPY it"
        )
    return Instruction(line, word, rest)
