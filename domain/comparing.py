"""What changed between two revisions: files, requirements, configuration."""

from collections.abc import Mapping
from typing import Any, Literal, cast

import msgspec
from msgspec import Struct

from domain.deployments import Settings
from domain.execution import (
    Artifact,
    ConfigurationDefinition,
    Definition,
    ImageDefinition,
    SourceDefinition,
)
from domain.requirements import requirement_lines

type Change = Literal["added", "removed", "changed"]


class Compared(Struct, frozen=True):
    """One of the two sides: what a revision runs, and with what. artifact: None if not built."""

    definition: Definition
    settings: Settings
    artifact: Artifact | None = None


class FileChange(Struct, frozen=True, kw_only=True):
    """A file that is not the same on both sides. Digests (`sha256:<hex>`), None where it is not."""

    path: str
    change: Change
    before: str | None
    after: str | None


class RequirementChanges(Struct, frozen=True, kw_only=True):
    """Lines of the requirements, without comments, in order. A changed one is removed and added."""

    removed: list[str]
    added: list[str]


_UNCHANGED = RequirementChanges(removed=[], added=[])


class FieldChange(Struct, frozen=True, kw_only=True):
    """A value that is not the same: `limits.memory_mb`, `environment.MOOD`. None: it is not there.

    before, after: JSON of the field's own shape.
    """

    field: str
    before: Any
    after: Any


class Comparison(Struct, frozen=True, kw_only=True):
    """All that changed; files by path, fields by name."""

    files: list[FileChange]
    requirements: RequirementChanges
    configuration: list[FieldChange]


def compare(before: Compared, after: Compared) -> Comparison:
    """Return what has to change for `before` to be `after`."""
    requirements = _requirement_changes(before.definition, after.definition)
    built = _built(before, after) if requirements == _UNCHANGED else []
    configuration = [*built, *_fields(_configuration(before), _configuration(after))]
    return Comparison(
        files=_files(_files_of(before.definition), _files_of(after.definition)),
        requirements=requirements,
        configuration=sorted(configuration, key=lambda change: change.field),
    )


def _requirement_changes(before: Definition, after: Definition) -> RequirementChanges:
    earlier = [line for _, line in requirement_lines(_requirements(before))]
    later = [line for _, line in requirement_lines(_requirements(after))]
    known, kept = set(earlier), set(later)
    return RequirementChanges(
        removed=[line for line in earlier if line not in kept],
        added=[line for line in later if line not in known],
    )


def _built(before: Compared, after: Compared) -> list[FieldChange]:
    """Return where the same words led to other bytes: a tag moved, or there are newer packages."""
    if not (before.artifact and after.artifact):
        return []
    return _fields(_bytes_of(before.artifact), _bytes_of(after.artifact))


def _bytes_of(artifact: Artifact) -> dict[str, Any]:
    image = "" if artifact.base or not artifact.image else artifact.image.manifest
    named = {"base": artifact.base, "packages": artifact.dependencies, "image_digest": image}
    return {name: value for name, value in named.items() if value}


def _files_of(definition: Definition) -> Mapping[str, str]:
    return {} if isinstance(definition, ImageDefinition) else definition.files


def _requirements(definition: Definition) -> str:
    return definition.requirements if isinstance(definition, SourceDefinition) else ""


def _files(before: Mapping[str, str], after: Mapping[str, str]) -> list[FileChange]:
    changes: list[FileChange] = []
    for path in sorted({*before, *after}):
        earlier, later = before.get(path), after.get(path)
        if earlier == later:
            continue
        change: Change = "changed"
        if earlier is None:
            change = "added"
        elif later is None:
            change = "removed"
        changes.append(FileChange(path=path, change=change, before=earlier, after=later))
    return changes


def _fields(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[FieldChange]:
    return [
        FieldChange(field=field, before=before.get(field), after=after.get(field))
        for field in sorted({*before, *after})
        if before.get(field) != after.get(field)
    ]


def _configuration(side: Compared) -> dict[str, Any]:
    """Return everything that is neither a file nor a requirement, by field."""
    fields = _of_definition(side.definition)
    for name, value in msgspec.structs.asdict(side.settings).items():
        plain = msgspec.structs.asdict(value) if isinstance(value, Struct) else value
        if isinstance(plain, dict):
            parts = cast("dict[str, Any]", plain)
            fields |= {f"{name}.{part}": each for part, each in parts.items()}
        else:
            fields[name] = msgspec.to_builtins(plain)
    return fields


def _of_definition(definition: Definition) -> dict[str, Any]:
    match definition:
        case SourceDefinition():
            named = {name: getattr(definition, name) for name in _SOURCE_FIELDS}
            return {"kind": "source", **{name: value for name, value in named.items() if value}}
        case ImageDefinition(image=image):
            return {"kind": "image", "image": image}
        case ConfigurationDefinition():
            return {"kind": "configuration"}


_SOURCE_FIELDS = ("entry_point", "framework", "python")
