"""What a program finds around it: its files, its modules, its environment, its standard streams."""

import json
import os
import select
import subprocess
from pathlib import Path

import pytest

from domain.entries import ToolCalled
from tests.workers.programs import Run, interpreter, run
from workers.harnesses.harness import Task
from workers.harnesses.harnesses import HARNESSES

__all__ = ["interpreter", "run"]


@pytest.mark.parametrize(
    "source",
    [
        "open('ran.txt', 'a').write('x')",
        "open('ran.txt', 'a').write('x')\ndef handler(r): return ''",
        "open('ran.txt', 'a').write('x')\ndef main(): pass\nif __name__ == '__main__': main()",
        "open('ran.txt', 'a').write('x')\nagent = object()\nif __name__ == '__main__': print(1)",
        "open('ran.txt', 'a').write('x')\nhandler = None",
        "open('ran.txt', 'a').write('x')\n1/0",
        "open('ran.txt', 'a').write('x')\nhandler = 1/0",
    ],
)
def test_no_file_runs_twice(run: Run, source: str) -> None:
    ran = run(source)

    assert ran.work.joinpath("ran.txt").read_text() == "x"


def test_the_main_block_of_a_module_never_runs(run: Run) -> None:
    ran = run("def handler(r): return __name__\nif __name__ == '__main__': raise ValueError")

    assert ran.output == "agent"


def test_a_script_is_main(run: Run) -> None:
    source = "import sys, __main__\nprint(__name__, __file__ == __main__.__file__ == sys.argv[0])"
    ran = run(source)

    assert ran.output == "__main__ True"


def test_the_source_is_read_and_written_by_relative_name(run: Run) -> None:
    source = {
        "agent.py": (
            "from pathlib import Path\n"
            "text = open('data/in.txt').read()\n"
            "Path(__file__).with_name('out.txt').write_text(text.upper())\n"
            "Path('data/in.txt').write_text('changed')\n"
            "print(Path('out.txt').read_text())\n"
        ),
        "data/in.txt": "words",
    }
    ran = run(source)

    assert ran.output == "WORDS"
    left = sorted(str(path.relative_to(ran.work)) for path in ran.work.rglob("*") if path.is_file())
    assert left == ["agent.py", "data/in.txt", "out.txt"]
    assert ran.work.joinpath("data/in.txt").read_text() == "changed"
    assert (ran.work.parent / "source/data/in.txt").read_text() == "words"


def test_files_that_can_be_executed_stay_so(run: Run, tmp_path: Path) -> None:
    tool = tmp_path / "source" / "tool.sh"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho from the tool\n")
    tool.chmod(0o755)
    ran = run("import subprocess\nsubprocess.run(['./tool.sh'], check=True)")

    assert ran.output == "from the tool"


@pytest.mark.parametrize(
    ("entry_point", "files"),
    [
        ("src/agent.py", {"src/agent.py": "import helper\ndef handler(r): return helper.X"}),
        ("src/agent.py", {"src/agent.py": "import root\ndef handler(r): return root.X"}),
        ("src/agent.py", {"src/agent.py": "import helper\nprint(helper.X)"}),
        ("src/agent.py", {"src/agent.py": "import root\nprint(root.X)"}),
        ("src/agent.py", {"src/agent.py": "from .helper import X\ndef handler(r): return X"}),
        (
            "pkg/sub/agent.py",
            {
                "pkg/__init__.py": "",
                "pkg/sub/__init__.py": "from root import X",
                "pkg/sub/agent.py": "from . import X\nfrom ..deep import Y\ndef main(r): return Y",
                "pkg/deep.py": "Y = 'found'",
            },
        ),
        (
            "bot/__init__.py",
            {"bot/__init__.py": "from .x import handler", "bot/x.py": "handler=str"},
        ),
        ("my-agent.py", {"my-agent.py": "import root\ndef handler(r): return root.X"}),
        ("v1.2/agent.py", {"v1.2/agent.py": "import root\ndef handler(r): return root.X"}),
        (
            "agent.py",
            {
                "agent.py": "from agent.x import X\ndef handler(r): return X",
                "agent/__init__.py": "",
                "agent/x.py": "X = 'found'",
            },
        ),
        ("json.py", {"json.py": "def handler(r): return {'response': 'found'}"}),
        ("os.py", {"os.py": "def handler(r): return 'found'"}),
        ("__main__.py", {"__main__.py": "def handler(r): return 'found'"}),
        ("argosy.py", {"argosy.py": "from argosy import agent\ndef handler(r): return 'found'"}),
    ],
)
def test_modules_are_found_from_the_root_and_from_beside(
    run: Run, entry_point: str, files: dict[str, str]
) -> None:
    common = {"root.py": "X = 'found'", "src/helper.py": "X = 'found'"}
    ran = run(files | common, entry_point=entry_point)

    assert ran.result.how == "completed", ran.result.detail
    assert "found" in ran.output or entry_point == "bot/__init__.py"


