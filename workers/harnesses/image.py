"""The harness `image`: a container image's own program, a command or a server that is asked once.

The contract with images is in docs/guides/deploy-an-image.md; the in-sandbox half is
`sdk/argosy/_image.py`, and the two are only ever used together, from one checkout.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from workers.harnesses.harness import Launch, Task
from workers.harnesses.tasks import MAX_VARIABLE_BYTES, PORT_VARIABLE, pack, python_argv
from workers.harnesses.transcripts import TranscriptReader
from workers.sandboxes.arguments import PATH

NAME = "image"

LISTEN_SECONDS = 60.0
# What a program finds that is not told otherwise by its image or deployment.
_DEFAULTS = {
    "PATH": PATH,
    "HOME": "/tmp",  # noqa: S108 - a path inside
    "LANG": "C.UTF-8",
}


class Image:
    """Runs what an image says is to be started. Stateless."""

    name = NAME

    def launch(self, task: Task) -> Launch:
        """Return our interpreter with the in-sandbox module, and the task on standard input."""
        program = task.program
        assert program is not None
        port = task.environment.get(PORT_VARIABLE, "")
        fields = {
            "argv": _joined(program.argv),
            "environment": _joined(f"{name}={value}" for name, value in _environment(task).items()),
            "directory": program.directory.encode("utf-8", "replace"),
            "port": str(program.port).encode(),
            "seconds": str(min(LISTEN_SECONDS, task.seconds / 2)).encode(),
            "message": task.message.encode("utf-8", "replace"),
            "body": msgspec.json.encode(_body(task)),
            "run_id": task.run_id.encode(),
            "user_id": task.user_id.encode("utf-8", "replace"),
        }
        return Launch(
            argv=python_argv(task, "_image"),
            environment={PORT_VARIABLE: port} if port else {},
            stdin=pack(fields),
            uses_channel=True,
            working_directory=task.working_directory,
        )

    def reader(self, task: Task) -> TranscriptReader:
        """Return a reader for one program's output."""
        del task
        return TranscriptReader()


def _environment(task: Task) -> dict[str, str]:
    """Return what the program gets: the image's variables, and over them the deployment's."""
    program = task.program
    assert program is not None
    environment = {
        **_DEFAULTS,
        "PWD": program.directory or task.working_directory,
        **program.environment,
        "AGENT_NAME": task.agent_name,
        **task.environment,
        "ARGOSY_RUN_ID": task.run_id,
    }
    environment.pop(PORT_VARIABLE, None)  # taken: whoever reads it would forward there as well
    if len(task.system_prompt.encode()) <= MAX_VARIABLE_BYTES:
        environment.setdefault("SYSTEM_PROMPT", task.system_prompt)
    return environment


def _body(task: Task) -> dict[str, Any]:
    """Return what `POST /invoke` is sent (RunAgents contract, 5); empty fields are left out."""
    body = {
        "history": list(task.history),
        "run_id": task.run_id,
        "user_id": task.user_id,
        "conversation_id": task.conversation_id,
        "context": dict(task.context),
    }
    return {"message": task.message, **{name: value for name, value in body.items() if value}}


def _joined(words: Iterable[str]) -> bytes:
    return "\0".join(words).encode("utf-8", "replace")
