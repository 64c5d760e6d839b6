"""`from argosy import agent` outside a sandbox: the same file runs on one's own machine."""

import ast
import subprocess
import sys
from pathlib import Path

SOURCE = """
from argosy import agent

@agent.tool
def search(query): return [query]

def handler(message):
    agent.think("hm")
    search(message)
    with agent.tool_call("fetch") as call:
        call.fail("gone")
    agent.file_edit("a.txt")
    agent.usage(input_tokens=1, output_tokens=2)
    agent.log("a line")
    agent.error("careful")
    agent.say("found ")
    agent.say(message)

if __name__ == "__main__":
    handler(agent.message)
"""

SAID_ON_THE_TERMINAL = """\
[thinking] hm
[tool call] search {"query": "hello you"}
[tool result] search ["hello you"]
[tool call] fetch null
[tool failed] fetch "gone"
[file] a.txt
[usage] "input_tokens":1,"output_tokens":2
[log] a line
[error] careful
"""


def python(source: str, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", source, *arguments]
    return subprocess.run(argv, input=given, capture_output=True, text=True, check=True)


def test_what_is_reported_is_printed(tmp_path: Path) -> None:
    file = tmp_path / "agent.py"
    file.write_text(SOURCE)
    argv = [sys.executable, str(file), "hello", "you"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)

    assert done.stdout == "found hello you"
    assert done.stderr == SAID_ON_THE_TERMINAL


def test_the_message_is_the_arguments_or_the_input() -> None:
    ask = "from argosy import agent; print(agent.message, agent.request['message'])"

    assert python(ask, "a", "b").stdout == "a b a b\n"
    assert python(ask, given="c").stdout == "c c\n"


def test_importing_it_loads_nothing_of_the_client() -> None:
    heavy = ("msgspec", "httpx", "click", "typing", "re", "json", "asyncio", "inspect", "pathlib")
    source = (
        f"import sys; from argosy import agent; print([n for n in {heavy} if n in sys.modules])"
    )
    argv = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        f"import sys; sys.path.append({_package()!r}); {source}",
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def test_every_in_sandbox_module_is_python_3_11() -> None:
    folder = Path(_package(), "argosy")
    for path in (folder / "agent.py", *folder.glob("_[a-z]*.py")):
        ast.parse(path.read_text(), str(path), feature_version=(3, 11))


def _package() -> str:
    import argosy

    assert argosy.__file__
    return str(Path(argosy.__file__).parent.parent)
