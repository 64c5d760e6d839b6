"""A real server that speaks S3, of the tests' own: moto's, in a process of its own, in memory."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import boto3  # pyright: ignore[reportMissingTypeStubs]
import httpx
import pytest

from adapters.settings import Settings
from tests.e2e.servers import free_port
from tests.redis_server import wait_until

ACCESS_KEY = "tests-access-key"
SECRET_KEY = "tests-secret-key-that-is-in-no-log"
START_SECONDS = 20.0
PREFIX = "some/where"


class Bucket:
    """What is in a bucket, seen and changed behind the store's back. Any: boto3 has no types."""

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self.name = name
        client.create_bucket(Bucket=name)

    def names(self) -> set[str]:
        """Return the keys of all objects."""
        found = self._client.list_objects_v2(Bucket=self.name).get("Contents", [])
        return {each["Key"] for each in found}

    def write(self, name: str, data: bytes) -> None:
        """Replace an object."""
        self._client.put_object(Bucket=self.name, Key=name, Body=data)


class S3Server:
    """Started at once."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.credentials = directory / "credentials"
        self.credentials.write_text(f"{ACCESS_KEY}\n{SECRET_KEY}\n")
        self._numbers = count(1)
        self._log = directory / "log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
                stdout=log,
                stderr=log,
            )
        said = "Running on"
        wait_until(lambda: said in self._log.read_text(), START_SECONDS, "the S3 server")
        self._client = self._connect("s3")

    def new_bucket(self) -> Bucket:
        """Make an empty bucket."""
        return Bucket(self._client, f"bucket-{next(self._numbers)}")

    def settings(self, bucket: str) -> Settings:
        """Return what an operator sets for a bucket."""
        return Settings(
            blobs=f"s3://{bucket}/{PREFIX}",
            s3_endpoint=self.url,
            s3_credentials_file=self.credentials,
        )

    @contextmanager
    def refusing_strangers(self) -> Generator[tuple[str, str]]:
        """Check signatures meanwhile, which it does not otherwise; yields a key and its secret."""
        iam = self._connect("iam")
        iam.create_user(UserName="tests")
        everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [everything]})
        iam.put_user_policy(UserName="tests", PolicyName="tests", PolicyDocument=policy)
        key = iam.create_access_key(UserName="tests")["AccessKey"]
        self._check_from("0")
        try:
            yield key["AccessKeyId"], key["SecretAccessKey"]
        finally:
            self._check_from("inf")

    def _check_from(self, request: str) -> None:
        """Check signatures from this request on, counted from now."""
        httpx.post(f"{self.url}/moto-api/reset-auth", content=request).raise_for_status()

    def _connect(self, service: str) -> Any:
        library: Any = boto3
        return library.client(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(START_SECONDS)


@pytest.fixture(scope="module")
def s3_server() -> Iterator[S3Server]:
    """A server for all tests of a module."""
    directory = Path(tempfile.mkdtemp(prefix="argosy-s3-"))
    server = S3Server(directory)
    yield server
    server.stop()
    shutil.rmtree(directory)
