"""The harness `source`: the user's own Python code, run by the module `argosy` in its sandbox.

The contract with agent code is in docs/guides/write-an-agent.md; the in-sandbox half is
`sdk/argosy/_runner.py`, and the two are only ever used together, from one checkout.
"""

from workers.harnesses.harness import Launch, Task
from workers.harnesses.tasks import (
    early_environment,
    framed,
    python_argv,
    task_environment,
)
from workers.harnesses.transcripts import TranscriptReader

NAME = "source"


class Source:
    """Runs Python source. Stateless."""

    name = NAME

    def launch(self, task: Task) -> Launch:
        """Return the interpreter with the in-sandbox module, and the task on standard input."""
        environment = task_environment(task)
        return Launch(
            argv=python_argv(task, "_runner"),
            environment=environment,
            early=early_environment(environment),
            stdin=framed(task, environment),
            uses_channel=True,
            copies_source=True,
            working_directory=task.working_directory,
        )

    def reader(self, task: Task) -> TranscriptReader:
        """Return a reader for one program's output."""
        del task
        return TranscriptReader()
