"""The mode decision: the table of the deploy API, row by row."""

import pytest
from msgspec.structs import replace

from domain.execution import (
    Artifact,
    Base,
    BuildProfile,
    ConfigurationDefinition,
    Decision,
    ImageDefinition,
    Mode,
    SourceDefinition,
    decide_mode,
    find_obstacle,
    instant_artifact,
    missing_requirements,
    plain_base,
    source_digest,
)
from domain.requirements import normalised, requirement_lines

BASE = Base(
    name="python-3.11", python="3.11", packages={"httpx": "0.28.1", "typing-extensions": "4"}
)


def source(requirements: str = "", *, python: str = "", **files: str) -> SourceDefinition:
    listed = {"agent.py": "sha256:01", **{name.replace("__", "."): "" for name in files}}
    return SourceDefinition(
        files=listed, entry_point="agent.py", requirements=requirements, python=python
    )


def test_an_image_is_not_built() -> None:
    decision = decide_mode(ImageDefinition(image="echo:1"), BASE)

    assert decision == Decision(mode="IMAGE", reason="The image echo:1 is given; nothing is built.")


def test_a_configuration_needs_no_build() -> None:
    assert decide_mode(ConfigurationDefinition(), BASE).mode == "INSTANT_RUNTIME"


@pytest.mark.parametrize(
    "requirements",
    [
        "",
        "\n# nothing\n\n",
        "runagents",
        "runagents>=1.4.2\nargosy==0.1",
        "RunAgents[mcp] >= 1",
        "httpx",
        "HTTPX  # as the base has it",
        "typing_extensions",
        "Typing.Extensions; python_version < '4'",
    ],
)
def test_what_the_base_meets_is_instant(requirements: str) -> None:
    assert decide_mode(source(requirements), BASE).mode == "INSTANT_RUNTIME"


@pytest.mark.parametrize(
    "requirements",
    [
        "pydantic",
        "httpx==0.28.1",
        "httpx>=0.20",
        "httpx[http2]",
        "httpx [http2]",
        "httpx~=0.28 ; python_version > '3'",
        "runagents\npydantic",
        "pydantic==2 \\\n    --hash=sha256:00",
    ],
)
def test_what_has_to_be_installed_is_an_overlay(requirements: str) -> None:
    assert decide_mode(source(requirements), BASE).mode == "FAST_OVERLAY"


def test_a_reason_is_a_sentence_however_long_a_requirement_is() -> None:
    decision = decide_mode(source(f"pydantic{' ' * 400_000}x"), BASE)

    assert len(decision.reason) < 300


def test_hashes_are_left_out_of_the_reason() -> None:
    decision = decide_mode(
        source("pydantic==2 \\\n  --hash=sha256:00 \\\n  --hash=sha256:01"), BASE
    )

    assert decision.reason == "pydantic==2 will be installed from wheels over python-3.11."


@pytest.mark.parametrize(
    ("definition", "because"),
    [
        (source(Dockerfile=""), "Dockerfile asks for an environment of its own."),
        (source(Containerfile=""), "Containerfile asks for an environment of its own."),
        (source(apt__txt=""), "apt.txt asks for an environment of its own."),
        (source(packages__txt=""), "packages.txt asks for an environment of its own."),
        (source(python="3.12"), "Python 3.12 is required; here is Python 3.11."),
        (source(python="2"), "Python 2 is required; here is Python 3.11."),
        (source("-r more.txt"), "requirements, line 1: '-r more.txt' cannot be installed"),
        (source("-e ."), "requirements, line 1: '-e .' cannot be installed"),
        (source("./local"), "requirements, line 1: './local' cannot be installed"),
        (source("/opt/local"), "requirements, line 1: '/opt/local' cannot be installed"),
        (source("git+https://h/x"), "requirements, line 1: 'git+https://h/x' cannot be installed"),
        (
            source("x @ https://h/x.whl"),
            "requirements, line 1: 'x @ https://h/x.whl' cannot be installed",
        ),
        (source("sub/folder"), "requirements, line 1: 'sub/folder' cannot be installed"),
        (source("a.whl; python_version > '3'"), 'requirements, line 1: "a.whl; python'),
        (source("\n\nhttpx\n-e ."), "requirements, line 4: '-e .' cannot be installed"),
        (source("git+https://me:pass@h/x"), "requirements, line 1: 'git+https://***@h/x' cannot"),
        (
            source("--index-url https://h"),
            "requirements, line 1: '--index-url https://h' cannot be installed",
        ),
    ],
)
def test_everything_else_is_a_full_build(definition: SourceDefinition, because: str) -> None:
    decision, obstacle = decide_mode(definition, BASE), find_obstacle(definition, BASE)

    assert decision.mode == "FULL_BUILD"
    assert decision.reason.startswith(because)
    assert obstacle
    assert obstacle.reason == decision.reason
    assert obstacle.cure


