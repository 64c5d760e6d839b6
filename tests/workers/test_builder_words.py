"""What uv and packages' builds say is read quickly, however long the words in it are."""

import pytest

from tests.fuzzing.growth import grows_evenly
from workers.builder.building_failures import build_failed
from workers.builder.failures import Failure, explain
from workers.builder.sdists import Sdist


@pytest.mark.parametrize("word", ["=", "a", "a=", "x has no ", "was not found in the "])
def test_long_words_take_no_longer_than_they_are(word: str) -> None:
    def read(size: int) -> None:
        explain("resolve", [f"error: {word * (size // len(word))}"], {}, "3.11")

    grows_evenly(read, 10_000)


@pytest.mark.parametrize("word", ["a", "cc", "/gcc", "command 'cc", "cc: ", "fatal error: a.h"])
def test_long_words_of_a_packages_build_take_no_longer_either(word: str) -> None:
    sdist = Sdist("made", "1.0", "https://example.org/made-1.0.tar.gz", "0" * 64)

    def read(size: int) -> None:
        build_failed(sdist, [word * (size // len(word))])

    grows_evenly(read, 4_000)


def test_packages_are_still_found_by_their_names() -> None:
    def detail(complaint: str, **lines: int) -> Failure:
        return explain("resolve", [f"error: {complaint}"], lines, "3.11")

    absent = detail("Because nope was not found in the package registry", nope=3)
    version = detail("Because numpy==1.0 has no usable wheels", numpy=1)
    all_of = detail("Because all versions of numpy have no wheels with a matching tag")

    assert absent.detail.startswith("requirements, line 3: There is no package 'nope'")
    assert version.detail.startswith("requirements, line 1: 'numpy' would have to be built")
    assert all_of.detail.startswith("'numpy' would have to be built")
