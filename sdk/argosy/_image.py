"""Run a container image's program inside a sandbox: a command, or a server that is asked once.

The task comes on standard input, as `_runner` reads it. The program gets the image's environment
and nothing of ours but what the task says. In-sandbox code: see `_channel`.
"""

# What only servers need is imported where they do:
# ruff: noqa: PLC0415
# ruff: noqa: PTH112

import os
import sys
import time

from argosy._calling import answer
from argosy._channel import Channel, open_channel, send, send_error, stdlib_json
from argosy._runner import CHANNEL_VARIABLE, read_task, settle_forwarder, start_forwarder

TYPE_CHECKING = False  # what `typing` calls so, without the price of importing it
if TYPE_CHECKING:
    from typing import Any, NoReturn

HOST = "127.0.0.1"
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.005, 0.1
MAX_ANSWER = 4_194_304  # bytes
CANNOT_START = 119  # the status that `_fail` leaves, having said why
MAX_SHOWN = 500  # characters of an answer that is wrong


def main() -> None:
    """Run the task on standard input. Ends as the image's program ends, or with its answer."""
    open_channel(int(os.environ.pop(CHANNEL_VARIABLE)), says_on_stdout=False)
    try:
        children = start_forwarder()
        task = read_task(0, children)
        settle_forwarder(children)
        if os.path.isdir(task["directory"]):
            os.chdir(task["directory"])
    except OSError as error:
        _fail(f"The image could not be started: {error}")
    if task["port"] == "0":
        _become(task)
    _ask(task)


def _become(task: "dict[str, str]") -> "NoReturn":
    """Become the program, with the message on its standard input; what it prints is the answer."""
    send("start", '"stdout":"say"')
    message = os.memfd_create("message")
    data = task["message"].encode("utf-8", "replace")
    while data:
        data = data[os.write(message, data) :]
    os.lseek(message, 0, os.SEEK_SET)
    os.dup2(message, 0)
    _start(task)


def _start(task: "dict[str, str]") -> "NoReturn":
    argv = task["argv"].split("\0")
    variables = [variable.partition("=") for variable in task["environment"].split("\0")]
    try:
        os.execvpe(argv[0], argv, {name: value for name, _, value in variables})  # noqa: S606 - the image's
    except OSError as error:
        why = (error.strerror or "it cannot be found").lower()
        _fail(f"The image's program {argv[0]!r}, or what it needs to start, cannot be run: {why}.")


def _ask(task: "dict[str, str]") -> "NoReturn":
    """Start the program, wait until it listens, and give it the message."""
    send("start", '"stdout":"log"')
    child = os.fork()
    if child == 0:
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        _start(task)
    port = int(task["port"])
    _wait_until_it_listens(child, port, float(task["seconds"]))
    result = _invoke(task, child, port)
    text = result.get("response")
    if not isinstance(text, str):
        _fail('The image answered POST /invoke without a text "response".')
    answer(result)
    sys.exit(0)


def _wait_until_it_listens(child: int, port: int, seconds: float) -> None:
    import socket

    end, pause = time.monotonic() + seconds, FIRST_PAUSE_SECONDS
    while True:
        _expect_alive(child, f"before it listened on port {port}")
        try:
            socket.create_connection((HOST, port), timeout=LONGEST_PAUSE_SECONDS).close()
        except OSError:
            if time.monotonic() > end:
                _fail(
                    f"Nothing in the image listened on port {port} within {seconds:g} s, and it "
                    "says that it is a server."
                )
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        else:
            return


def _invoke(task: "dict[str, str]", child: int, port: int) -> "dict[str, Any]":
    import http.client

    connection = http.client.HTTPConnection(HOST, port)
    headers = {"Content-Type": "application/json", "X-Run-ID": task["run_id"]}
    if task["user_id"].isascii() and task["user_id"].isprintable() and task["user_id"]:
        headers["X-End-User-Id"] = task["user_id"]
    try:
        connection.request("POST", "/invoke", task["body"].encode(), headers)
        response = connection.getresponse()
        data = response.read(MAX_ANSWER + 1)
    except (OSError, http.client.HTTPException, ValueError) as error:
        _expect_alive(child, "before it answered POST /invoke")
        said = str(error) or type(error).__name__
        _fail(f"The image did not answer POST /invoke with HTTP: {said}")
    shown = data[: 4 * MAX_SHOWN].decode("utf-8", "replace")[:MAX_SHOWN].strip()
    if response.status != 200:
        said = f": {shown}" if shown else ""
        _fail(f"The image answered POST /invoke with status {response.status}, not 200{said}")
    if len(data) > MAX_ANSWER:
        _fail(f"The image answered POST /invoke with more than {MAX_ANSWER >> 20} MiB.")
    try:
        result: Any = stdlib_json().loads(data)
    except (ValueError, RecursionError):
        result = None
    if not isinstance(result, dict):
        _fail(f"The image answered POST /invoke with something that is no JSON object: {shown}")
    return result  # type: ignore[reportUnknownVariableType] - any JSON


def _expect_alive(child: int, when: str) -> None:
    """Fail if the program has ended; it may have said why itself."""
    ended, status = os.waitpid(child, os.WNOHANG)
    if ended == 0:
        return
    code = os.waitstatus_to_exitcode(status)
    if code == CANNOT_START:
        sys.exit(1)
    how = f"ended with status {code}" if code >= 0 else f"was ended by signal {-code}"
    _fail(f"The image's program {how} {when}.")


def _fail(why: str) -> "NoReturn":
    if Channel.descriptor is not None:
        send_error(why, kind="failure")
    os._exit(CANNOT_START)
