"""The entry contract of agent code, and what happens where code does not keep it.

Every program is run for real by each interpreter of the machine, with the launch that a sandbox
would be given.
"""

import pytest

from domain.entries import FileEdited, ToolCalled, ToolReturned, UsageReported
from tests.workers.programs import Run, interpreter, run

__all__ = ["interpreter", "run"]


HANDLERS = {
    "no argument": "def handler(): return 'hello'",
    "request": "def handler(request): return request['message']",
    "any other name": "def handler(r): return r['message']",
    "request and context": "def handler(request, ctx): return request['message']",
    "context by default": "def handler(request, ctx=None): return request['message'] * bool(ctx)",
    "variable arguments": "def handler(*args): return args[0]['message'] * (len(args) == 2)",
    "keyword-only": "def handler(request, *, times=1): return request['message'] * times",
    "annotated text": "def handler(x: str) -> str: return x.lower()",
    "annotated optional text": "def handler(x: str | None) -> str: return x.lower()",
    "annotated in quotes": "def handler(x: 'str') -> str: return x.lower()",
    "annotated later": "from __future__ import annotations\ndef handler(x: str): return x.lower()",
    "annotated later, optional": (
        "from __future__ import annotations\nfrom typing import Optional\n"
        "def handler(x: Optional[str]): return x.lower()"
    ),
    "annotated dict": "def handler(message: dict) -> str: return message['message']",
    "annotated later, unknown": (
        "from __future__ import annotations\ndef handler(x: Nowhere): return x['message']"
    ),
    **{
        f"named {name}": f"def handler({name}): return {name}.lower()"
        for name in ("message", "msg", "text", "query", "prompt", "input", "user_input")
    },
    "async": "async def handler(message): return message",
    "async that waits": (
        "import asyncio\nasync def handler(message):\n await asyncio.sleep(0)\n return message"
    ),
    "generator": "def handler(message):\n yield message[:2]\n yield message[2:]",
    "async generator": "async def handler(message):\n yield message[:2]\n yield message[2:]",
    "generator that returns": "def handler(message):\n yield message[:2]\n return message[2:]",
    "decorated": (
        "import functools\n"
        "def twice(f):\n"
        " @functools.wraps(f)\n"
        " def g(*args): return f(*args)\n"
        " return g\n"
        "@twice\n"
        "def handler(message): return message.lower()"
    ),
    "callable object": (
        "class Handler:\n def __call__(self, message): return message.lower()\nhandler = Handler()"
    ),
    "bound method": (
        "class Handler:\n def go(self, message): return message.lower()\nhandler = Handler().go"
    ),
    "class method": (
        "class H:\n @classmethod\n def go(cls, text): return text.lower()\nhandler = H.go"
    ),
    "partial": (
        "import functools\ndef f(end, message): return message + end\n"
        "handler = functools.partial(f, '')"
    ),
    "lambda": "handler = lambda message: message.lower()",
    "conditional": "if True:\n def handler(message): return message",
    "in a try": (
        "try:\n import nothing_of_this_name\n"
        "except ImportError:\n def handler(m): return m['message']"
    ),
    "dict with response": "def handler(r): return {'response': r['message']}",
    "dict with output": "def handler(r): return {'output': r['message']}",
    "bytes": "def handler(message): return message.encode()",
    "main with text": "def main(message): return message",
    "main with request": "def main(request): return request['message']",
    "main without argument": "def main(): return 'hello'",
    "main without argument, printing": "def main(): print('hello')",
    "async main, printing": "async def main(): print('hello')",
    "main assigned": "def go(message): return message\nmain = go",
    "handler before objects": (
        "class A:\n def invoke(self, m): return 'wrong'\n"
        "agent = A()\ndef handler(m): return m['message']"
    ),
    "objects before main": (
        "class A:\n def invoke(self, m): return m\nagent = A()\ndef main(): return 'wrong'"
    ),
    "an agent that cannot be invoked": (
        "class A: pass\nagent = A()\ndef main(message): return message"
    ),
    "a handler that is none": "handler = None\ndef main(message): return message",
    "AgentExecutor": (
        "class AgentExecutor:\n def invoke(self, given): return {'output': given['input']}\n"
        "executor = AgentExecutor()"
    ),
    "an executor with an agent": (
        "class X:\n agent = 1\n def invoke(self, given): return {'output': given['input']}\n"
        "executor = X()"
    ),
    "graph": (
        "class Message:\n def __init__(self, content): self.content = content\n"
        "class Graph:\n nodes = {}\n"
        " def invoke(self, given):\n"
        "  return {'messages': [Message(given['messages'][-1]['content'])]}\n"
        "graph = Graph()"
    ),
    "graph of dicts": (
        "class Graph:\n nodes = {}\n def invoke(self, given): return given\ngraph = Graph()"
    ),
    "chain": "class C:\n def invoke(self, message): return {'result': message}\nchain = C()",
    "chain with run": "class C:\n def run(self, message): return message\nchain = C()",
    "crew": "class C:\n def kickoff(self, message): return message\ncrew = C()",
    "crew with inputs": (
        "class C:\n def kickoff(self, inputs): return inputs['message']\ncrew = C()"
    ),
    "chain in a message": (
        "class M: content = 'hello'\nclass C:\n def invoke(self, message): return M()\nchain = C()"
    ),
    "script": "print('hello')",
    "script reading its argument": "import sys\nprint(sys.argv[1])",
    "script reading its input": "print(input())",
    "script reading all its input": "import sys\nprint(sys.stdin.read())",
    "script reading bytes": "import sys\nsys.stdout.buffer.write(sys.stdin.buffer.read())",
    "script asking the module": "from argosy import agent\nprint(agent.message)",
    "script asking for the request": (
        "import argosy.agent as agent\nprint(agent.request['message'])"
    ),
    "script saying": "from argosy import agent\nagent.say('hel')\nprint('lo')",
    "script with a main block": "x = 1\nif __name__ == '__main__':\n print('hello')",
    "script with an agent of ours": (
        "from runagents import Agent\nagent = Agent()\nif __name__ == '__main__':\n print('hello')"
    ),
    "script with a log handler": (
        "import logging, sys\nhandler = logging.StreamHandler(sys.stderr)\nprint('hello')"
    ),
    "script that only looks like a module": (
        "class Thing: pass\nagent = Thing()\nprint('hel', end='')\n"
        "if __name__ == '__main__':\n print('lo')"
    ),
    "script with a main block among other things": (
        "class Thing: pass\nagent = Thing()\n"
        "if agent and '__main__' == __name__:\n agent = None\n print('hello')"
    ),
    "in a match": ("match 1:\n case 1:\n  def handler(message): return message\n case _:\n  pass"),
    "script starting another": (
        "import subprocess, sys\n"
        "subprocess.run([sys.executable, '-c', 'print(input())'], check=True)"
    ),
    "script without a line end": "import sys\nsys.stdout.write('hello')",
    "several files": "from helper import handler",
    "a folder of modules": "from parts.helper import handler",
}


