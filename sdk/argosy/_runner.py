"""Run an agent's source inside a sandbox: the first and only thing that `main` is called for.

The task comes on standard input, framed by `workers/harnesses/source.py`. The source is copied into
the working directory and run from there, as it would be by `cd folder && python agent.py`: its
files can be read and written by relative name. Standard input then holds the message.
In-sandbox code: see `_channel`.
"""

# What only some programs need is imported where they do; pathlib costs as much as all the rest:
# ruff: noqa: PLC0415
# ruff: noqa: PTH103, PTH108, PTH109, PTH112, PTH118, PTH120, PTH123, PTH208

import builtins
import os
import sys

from argosy import agent
from argosy._channel import Channel, open_channel, send, send_error, stdlib_json

TYPE_CHECKING = False  # what `typing` calls so, without the price of importing it
if TYPE_CHECKING:
    from types import CodeType, ModuleType
    from typing import Any

CHANNEL_VARIABLE = "ARGOSY_CHANNEL_FD"
NODE_SUFFIXES = (".js", ".mjs", ".cjs")
REWRITES_VARIABLE = "TOOL_URL_REWRITES_JSON"
GATEWAY_VARIABLE = "ARGOSY_GATEWAY_PORT"

_HERE = os.path.dirname(__file__)
# A source without any of these words has no entry, and need not be parsed to know it.
ENTRY_WORDS = (
    b"handler",
    b"main",
    b"import *",
    b"agent",
    b"chain",
    b"executor",
    b"graph",
    b"crew",
)
_AT_START = frozenset(sys.modules)  # what any program finds loaded, give or take this one
_KEPT: "list[ModuleType]" = []  # what `__main__` was; a module that nobody holds is emptied


def main() -> None:
    """Run the task on standard input. Ends as the agent's program ends."""
    open_channel(int(os.environ.pop(CHANNEL_VARIABLE)), says_on_stdout=False)
    try:
        children = start_forwarder()
        task = read_task(0, children)
        take_environment(task["environment"])
        root = os.getcwd()
        _copy_tree(task["source"], root)
        path = os.path.join(root, task["entry_point"])
        with open(path, "rb") as file:
            source = file.read()
        _offer_message(task["message"], path)
        settle_forwarder(children)
        if path.endswith(NODE_SUFFIXES):
            from argosy._node import become_node

            _offer_request(task)
            become_node(path, task["system_prompt"])
    except OSError as error:
        send_error(f"The agent could not be started: {error}", kind="failure")
        sys.exit(1)
    try:
        _run(task, root, path, source)
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001 - everything that ends the program is reported
        _failures().report(error, root)
        sys.exit(130 if isinstance(error, KeyboardInterrupt) else 1)


def take_environment(variables: str) -> None:
    """Set what the task says, for a program that was started before there was one."""
    for variable in variables.split("\0") if variables else ():
        name, _, value = variable.partition("=")
        os.environ[name] = value
    if "TZ" in os.environ:
        import time

        time.tzset()


def start_forwarder() -> "list[int]":
    """Offer the gateway where there is one; returns what `settle_forwarder` is to be given.

    Before the task is read, so that its process has nothing of it. Raises OSError.
    """
    port = os.environ.get(GATEWAY_VARIABLE)
    if not port:
        return []
    from argosy import _forwarder

    return [_forwarder.start(int(port))]


def settle_forwarder(children: "list[int]") -> None:
    """See that the forwarder runs, and forget the children. Raises OSError."""
    if children:
        from argosy import _forwarder

        _forwarder.settle(children.pop())


