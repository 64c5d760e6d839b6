"""The command `argosy`. This module imports nothing, so that `argosy --help` is there at once."""

import sys

# Name: module, and the line that `argosy --help` shows. Modules are imported when they are used.
COMMANDS = {
    "dev": ("argosy.cli.dev", "Run a whole server on this machine."),
    "doctor": ("argosy.cli.doctor", "Look for what is wrong here, and say what to do."),
    "deploy": ("argosy.cli.deploy", "Deploy a folder of source."),
    "invoke": ("argosy.cli.invoke", "Send a message to a deployment and print what it answers."),
    "run": ("argosy.cli.run", "Runs: list, show, cancel, events, files, download."),
    "agent": ("argosy.cli.agent", "Agents: list, show, delete."),
    "deployment": ("argosy.cli.deployment", "Deployments: list, show, rollback, diff."),
    "build": ("argosy.cli.build", "Builds: list, show, logs, cancel."),
    "base": ("argosy.cli.base_environment", "Base environments of this machine: list, build."),
    "gc": ("argosy.cli.gc", "Remove what nothing needs from this machine's blob store."),
    "starter-kit": ("argosy.cli.starter_kit", "A tool, a model and a policy to begin with."),
    "tool": ("argosy.cli.tool", "Tools: list, show, apply, delete."),
    "policy": ("argosy.cli.policy", "Policies: list, show, apply, delete."),
    "model-provider": ("argosy.cli.model_provider", "Models: list, show, apply, delete."),
    "registry": ("argosy.cli.registry", "Registries of private images: list, show, apply, delete."),
    "workspace": ("argosy.cli.workspace", "Workspaces: create, list, use."),
    "key": ("argosy.cli.key", "API keys: create, list, revoke."),
    "events": ("argosy.cli.events", "The log: everything that happened, in order."),
    "replay": ("argosy.cli.replay", "One stream's history, and the state it folds to."),
}

HELP = ("-h", "--help")


def overview() -> str:
    """Return what `argosy --help` prints."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:<{width}}{line}" for name, (_, line) in COMMANDS.items()]
    return "\n".join(
        [
            "Usage: argosy COMMAND [OPTIONS]",
            "",
            "Deploy agents, run them in sandboxes, watch them, and replay what they did.",
            "",
            "Commands:",
            *lines,
            "",
            "Options:",
            "  -h, --help   Show this, or after a command what it takes.",
            "  --version    Show the version.",
            "",
            "The server is the running `argosy dev` of this folder or a parent, or the one that",
            "ARGOSY_URL, ARGOSY_API_KEY and ARGOSY_WORKSPACE say. Every command has --json.",
        ]
    )


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code (see exits.py)."""
    given = sys.argv[1:] if arguments is None else arguments
    if not given or given[0] in HELP:
        print(overview())
        return 0
    from argosy.cli.exits import run

    return run(given)
