"""How an agent's program fails, and what is told of it: what, where, and whose fault it was."""

import sys
from pathlib import Path

import pytest

from tests.workers.programs import Run, interpreter, run, run_task
from workers.harnesses.harness import Task

__all__ = ["interpreter", "run"]


def test_an_exception_is_reported_with_the_agents_own_frames(run: Run) -> None:
    source = {
        "agent.py": "import inner\n\ndef handler(request):\n    return inner.divide(1)\n",
        "inner.py": "def divide(n):\n    return n / 0\n",
    }
    ran = run(source)

    assert (ran.result.how, ran.result.reason, ran.code) == ("failed", "exit_nonzero", 1)
    [error] = ran.errors
    assert error.message == "ZeroDivisionError: division by zero (inner.py, line 2)"
    assert error.message in ran.result.detail
    places = [line.strip() for line in error.traceback.splitlines() if "File" in line]
    assert places == [
        'File "agent.py", line 4, in handler',
        'File "inner.py", line 2, in divide',
    ]


@pytest.mark.parametrize("missing", ["own.part", "os.part", "xml.part"])
def test_no_package_has_what_is_missing_of_the_source_or_the_library(
    run: Run, missing: str
) -> None:
    ran = run({"agent.py": f"import {missing}\n", "own/__init__.py": ""})

    assert ran.errors[0].message.startswith(f"ModuleNotFoundError: No module named '{missing}'")
    assert ran.errors[0].message.endswith("(agent.py, line 1)")


@pytest.mark.parametrize(
    "source",
    [
        "import asyncio\nasync def handler(request):\n    raise KeyError('x')\n",
        "async def handler(request):\n    yield 'a'\n    raise KeyError('x')\n",
        "def handler(request):\n    yield 'a'\n    raise KeyError('x')\n",
        "print('said')\nx = 1\nraise KeyError('x')\n",
        "class C:\n  def invoke(self, m):\n    raise KeyError('x')\nchain = C()",
    ],
)
def test_every_form_reports_the_line(run: Run, source: str) -> None:
    ran = run(source)

    assert ran.code == 1
    assert ran.errors[0].message == "KeyError: 'x' (agent.py, line 3)"
    assert "argosy" not in ran.errors[0].traceback


def test_causes_and_groups_are_in_the_traceback(run: Run) -> None:
    source = (
        "def handler(r):\n"
        "    try:\n"
        "        1 / 0\n"
        "    except ZeroDivisionError as error:\n"
        "        raise ExceptionGroup('many', [ValueError('first')]) from error\n"
    )
    ran = run(source)

    for text in ("ZeroDivisionError", "direct cause", "ValueError: first", "many"):
        assert text in ran.errors[0].traceback


def test_an_import_that_fails_names_file_and_line(run: Run) -> None:
    ran = run("import os\nimport nothing_of_this_name\ndef handler(r): ...\n")

    assert ran.errors[0].message == (
        "ModuleNotFoundError: No module named 'nothing_of_this_name' (agent.py, line 2)"
        ". If a package has it, name that in requirements.txt and deploy again"
    )
    assert ran.result.reason == "exit_nonzero"


@pytest.mark.parametrize("name", ["agent.py", "helper.py"])
def test_a_syntax_error_names_file_and_line(run: Run, name: str) -> None:
    ran = run({"agent.py": "import helper\ndef handler(r): ...\n", name: "\ndef handler(:\n"})

    assert ran.errors[0].message.startswith("SyntaxError: ")
    assert f"({name}, line 2)" in ran.errors[0].message
    assert ran.result.reason == "exit_nonzero"


@pytest.mark.parametrize("source", ["x = '\0'", "# -*- coding: nowhere -*-\n", "x = '\\N{none}'"])
def test_a_source_that_cannot_be_compiled_is_the_agents_failure(run: Run, source: str) -> None:
    ran = run(source)

    assert ran.code == 1
    assert ran.result.reason == "exit_nonzero"
    assert "SyntaxError" in ran.errors[0].message or "null bytes" in ran.errors[0].message


def test_an_exception_that_cannot_be_shown_is_still_reported(run: Run) -> None:
    source = (
        "class Mute(Exception):\n def __str__(self): raise ValueError\n __repr__ = __str__\n"
        "def handler(r): raise Mute\n"
    )
    ran = run(source)

    assert ran.errors[0].message.startswith("Mute: ")
    assert ran.result.reason == "exit_nonzero"


