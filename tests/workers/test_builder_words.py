"""What uv says is read quickly, however long the words in it are."""

import pytest

from tests.fuzzing.growth import grows_evenly
from workers.builder.failures import Failure, explain


@pytest.mark.parametrize("word", ["=", "a", "a=", "x has no ", "was not found in the "])
def test_long_words_take_no_longer_than_they_are(word: str) -> None:
    def read(size: int) -> None:
        explain("resolve", [f"error: {word * (size // len(word))}"], {}, "3.11")

    grows_evenly(read, 10_000)


def test_packages_are_still_found_by_their_names() -> None:
    def detail(complaint: str, **lines: int) -> Failure:
        return explain("resolve", [f"error: {complaint}"], lines, "3.11")

    absent = detail("Because nope was not found in the package registry", nope=3)
    version = detail("Because numpy==1.0 has no usable wheels", numpy=1)
    all_of = detail("Because all versions of numpy have no wheels with a matching tag")

    assert absent.detail.startswith("requirements, line 3: There is no package 'nope'")
    assert version.detail.startswith("requirements, line 1: 'numpy' would have to be built")
    assert all_of.detail.startswith("'numpy' would have to be built")
