"""Requirements that exclude each other, where some of the versions have no wheels."""

from domain.builds import BuildEnded
from tests.workers.builds import Builder
from tests.workers.packages import Index, make_sdist, make_wheel


def conflicting(builder: Builder, end: BuildEnded) -> None:
    assert (end.how, end.step) == ("failed", "resolve"), end
    assert end.detail.startswith("No set of versions meets all requirements: Because"), end.detail
    assert "you require part<2" in end.detail
    assert end.hint.startswith("Loosen or change one of the requirements")
    assert builder.leftovers() == []


def parts(index: Index) -> None:
    make_wheel(index.folder, "part", "1.0")
    make_wheel(index.folder, "part", "3.0")


async def test_an_old_version_without_wheels_is_no_reason_to_build_the_new_one(
    builder: Builder, index: Index
) -> None:
    parts(index)
    make_sdist(index.folder, "whole", "1.0")
    make_wheel(index.folder, "whole", "2.0", requires=["part>=2"])
    make_sdist(index.folder, "whole", "2.0", requires=["part>=2"])

    end = await builder.build("part<2\nwhole\n")

    conflicting(builder, end)
    assert "made whole" not in builder.text
    assert [(plan.mode, plan.confirmed) for plan in builder.plans] == [("FAST_OVERLAY", True)]


async def test_what_was_built_from_source_and_does_not_fit_is_a_conflict(
    builder: Builder, index: Index
) -> None:
    parts(index)
    make_sdist(index.folder, "whole", "1.0")
    make_sdist(index.folder, "whole", "2.0", requires=["part>=2"])

    end = await builder.build("part<2\nwhole\n")

    conflicting(builder, end)
    assert "made whole-2.0" in builder.text