def _run(task: "dict[str, str]", root: str, path: str, source: bytes) -> None:
    is_module = says_on_stdout = False
    try:
        is_module, says_on_stdout = _plan(source, path)
    finally:
        # Before anything of the agent's runs: it says how its standard output is to be read.
        send("start", f'"stdout":"{"say" if says_on_stdout else "log"}"')
    Channel.says_on_stdout = says_on_stdout
    _offer_request(task)
    _offer_site()
    _put_on_path(root, os.path.dirname(path), task, is_module=is_module)
    _offer_rewrites()
    if is_module:
        _run_module(task, path, source)
        return
    module = type(sys)("__main__")
    module.__file__ = path
    module.__dict__["__builtins__"] = builtins
    module.__loader__ = _external().SourceFileLoader("__main__", path)
    _run_as_main(module, compile(source, path, "exec", dont_inherit=True))


def _plan(source: bytes, path: str) -> "tuple[bool, bool]":
    """Return whether to import the file rather than to run it, and what its output is."""
    if not any(word in source for word in ENTRY_WORDS):
        return False, True
    from argosy._entry import parse, plan

    kind = plan(parse(source, path))
    return kind.is_module, kind.says_on_stdout


def _run_module(task: "dict[str, str]", path: str, source: bytes) -> None:
    from argosy import _calling, _entry

    module = _import(task["entry_point"], path)
    entry = _calling.find_entry(module)
    if entry is not None:
        _calling.call(entry, agent.request, task["system_prompt"])
        return
    # There was nothing to call after all. What is left of a script are its `__main__` blocks, and
    # what it printed was its answer.
    module.__name__ = "__main__"
    blocks = _entry.main_blocks(_entry.parse(source, path))
    _run_as_main(module, compile(blocks, path, "exec", dont_inherit=True))
    _calling.answer(None, default="said" if Channel.said else "stdout")


def _run_as_main(module: "ModuleType", code: "CodeType") -> None:
    _KEPT.append(sys.modules["__main__"])
    sys.modules["__main__"] = module
    exec(code, module.__dict__)  # noqa: S102 - the agent's own code is what a sandbox is for


def _failures() -> "Any":
    from argosy import _failures

    return _failures


def _external() -> "Any":
    """Return `importlib.machinery`, as far as it is always loaded."""
    return sys.modules["_frozen_importlib_external"]


def _import(entry_point: str, path: str) -> "ModuleType":
    """Import exactly this file, under its dotted name so that its relative imports work."""
    parts = entry_point.removesuffix(".py").split("/")
    if parts[-1] == "__init__" and len(parts) > 1:
        parts.pop()
    name = ".".join(parts)
    beside = path.removesuffix(".py")  # `agent.py` may import from a folder `agent/`
    if any("." in part for part in parts) or name in sys.modules or os.path.isdir(beside):
        name = "agent_" + "_".join(parts).replace(".", "_")
    parent = name.rpartition(".")[0]
    if parent:
        __import__(parent)
    bootstrap: Any = sys.modules["_frozen_importlib"]
    loader = _external().SourceFileLoader(name, path)
    spec = _external().spec_from_file_location(name, path, loader=loader)
    module: ModuleType = bootstrap.module_from_spec(spec)
    sys.modules[name] = module
    loader.exec_module(module)
    return module


def read_task(descriptor: int, children: "list[int]") -> "dict[str, str]":
    """Read a line of `name=length` words, and the values of those lengths after it.

    Where there is no task yet, the forwarder is settled before it is waited for. Raises OSError.
    """
    os.set_blocking(descriptor, False)
    try:
        data = _read_some(descriptor)
    except BlockingIOError:
        settle_forwarder(children)
        data = b""
    os.set_blocking(descriptor, True)
    while b"\n" not in data:
        data += _read_some(descriptor)
    header, _, body = data.partition(b"\n")
    words = [word.partition("=") for word in header.decode().split()]
    lengths = {name: int(length) for name, _, length in words}
    pieces, missing = [body], sum(lengths.values()) - len(body)
    while missing > 0:
        pieces.append(_read_some(descriptor))
        missing -= len(pieces[-1])
    body, task, start = b"".join(pieces), dict[str, str](), 0
    for name, length in lengths.items():
        task[name] = body[start : start + length].decode("utf-8", "replace")
        start += length
    return task


