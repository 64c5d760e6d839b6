"""What a Dockerfile takes from elsewhere, and what it may not ask for."""

import pytest

from domain.dockerfiles import read_dockerfile, read_system_packages
from domain.errors import Invalid

STAGES = """\
# What it is built upon.
ARG VERSION=3.12
FROM python:${VERSION}-slim AS Build
RUN apt-get update \\
  # the list
  && true

copy --from=ghcr.io/acme/tools:1 /x /y
FROM build AS second
FROM scratch
COPY --from=second /a /b
COPY --from=0 /c /d
CMD ["x"]
"""


def test_images_are_told_from_stages_and_get_other_names() -> None:
    found = read_dockerfile(STAGES)

    assert found.images == ("python:3.12-slim", "ghcr.io/acme/tools:1")
    assert found.with_images({"python:3.12-slim": "one", "ghcr.io/acme/tools:1": "two"}) == (
        "ARG VERSION=3.12\n"
        "FROM one AS Build\n"
        "RUN apt-get update    && true\n"
        "COPY --from=two /x /y\n"
        "FROM build AS second\n"
        "FROM scratch\n"
        "COPY --from=second /a /b\n"
        "COPY --from=0 /c /d\n"
        'CMD ["x"]\n'
    )


@pytest.mark.parametrize(
    "first", ["# syntax=docker/dockerfile:1", "#Syntax = docker.io/docker/dockerfile:1.7-labs\r"]
)
def test_dockers_own_syntax_is_a_comment_that_no_engine_sees(first: str) -> None:
    found = read_dockerfile(f"{first}\nFROM x\n")

    assert found.with_images({"x": "one"}) == "FROM one\n"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("FROM x\n\nADD https://example.org/a /a", 3, "ADD fetches nothing"),
        ("FROM x\nADD $URL /a", 2, "ADD fetches nothing"),
        ('FROM x\nADD ["\\u0068ttp://example.org/a", "/a"]', 2, "ADD fetches nothing"),
        ("FROM x\nADD git@example.org:a.git /a", 2, "ADD fetches nothing"),
        ("FROM x\nRUN --network=host wget x", 2, "flags of RUN"),
        ("FROM x\nRUN --mount=type=bind,from=secret,target=/x cat /x", 2, "flags of RUN"),
        ("FROM x\nRUN cat <<EOF\nFROM secret\nEOF", 2, "here-documents"),
        ("# syntax=example.org/frontend\nFROM x", 1, "parser directives"),
        ("# syntax=docker/dockerfile-upstream:master\nFROM x", 1, "parser directives"),
        ("# escape=`\nFROM x", 1, "parser directives"),
        ("FROM x\nONBUILD RUN x", 2, "ONBUILD"),
        ("FROM --platform=linux/arm64 x", 1, "without flags"),
        ("FROM $UNKNOWN", 1, "UNKNOWN has no value"),
        ("ARG S=a\nFROM x AS a\nFROM $S", 3, "write a itself"),
        ("FROM X", 1, "is not an image"),
        ("FROM x\nCOPY --from=$STAGE /a /b", 2, "is not an image"),
        ("FROM x AS a\nCOPY --from=a --from=UPPER /a /b", 2, "is not an image"),
        ("FROM x\nINCLUDE other", 2, "no instruction"),
        ("FROM x\n??", 2, "no instruction"),
    ],
)
def test_what_reaches_out_or_cannot_be_read_is_refused(text: str, line: int, words: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_dockerfile(text, path="Containerfile", field="source.files.Containerfile")

    assert refused.value.detail.startswith(f"Containerfile, line {line}: ")
    assert words in refused.value.detail
    assert refused.value.field == "source.files.Containerfile"


@pytest.mark.parametrize("text", ["", "# nothing\n", "ARG A=1\n"])
def test_what_is_built_upon_nothing_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="has no FROM"):
        read_dockerfile(text)


def test_an_image_that_is_no_stage_yet_is_an_image() -> None:
    assert read_dockerfile("FROM a\nCOPY --from=b /x /y\nFROM c AS b\n").images == ("a", "b", "c")


def test_debian_packages() -> None:
    text = "# tools\nffmpeg\n\nlibpq-dev=15.8-0+deb12u1  # for psycopg\n"

    assert read_system_packages(text) == ("ffmpeg", "libpq-dev=15.8-0+deb12u1")


@pytest.mark.parametrize("line", ["ffmpeg && true", "--allow-all", "Ffmpeg", "a$(id)", "x=;id"])
def test_what_is_no_debian_package_is_refused(line: str) -> None:
    with pytest.raises(Invalid, match="line 2"):
        read_system_packages(f"ffmpeg\n{line}\n", path="apt.txt")
