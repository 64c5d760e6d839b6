"""Reading `compose.yaml`: what an engine has to be told to start each of its services."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.containers.engine import as_flags
from tests.e2e.servers import ROOT

# Docker's words, and podman's for the same.
_SECURITY = {
    "seccomp:unconfined": "seccomp=unconfined",
    "apparmor:unconfined": "apparmor=unconfined",
    "systempaths=unconfined": "unmask=ALL",
}
# What is translated below, and what only matters to whoever keeps services alive or builds them.
_KNOWN = frozenset(
    {"image", "environment", "volumes", "user", "cgroup", "cap_drop", "cap_add", "security_opt"}
    | {"command", "secrets", "healthcheck"}
)
_ELSEWHERE = frozenset({"build", "restart", "depends_on", "ports", "stop_grace_period"})


def read_compose() -> Mapping[str, dict[str, Any]]:
    """Return the services by name."""
    return yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]


def flags_of(service: Mapping[str, Any], secrets: Mapping[str, Path]) -> list[str]:
    """Return the options that a service is started with: these and no others.

    Raises ValueError for what compose.yaml says and nobody here understands.
    """
    if unknown := service.keys() - _KNOWN - _ELSEWHERE:
        raise ValueError(f"what is {sorted(unknown)} in compose.yaml?")
    flags = as_flags("--env", service.get("environment", {}))
    flags += as_flags("--volume", service.get("volumes", []))
    flags += as_flags("--cap-drop", service.get("cap_drop", []))
    flags += as_flags("--cap-add", service.get("cap_add", []))
    options = [_SECURITY[each] for each in service.get("security_opt", [])]
    flags += as_flags("--security-opt", options)
    flags += ["--user", service["user"]] if "user" in service else []
    flags += ["--cgroupns", service["cgroup"]] if "cgroup" in service else []
    for name in service.get("secrets", []):
        flags += ["--volume", f"{secrets[name]}:/run/secrets/{name}:ro"]
    return flags


def words_of(command: str | Sequence[str]) -> list[str]:
    """Return a command as its words."""
    return command.split() if isinstance(command, str) else list(command)
