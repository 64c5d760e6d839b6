"""The harness `native`: Argosy's own loop of a model and its tools, for agents without code.

The in-sandbox half is `sdk/argosy/_loop.py`, and the two are only ever used together, from one
checkout. All that it does to the world goes through the gateway, as any agent's calls do.
"""

from argosy import _loop

from domain.runs import Reason
from workers.harnesses.harness import Launch, Task
from workers.harnesses.tasks import (
    early_environment,
    framed,
    python_argv,
    task_environment,
)
from workers.harnesses.transcripts import TranscriptReader

NAME = "native"

REASONS: dict[int, Reason] = {
    1: "harness_error",
    _loop.STEP_LIMIT: "step_limit",
    _loop.MODEL_FAILED: "model_error",
    _loop.INTERRUPTED: "policy_denied",
    _loop.NO_MODEL: "model_error",
}


class Native:
    """Runs the loop. Stateless."""

    name = NAME

    def launch(self, task: Task) -> Launch:
        """Return the interpreter with the loop, and the task on standard input."""
        environment = task_environment(task)
        return Launch(
            argv=python_argv(task, "_loop"),
            environment=environment,
            early=early_environment(environment),
            stdin=framed(task, environment),
            uses_channel=True,
            working_directory=task.working_directory,
        )

    def reader(self, task: Task) -> TranscriptReader:
        """Return a reader for one program's output."""
        del task
        return TranscriptReader(REASONS)
