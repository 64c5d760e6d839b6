"""A real server that speaks S3, of the tests' own: rclone's, which keeps each object as a file."""

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from adapters.settings import Settings
from tests.conftest import REQUIRED
from tests.e2e.servers import free_port
from tests.redis_server import wait_until

ACCESS_KEY = "tests-access-key"
SECRET_KEY = "tests-secret-key-that-is-in-no-log"
START_SECONDS = 20.0


class S3Server:
    """Started at once."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.credentials = directory / "credentials"
        self.credentials.write_text(f"{ACCESS_KEY}\n{SECRET_KEY}\n")
        self._root = directory / "buckets"
        self._root.mkdir()
        self._numbers = count(1)
        self._log = directory / "log"
        rclone = Path(sys.executable).with_name("rclone")
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [
                    *(rclone, "serve", "s3", "--config", "/dev/null"),
                    *("--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", "--dir-cache-time", "0s"),
                    "--no-modtime",  # to set the times of files it waits, for seconds now and then
                    *("--addr", f"127.0.0.1:{self.port}", str(self._root)),
                ],
                stdout=log,
                stderr=log,
            )
        said = "Starting s3 server"
        wait_until(lambda: said in self._log.read_text(), START_SECONDS, "the S3 server")

    def new_bucket(self) -> Path:
        """Make a bucket; returns the folder of that name in which its objects are."""
        bucket = self._root / f"bucket-{next(self._numbers)}"
        bucket.mkdir()
        return bucket

    def settings(self, bucket: str) -> Settings:
        """Return what an operator sets for a bucket."""
        return Settings(
            blobs=f"s3://{bucket}/some/where",
            s3_endpoint=self.url,
            s3_credentials_file=self.credentials,
        )

    def stop(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(START_SECONDS)


@pytest.fixture(scope="module")
def s3_server() -> Iterator[S3Server]:
    """A server for all tests of a module, where ARGOSY_REQUIRE names `s3`.

    On a busy machine rclone's server now and then keeps a request for many seconds, so what waits
    for it is no part of the checks that every commit has to pass.
    """
    if "s3" not in REQUIRED:
        pytest.skip("asked for by ARGOSY_REQUIRE=s3 alone: the server stalls on busy machines")
    directory = Path(tempfile.mkdtemp(prefix="argosy-s3-"))
    server = S3Server(directory)
    yield server
    server.stop()
    shutil.rmtree(directory)
