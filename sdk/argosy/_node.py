"""Become Node, for an agent whose entry point is JavaScript: `_node.mjs` does the rest.

In-sandbox code: see `_channel`.
"""

# ruff: noqa: PTH118, PTH120, as in `_runner`

import os

from argosy import agent
from argosy._channel import Channel, stdlib_json

PROGRAM = "/usr/bin/node"


def become_node(path: str, system_prompt: str) -> None:
    """Replace this program by Node running the file. Raises OSError where there is none."""
    assert Channel.descriptor is not None
    request = stdlib_json().dumps({**agent.request, "system_prompt": system_prompt})
    file = os.memfd_create("request")
    data = request.encode("utf-8", "replace")
    while data:
        data = data[os.write(file, data) :]
    os.lseek(file, 0, os.SEEK_SET)
    for descriptor in (file, Channel.descriptor):
        os.set_inheritable(descriptor, True)
    shim = os.path.join(os.path.dirname(__file__), "_node.mjs")
    variables = {"ARGOSY_CHANNEL_FD": str(Channel.descriptor), "ARGOSY_REQUEST_FD": str(file)}
    argv = [PROGRAM, shim, path, agent.message]
    os.execve(PROGRAM, argv, {**os.environ, **variables})  # noqa: S606 - a fixed path
