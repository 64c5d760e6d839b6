"""Packages without wheels, built from source in real sandboxes: what is made, walled off, said."""

import ast
import shutil
from pathlib import Path

import msgspec
import pytest

from domain.builds import BuildEnded
from domain.registry import encode
from tests.workers.builds import LIMITS, Builder, environment_for, local, the_driver
from tests.workers.packages import Index, make_sdist, make_wheel
from workers.builder.building_failures import build_failed
from workers.builder.indexes import PackageIndex, find_index, with_credentials
from workers.builder.sdists import Sdist

SDIST = Sdist(
    "made", "1.0", "https://example.org/made-1.0.tar.gz", "0" * 64, "requirements, line 2: "
)


async def about(builder: Builder, end: BuildEnded, name: str) -> dict[str, str]:
    """What a package that was built says of where it was built."""
    assert end.how == "succeeded", (end, builder.text)
    text = (await builder.layer(end) / f"{name}.py").read_text()
    return ast.literal_eval(text.partition(" = ")[2])[1]


def refused(builder: Builder, end: BuildEnded, *words: str) -> None:
    assert (end.how, end.step, end.artifact) == ("failed", "source", None), end
    for word in words:
        assert word in end.detail, end.detail
    assert end.hint
    assert [(plan.mode, plan.confirmed) for plan in builder.plans] == [("FULL_BUILD", False)]
    assert builder.leftovers() == []


async def test_what_has_no_wheel_is_built_from_source(builder: Builder, index: Index) -> None:
    make_sdist(index.folder, "made", "1.0")

    end = await builder.build("good\nmade\n")

    assert await about(builder, end, "made") == {}
    (plan,) = builder.plans
    assert (plan.mode, plan.confirmed) == ("FULL_BUILD", False)
    assert plan.evidence == "Built from source: made 1.0. From wheels: good 1.0."
    assert "source: made made-1.0-py3-none-any.whl" in builder.text
    steps = ["plan", "resolve", "source", "install", "store", "image"]
    assert [step.name for step in end.steps] == steps
    assert builder.leftovers() == []


async def test_it_is_not_built_twice(builder: Builder, index: Index) -> None:
    make_sdist(index.folder, "made", "1.0")
    first = await builder.build("made")
    index.asked.clear()

    second = await builder.build("made")
    asked = list(index.asked)
    shutil.rmtree(builder.layers.directory / "resolutions")  # as after a while
    third = await builder.build("good\nmade\n")

    assert second.artifact == first.artifact
    assert asked == []
    assert third.how == "succeeded"
    assert "made 1.0 was built from the same source before" in builder.text
    assert "made made-1.0" not in builder.text


async def test_a_wheel_that_is_lost_is_built_again(builder: Builder, index: Index) -> None:
    make_sdist(index.folder, "made", "1.0")
    first = await builder.build("made")
    for place in ("layers", "overlays"):
        shutil.rmtree(builder.layers.directory / place)
        (builder.layers.directory / place).mkdir()
    shutil.rmtree(builder.layers.directory.parent / "blobs")

    second = await builder.build("made")

    assert second.artifact == first.artifact
    assert "made made-1.0" in builder.text


async def test_its_code_sees_no_network_no_secret_and_no_cache(
    directory: Path, index: Index
) -> None:
    host = index.url.split("/")[2]
    address = ("127.0.0.1", int(host.partition(":")[2]))
    looks = f"""
def about():
    import os, socket
    try:
        socket.create_connection({address!r}).close()
        network = "reached"
    except OSError as error:
        network = "no"
    hidden = ("/cache", "/wheels", "/etc/argosy-certificates.pem", {str(directory)!r})
    places = [path for path in hidden if os.path.exists(path)]
    return {{"network": network, "places": places, "environment": sorted(os.environ.values())}}
"""
    make_sdist(index.folder, "curious", "1.0", looks)
    environment = {**environment_for(index.url), "UV_INDEX_MINE_PASSWORD": "sesame"}
    builder = Builder(directory, the_driver(), find_index("", environment))

    seen = await about(builder, await builder.build("curious"), "curious")

    assert seen["network"] == "no"
    assert seen["places"] == []
    assert not any("sesame" in value or host in value for value in seen["environment"])
    assert "sesame" not in builder.text