def _read_some(descriptor: int) -> bytes:
    data = os.read(descriptor, 1 << 20)
    if not data:
        raise OSError("the task on standard input is cut off")
    return data


def _copy_tree(source: str, target: str) -> None:
    with os.scandir(source) as entries:
        for entry in entries:
            place = os.path.join(target, entry.name)
            if entry.is_dir(follow_symlinks=False):
                os.makedirs(place, exist_ok=True)
                _copy_tree(entry.path, place)
            elif entry.is_file(follow_symlinks=False):
                _copy_file(entry.path, place)


def _copy_file(source: str, target: str) -> None:
    given = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        mode = os.fstat(given).st_mode & 0o777 | 0o600
        made = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        try:
            while data := os.read(given, 1 << 20):
                while data:
                    data = data[os.write(made, data) :]
        finally:
            os.close(made)
    finally:
        os.close(given)


def _offer_message(message: str, path: str) -> None:
    """Give the message to the program in all the ways it may look for it."""
    agent.message = message
    sys.argv = [path, message]
    try:
        file = os.memfd_create("message")
    except (AttributeError, OSError):  # not Linux, or not allowed
        name = f"/tmp/argosy-message-{os.getpid()}"  # noqa: S108 - inside, and made exclusively
        file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.unlink(name)
    data = message.encode("utf-8", "replace")
    while data:
        data = data[os.write(file, data) :]
    os.lseek(file, 0, os.SEEK_SET)
    os.dup2(file, 0)
    os.close(file)


def _offer_request(task: "dict[str, str]") -> None:
    request: dict[str, Any] = {"message": task["message"], "history": [], "context": {}}
    for name in ("history", "context"):
        if task[name] not in ("[]", "{}"):
            request[name] = stdlib_json().loads(task[name])
    for name in ("run_id", "user_id", "conversation_id"):
        if task[name]:
            request[name] = task[name]
    request["attempt"] = int(task["attempt"])
    agent.request = request


def _offer_site() -> None:
    """Add what scripts expect of `site`, which is left out where the base has no packages."""
    if not hasattr(builtins, "exit"):
        import _sitebuiltins

        for name in ("exit", "quit"):
            setattr(builtins, name, _sitebuiltins.Quitter(name, "Ctrl-D (i.e. EOF)"))


def _offer_rewrites() -> None:
    """Send the URLs that the deployment maps to tools there."""
    mapped = os.environ.get(REWRITES_VARIABLE, "{}")
    if mapped != "{}":
        from argosy import _rewrites

        _rewrites.install(mapped)


def _put_on_path(root: str, folder: str, task: "dict[str, str]", *, is_module: bool) -> None:
    """Order the import path as `python agent.py` would: the source, the library, packages.

    The source may have modules called as the library's. It gets its own, as it would elsewhere,
    and this program keeps those that it has.
    """
    runtime = os.path.dirname(_HERE)
    library = [path for path in sys.path if path != runtime]
    sys.path[:] = library
    for packages in (task["dependencies"], task["base"]):
        if packages and any(name.endswith(".pth") for name in os.listdir(packages)):
            import site

            site.addsitedir(packages)
        elif packages:
            sys.path.append(packages)
    own = [root, folder] if is_module else [folder, root]
    own += [os.path.join(root, path) for path in task["python_path"].split(":") if path]
    _give_way(own)
    sys.path[:] = [*dict.fromkeys([*own, *sys.path]), runtime]


def _give_way(folders: "list[str]") -> None:
    """Load what this program may need later, then forget it where the source has its own."""
    taken = {
        name.partition(".")[0]
        for folder in dict.fromkeys(folders)
        if os.path.isdir(folder)
        for name in os.listdir(folder)
    }
    taken.intersection_update(sys.stdlib_module_names)
    if taken <= _AT_START:
        return
    stdlib_json()
    _failures()
    for name in set(sys.modules) - _AT_START:
        if name.partition(".")[0] in taken:
            del sys.modules[name]