@pytest.mark.parametrize("source", HANDLERS.values(), ids=HANDLERS.keys())
def test_every_shape_of_entry_is_called_as_the_contract_says(run: Run, source: str) -> None:
    helper = "def handler(message): return message"
    ran = run({"agent.py": source, "helper.py": helper, "parts/helper.py": helper})

    assert (ran.result.how, ran.result.reason, ran.output) == ("completed", "", "hello")
    assert "".join(ran.said) == "hello" or ran.logs()


def test_what_is_returned_beside_the_answer_is_kept(run: Run) -> None:
    ran = run("def handler(m): return {'response': 'yes', 'sources': ['a', 1], 'sure': True}")

    assert ran.output == "yes"
    assert ran.result.extra == {"sources": ["a", 1], "sure": True}


@pytest.mark.parametrize(
    ("value", "output"),
    [
        ("None", ""),
        ("''", ""),
        ("7", "7"),
        ("1.5", "1.5"),
        ("['a', 1]", '["a", 1]'),
        ("{'answer': 'ü'}", '{"answer": "ü"}'),
        ("{'response': {'a': 1}}", '{"a": 1}'),
        ("{'response': None}", ""),
        ("{}", "{}"),
        ("{1: 2}", '{"1": 2}'),
        ("{'when': object}", None),
        (r"'\ud800 \x00 \U0001f600'", "? \x00 \U0001f600"),
    ],
)
def test_any_value_can_be_returned(run: Run, value: str, output: str | None) -> None:
    ran = run(f"def handler(request): return {value}")

    assert ran.result.how == "completed"
    assert output is None or ran.output == output


def test_the_request_has_what_was_asked(run: Run) -> None:
    source = "import json\ndef handler(request): return json.dumps(request, sort_keys=True)"
    ran = run(
        source,
        message="ü\n2",
        history=[{"role": "user", "content": "before"}],
        context={"tenant": "t"},
        user_id="u1",
        conversation_id="c1",
        attempt=2,
    )

    assert ran.output == (
        '{"attempt": 2, "context": {"tenant": "t"}, "conversation_id": "c1", '
        '"history": [{"content": "before", "role": "user"}], "message": "\\u00fc\\n2", '
        '"run_id": "run-1", "user_id": "u1"}'
    )


def test_the_context_has_tools_and_the_model(run: Run) -> None:
    source = """
def handler(request, ctx):
    return f"{ctx.tools} {ctx.llm_url} {ctx.model} {ctx.system_prompt} {ctx.session['run_id']}"
"""
    environment = {
        "TOOL_URL_STRIPE_API": "http://127.0.0.1:1/t",
        "LLM_GATEWAY_URL": "http://127.0.0.1:1/v1/chat/completions",
        "LLM_MODEL": "m",
    }
    ran = run(source, environment=environment, system_prompt="be kind")

    assert ran.output == (
        "{'stripe-api': 'http://127.0.0.1:1/t'} http://127.0.0.1:1/v1 m be kind run-1"
    )