async def test_what_it_requires_to_be_built_is_installed_from_wheels(
    builder: Builder, index: Index
) -> None:
    make_wheel(index.folder, "tool", "3.0")
    asks = """
def get_requires_for_build_wheel(config_settings=None):
    import good
    return ["tool>=2"]

def about():
    import good, tool
    return {"good": good.VERSION, "tool": tool.VERSION}
"""
    make_sdist(index.folder, "made", "1.0", asks, build_requires=["good>=1"])

    end = await builder.build("made")

    assert await about(builder, end, "made") == {"good": "1.0", "tool": "3.0"}
    assert builder.plans[0].evidence == "Built from source: made 1.0."


async def test_what_it_requires_to_be_built_may_be_missing(builder: Builder, index: Index) -> None:
    make_sdist(index.folder, "made", "1.0", build_requires=["no-such-tool"])

    end = await builder.build("good\nmade\n")

    refused(builder, end, "requirements, line 2: made 1.0", "'no-such-tool'")


async def test_what_it_requires_is_read_from_its_wheel(builder: Builder, index: Index) -> None:
    make_sdist(index.folder, "made", "1.0", requires=["inner<2", "good"])
    for version in ("1.5", "2.0"):
        make_sdist(index.folder, "inner", version)

    end = await builder.build("made")

    assert end.how == "succeeded", end
    assert builder.plans[0].evidence == (
        "Built from source: inner 1.5, made 1.0. From wheels: good 1.0."
    )


@pytest.mark.parametrize(
    ("asks", "words"),
    [
        ('["x; " + "(" * 5_000]', "more than"),
        ('["x; " + "(" * 900]', "nested too deeply"),
        ('["good" + "; python_version > \'3\'" + " and python_version > \'3\'" * 90]', "more than"),
        ('[f"x{number}" for number in range(1_001)]', "more than"),
    ],
)
async def test_it_may_not_ask_for_anything_to_be_built(
    builder: Builder, index: Index, asks: str, words: str
) -> None:
    hook = f"def get_requires_for_build_wheel(*_):\n    return {asks}\n"
    make_sdist(index.folder, "made", "1.0", hook)

    end = await builder.build("made")

    refused(builder, end, "cannot be had", words)
    assert max(len(entry.line) for entry in builder.logged) < 1_000


async def test_a_failing_build_is_quoted(builder: Builder, index: Index) -> None:
    breaks = "def build_wheel(*_):\n    raise SystemExit('the flux capacitor is empty')\n"
    make_sdist(index.folder, "broken", "1.0", breaks)

    end = await builder.build("good\nbroken\n")

    refused(builder, end, "requirements, line 2: broken 1.0", "the flux capacitor is empty")
    assert "has wheels" in end.hint


async def test_a_missing_compiler_is_named(builder: Builder, index: Index) -> None:
    compiles = "def build_wheel(*_):\n    import subprocess\n    subprocess.run(['no-such-gcc'])\n"
    make_sdist(index.folder, "native", "1.0", compiles)

    end = await builder.build("native")

    refused(builder, end, "line 1", "'no-such-gcc', which this build machine does not have")
    assert "install 'no-such-gcc'" in end.hint


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            "error: command 'x86_64-linux-gnu-gcc' failed: No such file or directory",
            "linux-gnu-gcc",
        ),
        ("error: can't find Rust compiler", "'Rust'"),
        ("x.c:1:10: fatal error: Python.h: No such file or directory", "header Python.h"),
        ("<urlopen error [Errno -3] Temporary failure in name resolution>", "wants the network"),
        ("/bin/sh: 1: pkg-config: not found", "'pkg-config'"),
        ("", "ended with: nothing"),
    ],
)
def test_what_compilers_say_is_understood(said: str, words: str) -> None:
    failure = build_failed(SDIST, said.splitlines())

    assert failure.detail.startswith("requirements, line 2: made 1.0")
    assert words in failure.detail
    assert failure.hint


@pytest.mark.parametrize(
    "leaves",
    [
        "    return 'nothing'",
        "    open(f'{folder}/other-1.0-py3-none-any.whl', 'w')",
        "    open(f'{folder}/made-2.0-py3-none-any.whl', 'w')",
        "    open(f'{folder}/made-1.0.whl', 'w')",
        "    open(folder.encode() + b'/\\xff.whl', 'w')",
        "    open(folder.encode() + b'/made-1.0-py3-none-\\xff.whl', 'w')",
        "    import os; os.symlink('/etc/passwd', f'{folder}/made-1.0-py3-none-any.whl')",
        "    import os; os.rmdir(folder); os.symlink('/etc', folder)",
        "    import os; os._exit(0)",
        "    print('{\"requires\": []}')",
    ],
)
async def test_only_its_own_wheel_is_taken(builder: Builder, index: Index, leaves: str) -> None:
    make_sdist(index.folder, "made", "1.0", f"def build_wheel(folder, *_):\n{leaves}\n")

    end = await builder.build("made")

    refused(builder, end, "line 1: made 1.0")
    assert encode(end)


