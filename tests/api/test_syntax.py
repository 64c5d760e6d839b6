"""Sources that cost the compiler much: refused or checked elsewhere, and nobody else waits."""

import asyncio
import time
from typing import Any

import pytest

from api import syntax
from api.syntax import AT_ONCE_BYTES, Syntax
from domain.errors import Invalid
from tests.api.conftest import Api

DEPLOYMENTS = "/v1/workspaces/default/deployments"
PADDING = "#" * 80 + "\n"
LARGE = PADDING * (AT_ONCE_BYTES // len(PADDING) + 1)


def body(**files: str) -> dict[str, Any]:
    return {"name": "large", "source": {"files": {f"{name}.py": files[name] for name in files}}}


async def test_a_large_source_is_checked_in_a_process_of_its_own(api: Api) -> None:
    good = await api.ask("POST", DEPLOYMENTS, json=body(agent="x = 1\n" + LARGE))
    bad = await api.ask("POST", DEPLOYMENTS, json=body(agent="x = 1\n", b=LARGE + "def f(:\n"))
    newer = await api.ask("POST", DEPLOYMENTS, json=body(agent=LARGE + "type X = int\n"))

    assert good.status_code == 201
    assert (bad.status_code, newer.status_code) == (422, 422)
    problem = bad.json()
    lines = LARGE.count("\n") + 1
    assert (problem["file"], problem["line"], problem["column"]) == ("b.py", lines, 7)
    assert problem["field"] == "source.files.b.py"


async def test_what_costs_too_much_to_compile_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syntax, "SECONDS", 0.5)
    files = {"agent.py": "x=1\n" * 1_000_000}

    with pytest.raises(Invalid, match="too long or too much memory") as refused:
        await Syntax().check(files, (3, 11), field="source.files")

    assert refused.value.members["field"] == "source.files"


async def test_memory_is_limited() -> None:
    """Far less than the compiler would take."""
    files = {"agent.py": "x=[" + "1," * 2_400_000 + "]"}

    with pytest.raises(Invalid, match=r"too much (to compile|memory)"):
        await Syntax().check(files, (3, 11), field="source.files")


async def test_others_do_not_wait_for_a_large_source() -> None:
    files = {"agent.py": "x=1\n" * 100_000}
    longest = 0.0
    check = asyncio.create_task(Syntax().check(files, (3, 11), field="source.files"))
    while not check.done():
        began = time.perf_counter()
        await asyncio.sleep(0.005)
        longest = max(longest, time.perf_counter() - began)

    await check

    assert longest < 1.0