def test_printing_is_logging_where_something_is_returned(run: Run) -> None:
    source = """
import os, sys
def handler(request):
    print("working")
    print("trouble", file=sys.stderr)
    os.system("echo from a child")
    return "done"
"""
    ran = run(source)

    assert ran.output == "done"
    assert ran.said == ["done"]
    assert ran.logs("stdout") == ["working", "from a child"]
    assert ran.logs("stderr") == ["trouble"]


def test_what_was_streamed_is_not_said_twice(run: Run) -> None:
    source = """
from argosy import agent
def handler(request):
    for word in ("one ", "two"):
        agent.say(word)
    return "one two"
"""
    ran = run(source)

    assert "".join(ran.said) == ran.output == "one two"


def test_what_was_streamed_is_the_answer_if_nothing_is_returned(run: Run) -> None:
    ran = run("from argosy import agent\ndef handler(request): agent.say('one '); agent.say('two')")

    assert ran.output == "one two"


def test_an_answer_follows_what_was_said_before(run: Run) -> None:
    ran = run("from argosy import agent\ndef handler(r):\n agent.say('wait… ')\n return 'done'")

    assert ran.output == "done"
    assert "".join(ran.said) == "wait… done"


def test_everything_that_agent_code_reports_is_an_entry(run: Run) -> None:
    source = """
from argosy import agent

@agent.tool
def add(a, b=0): return a + b

@agent.tool
async def wait(seconds): return {"waited": seconds}

async def handler(request):
    agent.think("hm")
    with agent.tool_call("search", {"q": "x"}) as call:
        call.result(["found"])
    try:
        with agent.tool_call("broken"):
            raise ValueError("no")
    except ValueError:
        pass
    add(1, b=2)
    await wait(0)
    agent.tool_result("model-7", "other", {"x": None}, failed=True)
    agent.file_edit("notes/a.txt", "+ a")
    agent.usage(input_tokens=5, output_tokens=2, model="m")
    agent.usage(input_tokens=1)
    agent.error("something", "a trace")
    agent.log("a line")
    return "done"
"""
    ran = run(source)

    assert ran.thoughts == ["hm"]
    assert [entry for entry in ran.entries if isinstance(entry, ToolCalled | ToolReturned)] == [
        ToolCalled(call_id="call-1", tool="search", input={"q": "x"}),
        ToolReturned(call_id="call-1", tool="search", output=["found"]),
        ToolCalled(call_id="call-2", tool="broken"),
        ToolReturned(call_id="call-2", tool="broken", output="ValueError: no", failed=True),
        ToolCalled(call_id="call-3", tool="add", input={"a": 1, "b": 2}),
        ToolReturned(call_id="call-3", tool="add", output=3),
        ToolCalled(call_id="call-4", tool="wait", input={"seconds": 0}),
        ToolReturned(call_id="call-4", tool="wait", output={"waited": 0}),
        ToolReturned(call_id="model-7", tool="other", output={"x": None}, failed=True),
    ]
    assert FileEdited(path="notes/a.txt", diff="+ a") in ran.entries
    assert UsageReported(input_tokens=5, output_tokens=2, model="m") in ran.entries
    assert (ran.result.input_tokens, ran.result.output_tokens) == (6, 2)
    assert [(error.message, error.traceback) for error in ran.errors] == [("something", "a trace")]
    assert ran.logs("stderr") == ["a line"]
    assert ran.result.how == "completed"


def test_a_long_text_arrives_in_pieces_and_whole(run: Run) -> None:
    ran = run("from argosy import agent\ndef handler(r): agent.say('ü' * 100_000 + '\"\\\\')")

    assert ran.output == "ü" * 100_000 + '"\\'
    assert all(len(text.encode()) <= 16_384 for text in ran.said)


def test_threads_and_forked_processes_do_not_cut_each_others_lines(run: Run) -> None:
    source = """
import multiprocessing, threading
from argosy import agent
def talk(n):
    for _ in range(50): agent.log(f"{n} " + "x" * 2000)
def handler(request):
    multiprocessing.set_start_method("fork")
    workers = [threading.Thread(target=talk, args=(n,)) for n in range(4)]
    workers += [multiprocessing.Process(target=talk, args=(n,)) for n in range(4, 8)]
    for worker in workers: worker.start()
    for worker in workers: worker.join()
"""
    ran = run(source)

    lines = [line for text in ran.logs("stderr") for line in text.split("\n")]
    assert sorted(lines) == sorted(f"{n} " + "x" * 2000 for n in range(8) for _ in range(50))


def test_a_program_that_a_program_starts_may_talk_too(run: Run) -> None:
    source = """
import multiprocessing
from argosy import agent
def talk(): agent.say("from the child")
if __name__ == "__main__":
    worker = multiprocessing.get_context("spawn").Process(target=talk)
    worker.start(); worker.join()
    print(worker.exitcode)
"""
    ran = run(source)

    assert ran.output == "from the child0"
    assert ran.code == 0
