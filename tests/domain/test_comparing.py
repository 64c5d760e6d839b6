"""Comparing two revisions."""

from msgspec.structs import replace

from domain.comparing import Compared, Comparison, FieldChange, RequirementChanges, compare
from domain.deployments import ModelConfig, Settings
from domain.execution import (
    Artifact,
    ConfigurationDefinition,
    Image,
    ImageDefinition,
    SourceDefinition,
)
from tests.fuzzing.growth import grows_evenly

SOURCE = SourceDefinition(files={"agent.py": "sha256:01"}, entry_point="agent.py")
SIDE = Compared(SOURCE, Settings())


def test_what_is_the_same_has_no_difference() -> None:
    nothing = Comparison(
        files=[], requirements=RequirementChanges(removed=[], added=[]), configuration=[]
    )

    assert compare(SIDE, SIDE) == nothing


def test_comments_and_order_are_no_change_of_requirements() -> None:
    before = replace(SIDE, definition=replace(SOURCE, requirements="a==1\nb\n"))
    after = replace(SIDE, definition=replace(SOURCE, requirements="# why\nb\na==2\n"))

    changes = compare(before, after).requirements

    assert changes == RequirementChanges(removed=["a==1"], added=["a==2"])


def test_long_requirements_take_no_longer_than_they_are() -> None:
    def read(lines: int) -> None:
        text = "\n".join(f"a{number}" for number in range(lines))
        other = "\n".join(f"b{number}" for number in range(lines))
        definitions = replace(SOURCE, requirements=text), replace(SOURCE, requirements=other)
        compare(*(replace(SIDE, definition=each) for each in definitions))

    grows_evenly(read, 4_000)


def test_another_kind_of_agent_takes_the_files_away() -> None:
    image = Compared(ImageDefinition(image="ghcr.io/acme/a:1"), Settings())

    changes = compare(SIDE, image)

    assert [(each.path, each.change) for each in changes.files] == [("agent.py", "removed")]
    assert changes.configuration == [
        FieldChange(field="entry_point", before="agent.py", after=None),
        FieldChange(field="image", before=None, after="ghcr.io/acme/a:1"),
        FieldChange(field="kind", before="source", after="image"),
    ]


def test_a_tag_that_moved_is_a_change() -> None:
    def side(manifest: str) -> Compared:
        image = Image(manifest=manifest, config="sha256:0c", layers=[])
        artifact = Artifact(base="", source="", image=image)
        return Compared(ImageDefinition(image="ghcr.io/acme/a:1"), Settings(), artifact)

    changes = compare(side("sha256:01"), side("sha256:02"))

    assert changes.configuration == [
        FieldChange(field="image_digest", before="sha256:01", after="sha256:02")
    ]


def test_other_packages_of_the_same_requirements_are_a_change() -> None:
    before = replace(SIDE, artifact=Artifact(base="python", source="a", dependencies="sha256:01"))
    after = replace(SIDE, artifact=Artifact(base="crewai", source="b", dependencies="sha256:02"))

    assert compare(before, after).configuration == [
        FieldChange(field="base", before="python", after="crewai"),
        FieldChange(field="packages", before="sha256:01", after="sha256:02"),
    ]


def test_other_packages_of_other_requirements_go_without_saying() -> None:
    before = replace(SIDE, artifact=Artifact(base="python", source="a", dependencies="sha256:01"))
    after = replace(
        SIDE,
        definition=replace(SOURCE, requirements="six"),
        artifact=Artifact(base="python", source="a", dependencies="sha256:02"),
    )

    assert compare(before, after).configuration == []


def test_settings_are_compared_value_by_value() -> None:
    bare = Compared(ConfigurationDefinition(), Settings(environment={"A": "1", "B": "1"}))
    models = [ModelConfig(model="gpt-4o-mini")]
    full = Compared(ConfigurationDefinition(), Settings(environment={"B": "2"}, llm_configs=models))

    assert compare(bare, full).configuration == [
        FieldChange(field="environment.A", before="1", after=None),
        FieldChange(field="environment.B", before="1", after="2"),
        FieldChange(field="llm_configs", before=[], after=[{"model": "gpt-4o-mini"}]),
    ]
