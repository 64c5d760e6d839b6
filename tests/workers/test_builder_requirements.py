"""What is read of a requirements text before any index is asked, and what uv's complaints mean."""

import pytest

from domain.errors import Invalid
from workers.builder.failures import Failure, explain
from workers.builder.indexes import find_index, masked
from workers.builder.requirements import MAX_LINES, Requirements, read_requirements


def wanted(text: str) -> list[tuple[int, str]]:
    requirements = read_requirements(text)
    assert isinstance(requirements, Requirements), requirements
    return [(each.line, each.text) for each in requirements.wanted]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("httpx\n", [(1, "httpx")]),
        ("\ufeffhttpx\r\npydantic\r\n", [(1, "httpx"), (2, "pydantic")]),
        ("# comment\n\n  httpx >= 0.28 # why\n", [(3, "httpx>=0.28")]),
        ("httpx>=0.28, \\\n  <1\nidna\n", [(1, "httpx<1,>=0.28"), (3, "idna")]),
        ("Pydantic[email] ~= 2.0", [(1, "Pydantic[email]~=2.0")]),
        (
            "httpx; python_version<'3.12' and extra=='x'",
            [(1, 'httpx; python_version < "3.12" and extra == "x"')],
        ),
        ("httpx==0.28.1 --hash=sha256:00 --hash=sha256:11", [(1, "httpx==0.28.1")]),
        ("httpx \\", [(1, "httpx")]),
    ],
)
def test_requirements_are_read_line_by_line(text: str, expected: list[tuple[int, str]]) -> None:
    assert wanted(text) == expected


def test_a_requirement_may_have_the_hashes_of_hundreds_of_wheels() -> None:
    given = [f"sha256:{number:064x}" for number in range(300)]
    text = "charset-normalizer==3.5.3 \\\n" + " \\\n".join(f"    --hash={each}" for each in given)

    requirements = read_requirements(f"{text}\n    # via requests\nidna\n")

    assert isinstance(requirements, Requirements)
    assert [each.name for each in requirements.wanted] == ["charset-normalizer", "idna"]
    assert requirements.wanted[0].hashes == frozenset(given)


@pytest.mark.parametrize(
    "line",
    [
        "runagents",
        "runagents>=1.4.2",
        "RunAgents[cli] ~= 1.0",
        "argosy==0.1; python_version >= '3'",
        "argosy ; sys_platform == 'win32'  # comment",
    ],
)
def test_what_argosy_provides_is_not_asked_for(line: str) -> None:
    requirements = read_requirements(f"{line}\nhttpx\n")

    assert isinstance(requirements, Requirements)
    assert [each.name for each in requirements.wanted] == ["httpx"]
    assert len(requirements.provided) == 1


@pytest.mark.parametrize(
    "line",
    [
        "x y z",
        "httpx; " + "(" * 900,
        "httpx==",
        "httpx>=1.0.x.y!",
        "==1.0",
        "-r more.txt",
        "--index-url https://example.org/simple",
        "-e .",
        "./local",
        "x @ file:///etc/passwd",
        "x @ https://example.org/x.whl",
        "https://example.org/x.whl",
        "httpx --config-settings=a=b",
        "httpx==1; rm -rf /",
        "x" * 2_000,
        "naïve\x00",
    ],
)
def test_lines_that_are_no_requirements_are_named(line: str) -> None:
    failure = read_requirements(f"idna\n{line}\n")

    assert isinstance(failure, Failure)
    assert failure.step == "plan"
    assert "line 2" in failure.detail
    assert failure.hint


def test_too_many_requirements_are_refused() -> None:
    assert isinstance(read_requirements("a\n" * MAX_LINES), Requirements)
    assert isinstance(read_requirements("a\n" * (MAX_LINES + 1)), Failure)


UNSOLVED = "error: No solution found when resolving dependencies\n  cause: Because "
SO = ", we can conclude that your requirements are unsatisfiable."


@pytest.mark.parametrize(
    ("complaint", "step", "words"),
    [
        (
            f"{UNSOLVED}bar was not found in the package registry and foo==1 depends on bar{SO}",
            "resolve",
            ["There is no package 'bar'", "foo==1 depends on bar"],
        ),
        (
            (
                f"{UNSOLVED}foo was not found in the package registry and you require foo{SO}\n\n"
                "hint: An index URL (https://example.org) could not be queried due to a lack of "
                "valid authentication credentials (401 Unauthorized)"
            ),
            "resolve",
            ["refused access"],
        ),
        (
            (
                "error: Request failed after 3 retries in 3.6s\n  cause: Failed to fetch: "
                "https://pypi.org/simple/x/\n  cause: invalid peer certificate: UnknownIssuer"
            ),
            "resolve",
            ["could not be reached", "UnknownIssuer"],
        ),
        ("error: something\n  cause: No space left on device (os error 28)", "resolve", ["space"]),
        ("warning: whatever\nerror: something new\n  cause: odd", "resolve", ["something new"]),
        ("", "resolve", ["uv failed"]),
        (
            (
                f"{UNSOLVED}foo==1 has no wheels with a matching Python ABI tag (e.g., `cp311`) "
                f"and you require foo==1{SO}"
            ),
            "plan",
            ["line 7", "'foo' would have to be built"],
        ),
    ],
)
def test_complaints_become_words_for_people(complaint: str, step: str, words: list[str]) -> None:
    failure = explain("resolve", complaint.splitlines(), {"foo": 7}, "3.11")

    assert failure.step == step
    for word in words:
        assert word in failure.detail
    assert "cause: Because" not in failure.detail
    assert "\n" not in failure.detail


def test_only_the_index_is_taken_from_the_environment() -> None:
    index = find_index(
        "",
        {
            "UV_DEFAULT_INDEX": "https://user:secret@example.org/simple",
            "UV_INDEX_PRIVATE_PASSWORD": "secret",
            "https_proxy": "http://me:secret@proxy:3128",
            "PIP_INDEX_URL": "https://pip.example.org",
            "UV_PYTHON": "/usr/bin/evil",
            "UV_CACHE_DIR": "/root",
            "AWS_SECRET_ACCESS_KEY": "secret",
        },
    )

    passed = set(index.environment) - {"UV_SYSTEM_CERTS", "SSL_CERT_FILE"}
    assert passed == {"UV_DEFAULT_INDEX", "UV_INDEX_PRIVATE_PASSWORD"}
    assert index.proxies == {"https": "http://me:secret@proxy:3128"}
    assert "secret" not in repr(index)


def test_the_setting_goes_before_what_uv_is_told() -> None:
    index = find_index(
        "https://mine.example.org/simple", {"UV_INDEX_URL": "https://other.example.org/simple"}
    )

    assert index.environment["UV_DEFAULT_INDEX"] == "https://mine.example.org/simple"
    assert "UV_INDEX_URL" not in index.environment


@pytest.mark.parametrize("setting", ["example.org", "/no/such/folder", "file:///etc"])
def test_a_setting_that_is_no_index_is_refused(setting: str) -> None:
    with pytest.raises(Invalid, match="ARGOSY_PACKAGE_INDEX"):
        find_index(setting, {})


def test_credentials_are_masked() -> None:
    line = "Failed to fetch: https://user:secret@example.org/simple/x and http://token@host/"

    assert masked(line) == "Failed to fetch: https://***@example.org/simple/x and http://***@host/"
