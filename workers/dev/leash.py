"""Becomes another program that the kernel ends when the supervisor dies, even by SIGKILL.

Run by path with `python -I -S`: `leash.py SUPERVISOR_PID PROGRAM ARGUMENT…`. Linux only; elsewhere
a supervisor that is killed leaves its children, and the next one finds their socket in use.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask the kernel, then become the program."""
    supervisor, *program = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != int(supervisor):
            sys.exit(f"the supervisor {supervisor} is gone")  # it died before the kernel was asked
    os.execv(program[0], program)  # noqa: S606 - the supervisor's own children


if __name__ == "__main__":
    main()
