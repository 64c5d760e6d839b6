"""How the task is told to our own programs in a sandbox: flags, environment, standard input."""

from collections.abc import Mapping, Sequence

import msgspec

from workers.harnesses.harness import Task
from workers.sandboxes.arguments import PATH

# A longer system prompt is only in the request's context: the kernel's limit is 128 KiB a variable.
MAX_VARIABLE_BYTES = 100_000

# Where the layers are inside.
RUNTIME = "/opt/argosy"
DEPENDENCIES = "/opt/dependencies"
BASE = "/opt/base"

# What the interpreter, or its loader, reads before it can be told anything.
_LOADERS = ("LD_", "MALLOC_", "GLIBC_")
PORT_VARIABLE = "ARGOSY_GATEWAY_PORT"  # what `_runner` is started with

# -I: nothing from the environment or the working directory; -u: text without a line end is seen at
# once. -S besides: no packages but those of the layers.
PYTHON_FLAGS = ("-I", "-B", "-u", "-X", "utf8")
START = "import sys; sys.path.insert(0, sys.argv[1]); from argosy.{} import main; main()"


def python_argv(task: Task, module: str) -> tuple[str, ...]:
    """Return the interpreter running `main` of one of the in-sandbox modules."""
    flags = PYTHON_FLAGS
    if not task.base_packages:
        flags = (*flags, "-S")
    python = (*task.python_start, task.python)
    return (*python, *flags, "-c", START.format(module), task.runtime_target)


def task_environment(task: Task) -> dict[str, str]:
    """Return RunAgents' variables (contract §6.1), the deployment's, and what children need."""
    packages = [place for place in (task.dependencies_target, task.base_target) if place]
    own = task.environment.get("PYTHONPATH", "")
    children = [path for path in (own, *packages, task.runtime_target) if path]
    environment = {
        **({"PATH": search_path(packages, PATH)} if packages else {}),
        "AGENT_NAME": task.agent_name,
        "USER_ENTRY_POINT": task.entry_point,
        "RUNAGENTS_USER_CODE_DIR": task.working_directory,
        **task.environment,
        "ARGOSY_RUN_ID": task.run_id,
        # The agent's own interpreter ignores these; Python programs that it starts do not.
        "PYTHONPATH": ":".join(children),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",
    }
    if len(task.system_prompt.encode()) <= MAX_VARIABLE_BYTES:
        environment.setdefault("SYSTEM_PROMPT", task.system_prompt)
    return environment


def search_path(packages: Sequence[str], path: str) -> str:
    """Return where programs are looked for. packages: places of packages, which may bring some."""
    return ":".join((*(f"{place}/bin" for place in packages), path))


def early_environment(environment: Mapping[str, str]) -> dict[str, str] | None:
    """Return what `_runner` has to be started with; None if it has to be all of `environment`."""
    if any(name.startswith(_LOADERS) for name in environment):
        return None
    return {PORT_VARIABLE: environment[PORT_VARIABLE]} if PORT_VARIABLE in environment else {}


def framed(task: Task, environment: Mapping[str, str]) -> bytes:
    """Return the task as `argosy._runner` reads it: no parser to load, no text to escape."""
    variables = "\0".join(f"{name}={value}" for name, value in environment.items())
    fields = {
        "entry_point": task.entry_point.encode(),
        "source": task.source_target.encode(),
        "dependencies": task.dependencies_target.encode(),
        "base": task.base_target.encode(),
        "python_path": task.environment.get("PYTHONPATH", "").encode(),
        "message": task.message.encode("utf-8", "replace"),
        "history": msgspec.json.encode(task.history),
        "context": msgspec.json.encode(task.context),
        "run_id": task.run_id.encode(),
        "user_id": task.user_id.encode("utf-8", "replace"),
        "conversation_id": task.conversation_id.encode("utf-8", "replace"),
        "attempt": str(task.attempt).encode(),
        "system_prompt": task.system_prompt.encode("utf-8", "replace"),
        "environment": variables.encode("utf-8", "replace"),
    }
    return pack(fields)


def pack(fields: Mapping[str, bytes]) -> bytes:
    """Return values by name as `argosy._runner.read_task` reads them."""
    header = " ".join(f"{name}={len(value)}" for name, value in fields.items())
    return b"\n".join((header.encode(), b"".join(fields.values())))