def test_an_endless_recursion_is_reported(run: Run) -> None:
    ran = run("def handler(request):\n    return handler(request)\n")

    assert "RecursionError" in ran.errors[0].message
    assert len(ran.errors[0].traceback.encode()) <= 16_384


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("import sys\nsys.exit(3)", 3),
        ("exit(3)", 3),
        ("raise SystemExit(3)", 3),
        ("import os\nos._exit(3)", 3),
        ("import sys\ndef handler(r): sys.exit(3)", 3),
        ("import sys\nasync def handler(r): sys.exit(3)", 3),
        ("def main(): return 3", 3),
        ("import sys\ndef main(): return 3\nif __name__ == '__main__': sys.exit(main())", 3),
        ("raise KeyboardInterrupt", 130),
    ],
)
def test_the_programs_own_exit_status_counts(run: Run, source: str, code: int) -> None:
    ran = run(source)

    assert ran.code == code
    assert (ran.result.how, ran.result.reason) == ("failed", "exit_nonzero")
    assert f"status {code}" in ran.result.detail


@pytest.mark.parametrize(
    "source",
    [
        "import sys\nprint('hello')\nsys.exit()",
        "print('hello')\nquit(0)",
        "import os\nprint('hello')\nos._exit(0)",
        "from argosy import agent\nimport sys\ndef handler(r): agent.say('hello'); sys.exit(0)",
        "def main():\n print('hello')\n return 0",
    ],
)
def test_leaving_early_with_success_is_success(run: Run, source: str) -> None:
    ran = run(source)

    assert (ran.result.how, ran.output, ran.code) == ("completed", "hello", 0)


def test_the_last_words_of_a_program_are_the_detail(run: Run) -> None:
    ran = run("import sys\nsys.exit('the key is missing')")

    assert ran.result.detail == "The program exited with status 1: the key is missing"
    assert ran.logs("stderr") == ["the key is missing"]


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGTERM"])
def test_a_signal_is_named(run: Run, name: str) -> None:
    ran = run(f"import os, signal\nprint('hello')\nos.kill(os.getpid(), signal.{name})")

    assert (ran.result.how, ran.result.reason) == ("failed", "killed_by_signal")
    assert name in ran.result.detail
    assert ran.output == "hello"


def test_an_exception_hook_of_the_agents_is_called(run: Run) -> None:
    ran = run(
        "import sys\nsys.excepthook = lambda *a: print('hooked', file=sys.stderr)\nraise ValueError"
    )

    assert ran.logs("stderr") == ["hooked"]
    assert ran.errors[0].message == "ValueError:  (agent.py, line 3)"


def test_a_program_that_cannot_be_started_is_not_the_agents_failure(run: Run) -> None:
    ran = run("print('hello')", entry_point="missing.py")

    assert (ran.result.how, ran.result.reason) == ("failed", "harness_error")
    assert "missing.py" in ran.result.detail


def test_an_interpreter_that_is_none_is_not_the_agents_failure(tmp_path: Path) -> None:
    task = Task(run_id="r", message="", entry_point="agent.py", python="/bin/false")

    ran = run_task("source", task, tmp_path)

    assert (ran.result.how, ran.result.reason) == ("failed", "harness_error")
    assert "did not start" in ran.result.detail


def test_a_runtime_that_is_missing_is_not_the_agents_failure(tmp_path: Path) -> None:
    task = Task(
        run_id="r",
        message="",
        entry_point="agent.py",
        python=sys.executable,
        runtime_target="/nowhere",
    )

    ran = run_task("source", task, tmp_path)

    assert ran.result.reason == "harness_error"
    assert "argosy" in ran.result.detail


def test_what_ends_after_the_answer_still_counts(run: Run) -> None:
    source = (
        "import atexit, threading, time\n"
        "def late():\n time.sleep(0.05)\n open('late.txt', 'w').close()\n"
        "def handler(r):\n"
        " threading.Thread(target=late).start()\n"
        " atexit.register(lambda: open('exit.txt', 'w').close())\n"
        " return 'hello'\n"
    )
    ran = run(source)

    assert ran.output == "hello"
    assert (ran.work / "late.txt").exists()
    assert (ran.work / "exit.txt").exists()
