"""What changed between two revisions of a deployment, as data and as lines to read."""

import json
from collections.abc import Iterator
from difflib import unified_diff
from typing import Any

from msgspec import Struct


class FileSide(Struct, frozen=True, kw_only=True):
    """A file as one revision has it. text: None where it is too large to be shown."""

    digest: str
    text: str | None = None


class ChangedFile(Struct, frozen=True, kw_only=True):
    """A file that is not the same. change: `added`, `removed` or `changed`."""

    path: str
    change: str
    before: FileSide | None = None
    after: FileSide | None = None

    def lines(self) -> Iterator[str]:
        """Yield a unified diff, or one line where a text is missing."""
        texts = [side.text if side else "" for side in (self.before, self.after)]
        before, after = texts
        if before is None or after is None:
            yield f"{self.change} {self.path} (too large to show)"
            return
        yield from unified_diff(
            before.splitlines(),
            after.splitlines(),
            f"a/{self.path}" if self.before else "/dev/null",
            f"b/{self.path}" if self.after else "/dev/null",
            lineterm="",
        )


class RequirementChanges(Struct, frozen=True, kw_only=True):
    """Lines of the requirements that went and came."""

    removed: list[str] = []
    added: list[str] = []

    def __bool__(self) -> bool:
        return bool(self.removed or self.added)


class FieldChange(Struct, frozen=True, kw_only=True):
    """A value that is not the same, such as `limits.memory_mb`; None where it is not there."""

    field: str
    before: Any = None
    after: Any = None

    def lines(self) -> Iterator[str]:
        """Yield what went and what came."""
        for sign, value in (("-", self.before), ("+", self.after)):
            if value is not None:
                yield f"{sign}{self.field}: {json.dumps(value, ensure_ascii=False)}"


class Difference(Struct, frozen=True, kw_only=True):
    """What changed from revision `before` to revision `after`."""

    before: int
    after: int
    files: list[ChangedFile] = []
    requirements: RequirementChanges = RequirementChanges()
    configuration: list[FieldChange] = []

    def lines(self) -> Iterator[str]:
        """Yield all of it as lines to read, in the manner of a unified diff."""
        for file in self.files:
            yield from file.lines()
        if self.requirements:
            yield "@@ requirements @@"
            yield from (f"-{line}" for line in self.requirements.removed)
            yield from (f"+{line}" for line in self.requirements.added)
        if self.configuration:
            yield "@@ configuration @@"
            for field in self.configuration:
                yield from field.lines()
