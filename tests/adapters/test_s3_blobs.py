"""What is particular to blobs in S3; tests/contracts/test_blobs.py has what all stores promise."""

import os
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from adapters.s3_blobs import PART_BYTES
from adapters.settings import Settings
from adapters.wiring import open_blobs
from domain.errors import Invalid, Unavailable
from tests.s3_server import SECRET_KEY, S3Server, s3_server

__all__ = ["s3_server"]


@pytest.fixture
def settings(s3_server: S3Server) -> Settings:
    """Of a bucket of the test's own."""
    return s3_server.settings(s3_server.new_bucket().name)


async def test_a_file_of_many_parts_is_put_and_fetched(settings: Settings, tmp_path: Path) -> None:
    store = open_blobs(settings)
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(os.urandom(2 * PART_BYTES + 17))

    digest = await store.put_file(source)
    await store.fetch(digest, copy)

    assert copy.read_bytes() == source.read_bytes()
    assert await store.size(digest) == 2 * PART_BYTES + 17


async def test_it_can_be_tried_out_and_leaves_nothing(
    settings: Settings, s3_server: S3Server
) -> None:
    bucket = s3_server.new_bucket()

    await open_blobs(replace(settings, blobs=f"s3://{bucket.name}")).check()

    assert bucket.names() == set()


async def test_a_wrong_secret_is_said_and_not_shown(
    settings: Settings, s3_server: S3Server, tmp_path: Path
) -> None:
    with s3_server.refusing_strangers() as (key, secret):
        right, wrong = tmp_path / "right", tmp_path / "wrong"
        right.write_text(f"{key}\n{secret}\n")
        wrong.write_text(f"{key}\nanother-secret\n")
        await open_blobs(replace(settings, s3_credentials_file=right)).check()

        with pytest.raises(Unavailable) as refusal:
            await open_blobs(replace(settings, s3_credentials_file=wrong)).put(b"x")

    assert "403 Forbidden" in refusal.value.detail
    assert "another-secret" not in refusal.value.detail


async def test_a_bucket_that_is_not_there_is_no_missing_blob(settings: Settings) -> None:
    with pytest.raises(Unavailable, match="NoSuchBucket"):
        await open_blobs(replace(settings, blobs="s3://elsewhere")).check()


async def test_a_server_that_is_away_is_unavailable_soon(settings: Settings) -> None:
    store = open_blobs(replace(settings, s3_endpoint="http://127.0.0.1:1"))
    before = time.monotonic()

    with pytest.raises(Unavailable, match="cannot be reached"):
        await store.put(b"x")

    assert time.monotonic() - before < 10


@pytest.mark.parametrize("text", ["", "one", "one two three"])
def test_credentials_are_two_words(settings: Settings, tmp_path: Path, text: str) -> None:
    file = tmp_path / "credentials"
    file.write_text(text)

    with pytest.raises(Invalid, match="ARGOSY_S3_CREDENTIALS_FILE"):
        open_blobs(replace(settings, s3_credentials_file=file))


@pytest.mark.parametrize("blobs", ["s3://", "s3:///prefix", "s3://key:secret@bucket"])
def test_the_setting_names_a_bucket(settings: Settings, blobs: str) -> None:
    with pytest.raises(Invalid, match="ARGOSY_BLOBS") as refusal:
        open_blobs(replace(settings, blobs=blobs))

    assert "secret" not in refusal.value.detail


def test_nothing_shows_the_secret(settings: Settings) -> None:
    shown = f"{settings!r} {open_blobs(settings)!r}"

    assert SECRET_KEY not in shown