def test_modules_called_as_the_librarys_are_the_agents_own(run: Run) -> None:
    source = {
        "agent.py": (
            "import json, typing, traceback, token\nfrom argosy import agent\n"
            "def handler(request):\n"
            "    agent.tool_call('t', {'a': [1]})\n"
            "    if request['history']: return {'a': json.MINE + typing.MINE + token.MINE}\n"
            "    traceback.MINE\n"
        ),
        **{f"{name}.py": "MINE = 'x'" for name in ("json", "typing", "token", "re", "enum")},
        "traceback.py": "",
    }
    ran = run(source, history=[1])

    assert (ran.output, ran.result.detail) == ('{"a": "xxx"}', "")
    assert ToolCalled(call_id="call-1", tool="t", input={"a": [1]}) in ran.entries


def test_errors_are_reported_whatever_the_agents_modules_are_called(run: Run) -> None:
    names = ("json", "re", "traceback", "linecache", "tokenize", "textwrap", "functools")
    ran = run({"agent.py": "1 / 0", **{f"{name}.py": "MINE = 1" for name in names}})

    assert ran.result.detail.endswith("ZeroDivisionError: division by zero (agent.py, line 1)")


def test_dependencies_are_found_by_the_agent_and_by_what_it_starts(
    run: Run, tmp_path: Path
) -> None:
    dependencies = tmp_path / "deps"
    extra = dependencies / "extra"
    extra.mkdir(parents=True)
    (dependencies / "dep.py").write_text("X = 'dep'")
    (dependencies / "json.py").write_text("raise ValueError('the library comes first')")
    (dependencies / "more.pth").write_text("extra\n")
    (extra / "further.py").write_text("X = 'further'")
    source = (
        "import json, dep, further, subprocess, sys\n"
        "print(dep.X, further.X, json.dumps(1), flush=True)\n"
        "subprocess.run([sys.executable, '-c', 'import dep; print(dep.X)'], check=True)\n"
    )
    ran = run(source, dependencies_target=str(dependencies))

    assert ran.output == "dep further 1\ndep"


def test_the_bases_packages_come_after_the_dependencies(run: Run, tmp_path: Path) -> None:
    for folder, names in (("deps", ("first", "both")), ("base", ("both", "last"))):
        for name in names:
            path = tmp_path / folder / f"{name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"X = '{folder}'")
    extra = tmp_path / "base" / "extra"
    extra.mkdir()
    (extra / "further.py").write_text("X = 'further'")
    (tmp_path / "base" / "more.pth").write_text("extra\n")
    source = (
        "import first, both, last, further, subprocess, sys\n"
        "print(first.X, both.X, last.X, further.X, flush=True)\n"
        "code = 'import both, last; print(both.X, last.X)'\n"
        "subprocess.run([sys.executable, '-c', code], check=True)\n"
    )
    ran = run(
        source,
        dependencies_target=str(tmp_path / "deps"),
        base_target=str(tmp_path / "base"),
    )

    assert ran.output == "deps deps base further\ndeps base"


def test_programs_of_packages_are_found(run: Run, tmp_path: Path) -> None:
    for place, names in (("deps", ("first",)), ("base", ("first", "second"))):
        for name in names:
            program = tmp_path / place / "bin" / name
            program.parent.mkdir(parents=True, exist_ok=True)
            program.write_text(f"#!/bin/sh\necho {name} of {place}\n")
            program.chmod(0o755)
    source = """
import subprocess
for name in ("first", "second"):
    print(subprocess.run([name], capture_output=True, text=True, check=True).stdout, end="")
"""
    ran = run(
        source,
        dependencies_target=str(tmp_path / "deps"),
        base_target=str(tmp_path / "base"),
    )

    assert ran.output.split("\n") == ["first of deps", "second of base"]


def test_where_programs_are_is_the_deployments_to_say(run: Run, tmp_path: Path) -> None:
    source = "import os; print(os.environ['PATH'])"

    ran = run(source, environment={"PATH": "/own"}, dependencies_target=str(tmp_path))

    assert ran.output == "/own"


