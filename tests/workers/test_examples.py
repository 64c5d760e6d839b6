"""The examples do what they say, on Argosy and on one's own machine."""

import subprocess
import sys
from pathlib import Path

from domain.entries import ToolCalled, UsageReported
from tests.workers.programs import Run, interpreter, run

__all__ = ["interpreter", "run"]

EXAMPLES = Path(__file__).parents[2] / "examples"


def files(name: str) -> dict[str, str]:
    folder = EXAMPLES / name
    return {path.name: path.read_text() for path in sorted(folder.iterdir()) if path.is_file()}


def test_echo_streams_and_leaves_a_file(run: Run) -> None:
    ran = run(files("echo"), message="hello  there")

    assert ran.said == ["hello", " there"]
    assert ran.output == "hello there"
    assert ran.result.extra == {"words": 2}
    assert ran.work.joinpath("echo.txt").read_text() == "hello  there\n"


def test_a_script_counts_words(run: Run) -> None:
    ran = run(files("script"), message="to be or not to be")

    assert ran.output == "  2  to\n  2  be\n  1  or\n  1  not"


def test_a_script_says_why_it_fails(run: Run) -> None:
    ran = run(files("script"), message=" ")

    assert ran.result.detail == ("The program exited with status 1: Send me some words to count.")


def test_tools_are_called_and_answers_streamed(run: Run) -> None:
    ran = run(files("tools"), message="Oslo, quito?")

    assert sorted(ran.output.splitlines()) == [
        "Oslo is in Norway, at 59.9° north.",
        "Quito is in Ecuador, at 0.2° south.",
    ]
    assert len([entry for entry in ran.entries if isinstance(entry, ToolCalled)]) == 2
    assert any(isinstance(entry, UsageReported) for entry in ran.entries)
    assert ran.thoughts == ["The message names 2 of the 3 cities I know."]


def test_a_dependency_is_used(run: Run) -> None:
    import idna

    ran = run(
        files("requirements"),
        message="bücher.example",
        dependencies_target=str(Path(idna.__file__).parents[1]),
    )

    assert ran.output == "xn--bcher-kva.example"


def test_every_example_is_tested() -> None:
    tested = {"echo", "script", "tools", "requirements"}

    assert {path.name for path in EXAMPLES.iterdir() if path.is_dir()} == tested


def test_examples_run_on_ones_own_machine() -> None:
    argv = [sys.executable, str(EXAMPLES / "script" / "agent.py"), "one", "two", "one"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)

    assert done.stdout == "  2  one\n  1  two\n"
