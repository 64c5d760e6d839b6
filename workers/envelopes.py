"""The envelope of what workers append: on whose behalf, and which request it goes back to."""

import os
import secrets
import socket
from typing import Any

from domain.decider import Recorded
from domain.ids import new_id
from domain.ports import Meta


def new_owner(role: str) -> str:
    """Return a name for this process as a holder of leases, unlike that of any other."""
    return f"{role}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


def meta_after(cause: Recorded[Any], owner: str) -> Meta:
    """Return a new command's envelope: caused by a stored event, in its workspace."""
    return Meta(
        actor=f"worker:{owner}",
        workspace_id=cause.workspace_id,
        command_id=new_id(),
        correlation_id=cause.correlation_id,
        causation_id=cause.command_id,
    )
