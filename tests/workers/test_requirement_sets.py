"""Sets of requirements from a hand-made index, each tried to the end.

Those of the real index are in `python -m tests.builds`.
"""

from collections.abc import Iterator

import pytest

from tests.workers.builds import Builder, local, open_directory, the_driver
from tests.workers.packages import Index, make_sdist, make_wheel, serve
from tests.workers.requirement_sets import RequirementSet, try_set

SETS = (
    RequirementSet(
        name="extras",
        requirements="web[fast]>=1",
        mode="FAST_OVERLAY",
        program="import web, fast; print('ok')",
        says=("From wheels: fast 1.0, web 1.0.",),
    ),
    RequirementSet(
        name="markers",
        requirements="web; python_version >= '3'\nfast; sys_platform == 'win32'",
        mode="FAST_OVERLAY",
        program="import web, importlib.util as u; assert not u.find_spec('fast'); print('ok')",
    ),
    RequirementSet(
        name="markers that are all false",
        requirements="web; python_version < '3'",
        mode="INSTANT_RUNTIME",
        revised=True,
        program="print('ok')",
    ),
    RequirementSet(
        name="pins that contradict",
        requirements="old==1.0\nweb>=1",
        mode="FAST_OVERLAY",
        fails="resolve",
        says=("depend on web<1", "you require"),
    ),
    RequirementSet(
        name="source distribution only",
        requirements="raw",
        mode="FULL_BUILD",
        revised=True,
        program="import raw; assert raw.VERSION == '2.0'; print('ok')",
        says=("Built from source: raw 2.0.",),
    ),
    RequirementSet(
        name="source distribution of a dependency",
        requirements="over-raw",
        mode="FULL_BUILD",
        revised=True,
        program="import over_raw, raw; assert raw.VERSION == '1.0'; print('ok')",
        says=("Built from source: raw 1.0. From wheels: over-raw 1.0.",),
    ),
    RequirementSet(
        name="yanked version, pinned",
        requirements="web==2.0",
        mode="FAST_OVERLAY",
        program="import web; assert web.VERSION == '2.0'; print('ok')",
        says=('is yanked (reason: "broken")',),
    ),
    RequirementSet(
        name="yanked version, not pinned",
        requirements="web",
        mode="FAST_OVERLAY",
        program="import web; assert web.VERSION == '1.0'; print('ok')",
    ),
    RequirementSet(
        name="local version",
        requirements="ours==1.0+here.3",
        mode="FAST_OVERLAY",
        program="import ours; assert ours.VERSION == '1.0+here.3'; print('ok')",
    ),
    RequirementSet(
        name="local version that is not there",
        requirements="web==1.0+here.3",
        mode="FAST_OVERLAY",
        fails="resolve",
        says=("no version of web==1.0+here.3",),
    ),
)


@pytest.fixture(scope="module")
def builder() -> Iterator[Builder]:
    with open_directory() as directory:
        folder = directory / "index"
        make_wheel(folder, "web", "1.0", requires=["fast; extra == 'fast'"])
        make_wheel(folder, "web", "2.0")
        make_wheel(folder, "web", "0.9")
        make_wheel(folder, "fast", "1.0")
        make_wheel(folder, "old", "1.0", requires=["web<1"])
        make_wheel(folder, "ours", "1.0+here.3")
        make_wheel(folder, "over_raw", "1.0", requires=["raw<2"])
        make_sdist(folder, "raw", "1.0")
        make_sdist(folder, "raw", "2.0")
        index = Index(folder)
        index.yanked["web-2.0-py3-none-any.whl"] = "broken"
        with serve(index):
            yield Builder(directory, the_driver(), local(index))


@pytest.mark.parametrize("wanted", SETS, ids=lambda wanted: wanted.name)
async def test_a_set_is_built_and_runs_or_is_refused(
    builder: Builder, wanted: RequirementSet
) -> None:
    tried = await try_set(builder, wanted)

    assert tried.wrong == ""
    assert bool(tried.detail) == bool(wanted.fails)