@pytest.mark.parametrize(
    "line",
    ["x --hash=sha256:0/1", "x; platform_machine == 'a/b'", "x  # see ./y", "x[a] >= 1.0"],
)
def test_a_line_about_a_package_of_the_index_is_no_obstacle(line: str) -> None:
    assert find_obstacle(source(line), BASE) is None


@pytest.mark.parametrize("python", ["3", "3.11", "3.11.4"])
def test_the_bases_own_python_is_no_reason(python: str) -> None:
    assert decide_mode(source(python=python), BASE).mode == "INSTANT_RUNTIME"


@pytest.mark.parametrize(
    ("requirements", "mode"), [("", "INSTANT_RUNTIME"), ("httpx", "FAST_OVERLAY")]
)
def test_another_python_that_is_there_has_a_base_of_its_own(requirements: str, mode: str) -> None:
    newer = Base(name="python3.13", python="3.13")
    base = replace(BASE, others=(newer,))
    definition = source(requirements, python="3.13")

    decision = decide_mode(definition, base)

    assert decision.mode == mode
    assert "python3.13" in decision.reason
    assert plain_base("3.13.2", base) is newer
    artifact = instant_artifact(definition, base)
    assert artifact
    assert artifact.base == "python3.13"


@pytest.mark.parametrize("path", ["agent.js", "agent.mjs", "src/agent.cjs"])
def test_javascript_runs_on_node_as_it_is(path: str) -> None:
    base = replace(BASE, node="node20")
    definition = SourceDefinition(files={path: ""}, entry_point=path, framework="crewai")

    decision, artifact = decide_mode(definition, base), instant_artifact(definition, base)

    assert (decision.mode, decision.reason) == (
        "INSTANT_RUNTIME",
        f"{path} runs on node20 as it is.",
    )
    assert artifact
    assert artifact.base == "node20"


@pytest.mark.parametrize(
    ("node", "requirements", "because"),
    [
        ("", "", "agent.js is JavaScript, and this server has no Node."),
        ("node20", "httpx", "The requirements are Python's, and agent.js is JavaScript."),
    ],
)
def test_javascript_has_obstacles_of_its_own(node: str, requirements: str, because: str) -> None:
    definition = SourceDefinition(
        files={"agent.js": ""}, entry_point="agent.js", requirements=requirements
    )

    decision = decide_mode(definition, replace(BASE, node=node))

    assert (decision.mode, decision.reason) == ("FULL_BUILD", because)


def test_a_framework_is_a_hint_never_a_reason_to_refuse() -> None:
    definition = SourceDefinition(
        files={"agent.py": ""}, entry_point="agent.py", requirements="crewai", framework="crewai"
    )
    plain = SourceDefinition(files={"agent.py": ""}, entry_point="agent.py", framework="unheard-of")

    decision = decide_mode(definition, BASE)

    assert decision.mode == "FAST_OVERLAY"
    assert decision.reason == "crewai will be installed from wheels over python-3.11 for crewai."
    assert decide_mode(plain, BASE).mode == "INSTANT_RUNTIME"


def test_a_long_list_of_requirements_is_shortened() -> None:
    decision = decide_mode(source("a\nb\nc\nd\ne"), BASE)

    assert decision.reason.startswith("a, b, c and 2 more will be installed")


@pytest.mark.parametrize(
    ("mode", "required", "profile"),
    [
        ("IMAGE", False, "none"),
        ("INSTANT_RUNTIME", False, "instant"),
        ("FAST_OVERLAY", True, "fast_overlay"),
        ("FULL_BUILD", True, "full"),
    ],
)
def test_modes_in_the_words_of_the_deploy_api(
    mode: Mode, required: bool, profile: BuildProfile
) -> None:
    decision = Decision(mode=mode, reason="")

    assert (decision.build_required, decision.build_profile) == (required, profile)


def test_an_instant_artifact_is_the_source_over_the_base() -> None:
    definition = source()

    assert instant_artifact(definition, BASE) == Artifact(
        base="python-3.11", source=source_digest(definition.files)
    )
    assert instant_artifact(ConfigurationDefinition(), BASE) is None
    assert instant_artifact(ImageDefinition(image="echo:1"), BASE) is None


def test_a_source_digest_does_not_depend_on_the_order_of_files() -> None:
    one, other = {"a": "sha256:01", "b": "sha256:02"}, {"b": "sha256:02", "a": "sha256:01"}

    assert source_digest(one) == source_digest(other)
    assert source_digest(one) != source_digest({"a": "sha256:02", "b": "sha256:01"})


def test_requirement_lines_are_those_that_pip_would_see() -> None:
    text = "# head\n\n  httpx  # inline\nx \\\n  --hash=sha256:1\nurl#fragment\n"

    assert list(requirement_lines(text)) == [
        (3, "httpx"),
        (4, "x    --hash=sha256:1"),
        (6, "url#fragment"),
    ]


def test_requirements_that_cannot_be_read_count_as_missing() -> None:
    assert missing_requirements("???\nhttpx", BASE) == ["???"]


def test_names_are_compared_as_indexes_do() -> None:
    assert normalised("Typing_.Extensions") == "typing-extensions"
