"""What signals ask of a process: to stop in order, and then to hurry."""

import asyncio
import signal


class Stop(asyncio.Event):
    """Set by the first SIGTERM or SIGINT. `again`: set by the second."""

    def __init__(self) -> None:
        super().__init__()
        self.again = asyncio.Event()

    def ask(self) -> None:
        """Take one signal."""
        if self.is_set():
            self.again.set()
        self.set()


def stop_on_signals() -> Stop:
    """Return what signals to this process set, from now on."""
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.ask)
    return stop