async def test_a_wheel_that_is_none_fails_to_install(builder: Builder, index: Index) -> None:
    writes = "def build_wheel(folder, *_):\n    open(f'{folder}/made-1.0-py3-none-any.whl', 'w')\n"
    make_sdist(index.folder, "made", "1.0", writes)

    end = await builder.build("made")

    assert end.how == "failed", end
    assert "made" in end.detail
    assert builder.leftovers() == []


@pytest.mark.parametrize(
    ("takes", "words"),
    [
        (
            "    open(f'{folder}/x', 'wb').write(bytes(1 << 27))\n    while True: pass",
            "64 MB",
        ),
        ("    x = []\n    while True: x.append(bytearray(1 << 26))", "memory"),
    ],
)
async def test_it_has_limits(builder: Builder, index: Index, takes: str, words: str) -> None:
    if builder.tools.scope == "process" and words == "memory":
        words = "MemoryError"
    make_sdist(index.folder, "greedy", "1.0", f"def build_wheel(folder, *_):\n{takes}\n")

    end = await builder.build("greedy")

    refused(builder, end, words)


async def test_it_has_no_more_time_than_the_whole_build(directory: Path, index: Index) -> None:
    limits = msgspec.structs.replace(LIMITS, seconds=3)
    builder = Builder(directory, the_driver(), local(index), limits=limits)
    waits = "def build_wheel(*_):\n    print('waiting', flush=True)\n    while True: pass\n"
    make_sdist(index.folder, "slow", "1.0", waits)

    end = await builder.build("slow")

    assert (end.how, end.step) == ("failed", "source"), end
    assert "longer than the 3 s" in end.detail
    assert builder.leftovers() == []


async def test_hashes_in_the_requirements_are_those_of_the_source(
    builder: Builder, index: Index
) -> None:
    digest = make_sdist(index.folder, "made", "1.0")

    right = await builder.build(f"made==1.0 --hash=sha256:{digest}")
    wrong = await builder.build(f"made==1.0 --hash=sha256:{'0' * 64}")

    assert right.how == "succeeded"
    refused(builder, wrong, "line 1: made 1.0", "none of the hashes")
    assert digest in wrong.hint


async def test_a_file_that_is_not_what_the_index_announced_is_not_built(
    builder: Builder, index: Index
) -> None:
    make_sdist(index.folder, "made", "1.0")
    index.forged["made-1.0.tar.gz"] = "0" * 64

    refused(builder, await builder.build("made"), "could not be fetched", "Hash mismatch")


async def test_what_is_no_archive_is_said(builder: Builder, index: Index) -> None:
    (index.folder / "torn-1.0.tar.gz").write_bytes(b"no archive")

    refused(builder, await builder.build("torn"), "torn 1.0", "ReadError")


async def test_a_folder_can_be_the_index(directory: Path, index: Index) -> None:
    make_sdist(index.folder, "made", "1.0")
    builder = Builder(directory, the_driver(), find_index(str(index.folder), {}))

    assert (await builder.build("made")).how == "succeeded"
    assert index.asked == []


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({"UV_DEFAULT_INDEX": "https://me:pass@a.org/simple"}, "https://me:pass@a.org/x.tar.gz"),
        ({"UV_INDEX": "https://b.org https://me@a.org/simple"}, "https://me@a.org/x.tar.gz"),
        (
            {
                "UV_INDEX": "our-own=https://a.org/simple",
                "UV_INDEX_OUR_OWN_USERNAME": "me",
                "UV_INDEX_OUR_OWN_PASSWORD": "p@ss",
            },
            "https://me:p%40ss@a.org/x.tar.gz",
        ),
        ({"UV_DEFAULT_INDEX": "http://me:pass@a.org/simple"}, "https://a.org/x.tar.gz"),
        ({"UV_DEFAULT_INDEX": "https://me:pass@a.org.evil.org/"}, "https://a.org/x.tar.gz"),
        ({}, "https://a.org/x.tar.gz"),
    ],
)
def test_credentials_go_to_the_index_they_are_for(environment: dict[str, str], url: str) -> None:
    index = PackageIndex(key="", environment=environment)

    assert with_credentials(index, "https://a.org/x.tar.gz") == url