def test_a_path_of_the_deployments_own_is_kept(run: Run) -> None:
    files = {"agent.py": "import inner\nprint(inner.X)", "lib/inner.py": "X = 'inner'"}

    assert run(files, environment={"PYTHONPATH": "lib"}).output == "inner"


def test_the_environment_is_what_was_given_and_no_more(run: Run) -> None:
    source = "import os, json\nprint(json.dumps(dict(os.environ)))"
    ran = run(source, environment={"REGION": "eu", "AGENT_NAME": "own"}, system_prompt="be kind")

    environment = json.loads(ran.output)
    assert environment.pop("PATH")
    assert environment.pop("PYTHONPATH")
    environment.pop("LC_CTYPE", None)
    assert environment == {
        "AGENT_NAME": "own",
        "ARGOSY_RUN_ID": "run-1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",
        "REGION": "eu",
        "RUNAGENTS_USER_CODE_DIR": str(ran.work),
        "SYSTEM_PROMPT": "be kind",
        "USER_ENTRY_POINT": "agent.py",
    }


def test_a_message_may_be_longer_than_an_argument_can_be(run: Run) -> None:
    source = (
        "import sys\nfrom argosy import agent\n"
        "m = sys.stdin.read()\nprint(len(m), m == sys.argv[1] == agent.message, m[-1])"
    )
    ran = run(source, message="ü" * 999_999 + "\n\0", system_prompt="x" * 200_000)

    assert ran.output == "1000001 True \0"


def test_agent_code_sees_nothing_of_how_it_was_started(run: Run) -> None:
    source = (
        "import sys\nimport subprocess\n"
        "print(sorted(name for name in sys.modules if 'argosy' in name))\n"
        "print(len(sys.argv), sys.flags.no_site, 'site' in sys.modules)\n"
        "subprocess.run(['ls', '/proc/self/fd'])\n"
    )
    ran = run(source)

    modules, flags, *descriptors = ran.output.splitlines()
    assert modules == "['argosy', 'argosy._channel', 'argosy._runner', 'argosy.agent']"
    assert flags == "2 1 False"
    assert descriptors[:4] == ["0", "1", "2", "3"]  # 3 is the folder that ls reads
    assert len(descriptors) == 4


def test_text_is_seen_before_its_line_ends(interpreter: tuple[str, Path], tmp_path: Path) -> None:
    python, runtime = interpreter
    source = tmp_path / "source"
    source.mkdir()
    (source / "agent.py").write_text(
        "import sys\nprint('half a', end=' ')\nopen(sys.argv[1]).read()\nprint('line')"
    )
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    task = Task(
        run_id="r",
        message=str(gate),
        entry_point="agent.py",
        python=python,
        source_target=str(source),
        runtime_target=str(runtime),
    )
    harness = HARNESSES["source"]
    launch = harness.launch(task)
    reader = harness.reader(task)
    channel, end = os.pipe()
    work = tmp_path / "work"
    work.mkdir()
    with subprocess.Popen(
        launch.argv,
        cwd=work,
        env=launch.environment | {"ARGOSY_CHANNEL_FD": str(end)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[end],
    ) as program:
        os.close(end)
        assert program.stdin
        assert program.stdout
        program.stdin.write(launch.stdin)
        program.stdin.close()
        assert reader.feed("channel", os.read(channel, 65_536)) == []
        said = ""
        while said != "half a ":
            ready, _, _ = select.select([program.stdout], [], [], 20)
            assert ready, said
            assert reader.feed("stdout", os.read(program.stdout.fileno(), 65_536)) == []
            said += "".join(getattr(entry, "text", "") for entry in reader.flush())
        gate.write_text("go")
        late = reader.feed("stdout", program.stdout.read())
    os.close(channel)
    last, result = reader.finish(code=program.returncode, signal=None)

    assert "".join(getattr(entry, "text", "") for entry in [*late, *last]) == "line"
    assert result.output == "half a line"


def test_the_program_goes_on_when_nobody_listens(run: Run) -> None:
    source = (
        "import os\nfrom argosy import agent, _channel\n"
        "read, write = os.pipe()\nos.close(read)\nos.dup2(write, _channel.Channel.descriptor)\n"
        "agent.think('into the void')\nagent.log('still')\nprint('done')\n"
    )
    ran = run(source)

    assert (ran.code, ran.output) == (0, "done")
