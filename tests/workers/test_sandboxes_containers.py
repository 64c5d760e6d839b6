"""What a container is made of: what covers what, mount points nobody can make, and the filter."""

from pathlib import Path

import msgspec
import pytest

from workers.sandboxes.container_engine import find_engine
from workers.sandboxes.container_layout import Folder, Layout, image_of, lay_out
from workers.sandboxes.container_seccomp import everything_but, profile
from workers.sandboxes.driver import Mount, SandboxUnsupported, Spec, Symlink
from workers.sandboxes.drivers import find_bubblewrap
from workers.sandboxes.syscalls import REFUSED

UID = 1_900_000_001


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "sandbox")
    made.make()
    return made


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An image's files: an /etc with a link and without what engines put there."""
    root = tmp_path / "image"
    (root / "etc/ssl").mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0::/:\n")
    (root / "etc/localtime").symlink_to("/usr/share/zoneinfo/UTC")
    (root / "usr/lib").mkdir(parents=True)
    return root


def sources(layout: Layout) -> dict[str, str]:
    return {mount.target: mount.source for mount in layout.mounts}


def test_a_layer_without_mount_points_is_shown_entry_by_entry(folder: Folder, image: Path) -> None:
    """And keeps what it has where engines have files of their own."""
    layers = (Mount(f"{image}/etc", "/etc"), Mount(f"{image}/usr", "/usr"))
    layout = lay_out(Spec(layers=layers), folder, UID, podman=True)
    shown = sources(layout)

    assert "/etc" not in shown
    assert shown["/etc/passwd"] == f"{image}/etc/passwd"
    assert shown["/etc/ssl"] == f"{image}/etc/ssl"
    assert shown["/etc/hosts"] == str(folder.nothing)
    assert layout.symlinks == (Symlink("/usr/share/zoneinfo/UTC", "/etc/localtime"),)
    assert shown["/usr"] == f"{image}/usr"


def test_what_comes_later_covers_what_is_at_or_below_it(folder: Folder, image: Path) -> None:
    layers = (
        Mount(f"{image}/usr", "/opt/a/b"),
        Mount(f"{image}/etc", "/opt"),
        Mount(f"{image}/etc", "/dev/shm/x"),
        Mount(f"{image}/etc", "/tmp/x"),
    )
    shown = sources(lay_out(Spec(layers=layers), folder, UID, podman=False))

    assert {path for path in shown if path.startswith(("/opt", "/tmp", "/dev"))} == {
        "/opt", "/tmp", "/dev/mqueue",
    }  # fmt: skip


def test_links_and_mount_points_below_run_are_made_in_its_directory(
    folder: Folder, image: Path
) -> None:
    layers = (Mount(f"{image}/usr", "/run/host/usr"),)
    spec = Spec(layers=layers, symlinks=(Symlink("usr/lib", "/run/host/lib"),))
    lay_out(spec, folder, UID, podman=True)

    assert (folder.run / "host/usr").is_dir()
    assert str((folder.run / "host/lib").readlink()) == "usr/lib"
    assert (folder.run / "argosy-pipes").is_dir()


@pytest.mark.parametrize("name", ["with,comma", "with:colon", 'with"quote'])
def test_a_path_that_engines_would_misread_is_refused(
    folder: Folder, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).mkdir()
    spec = Spec(layers=(Mount(str(tmp_path / name), "/layer"),))

    with pytest.raises(SandboxUnsupported, match="cannot be passed"):
        lay_out(spec, folder, UID, podman=True)


def test_the_same_links_are_the_same_image() -> None:
    links = [Symlink("usr/bin", "/bin"), Symlink("usr/lib", "/lib")]

    assert image_of(links) == image_of(reversed(links))
    assert image_of(links)[0] != image_of(links[:1])[0]


def test_a_profile_lets_nothing_pass_that_the_filter_refuses() -> None:
    rules = msgspec.json.decode(profile())["syscalls"]
    allowed = {n for rule in rules if rule["action"] == "SCMP_ACT_ALLOW" for n in rule["names"]}

    assert not allowed & {*REFUSED, "clone3"}
    for name in ("clone", "socket", "socketpair", "ioctl"):
        assert all(rule["args"] for rule in rules if name in rule["names"])


def test_every_number_but_the_given_ones_is_matched_once() -> None:
    values = (0x5412, 0x541C)
    pairs = list(everything_but(values))
    tried = {bit ^ value for value in values for bit in (0, *(1 << n for n in range(32)))}

    for number in tried | {0, 2**32 - 1, 0x5413, 0x541B}:
        assert sum(number & mask == value for mask, value in pairs) == (number not in values)


def test_a_container_driver_needs_an_engine() -> None:
    with pytest.raises(SandboxUnsupported, match="ARGOSY_ENGINE"):
        find_engine("")


def test_where_there_is_no_bubblewrap_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.sandboxes.drivers.SYSTEM_PATH", "/nowhere")
    monkeypatch.setattr("workers.sandboxes.drivers.WHEEL", "no_such_wheel")

    with pytest.raises(SandboxUnsupported, match="ARGOSY_SANDBOX_DRIVER=container"):
        find_bubblewrap()
