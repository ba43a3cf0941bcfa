"""What is in a folder beside plain files: links, devices, names and numbers that no version may have."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modelyard.registry.formats import scan as scanning
from modelyard.registry.formats.content import judge
from modelyard.registry.formats.kinds import Verdict
from modelyard.registry.formats.scan import fingerprint, scan
from tests.registry.formats.making import only, write


def test_links_are_refused(folder: Path, home: Path) -> None:
    write(home / "secret.txt", b"secret")
    (folder / "out.txt").symlink_to(home / "secret.txt")
    (folder / "in.txt").symlink_to("README.md")
    (folder / "up").symlink_to("..")
    (folder / "gone").symlink_to("nowhere")
    os.link(home / "secret.txt", folder / "hard.txt")
    report = scan(folder)
    assert {problem.path: problem.code for problem in report.problems} == {
        "out.txt": "link",
        "in.txt": "link",
        "up": "link",
        "gone": "link",
        "hard.txt": "hard_link",
    }


def test_a_hard_link_within_the_folder_is_a_file_like_another(folder: Path) -> None:
    (folder / "a").mkdir()
    os.link(folder / "README.md", folder / "a" / "README.md")
    assert scan(folder).problems == ()


def test_what_is_no_plain_file_is_refused_unopened(folder: Path) -> None:
    os.mkfifo(folder / "pipe.txt")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(folder / "socket"))
    listening.close()
    assert {problem.path: problem.code for problem in scan(folder).problems} == {
        "pipe.txt": "special_file",
        "socket": "special_file",
    }


def test_a_device_is_refused_unopened(folder: Path) -> None:
    try:
        os.mknod(folder / "zero.txt", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    except PermissionError:
        assert "device" in only(scan(Path("/dev/zero"))).message
    else:
        assert (only(scan(folder)).code, "device" in only(scan(folder)).message) == ("special_file", True)


def test_names_that_not_every_file_system_holds_are_refused(folder: Path) -> None:
    write(folder / "readme.MD", b"")
    write(folder / "aux.txt", b"")
    write(folder / "a\nb.txt", b"")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.txt")).write_bytes(b"")
    report = scan(folder)
    assert [(problem.path, problem.code) for problem in report.problems] == [
        ("\\udcff.txt", "invalid_name"),
        ("a\\nb.txt", "invalid_name"),
        ("aux.txt", "invalid_name"),
        ("readme.MD", "name_collision"),
    ]


def test_a_folder_without_files_is_no_version(home: Path) -> None:
    (home / "v" / "empty").mkdir(parents=True)
    assert (only(scan(home / "v")).path, only(scan(home / "v")).code) == ("", "empty")


def test_more_files_than_a_version_may_have_are_not_all_looked_at(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "MAX_FILES", 10)
    for number in range(20):
        write(folder / f"{number}.txt", b"")
    assert only(scan(folder)).code == "too_many_files"


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_what_cannot_be_read_is_refused(folder: Path, home: Path) -> None:
    home.chmod(0o755)
    write(folder / "closed.txt", b"").chmod(0)
    write(folder / "shut" / "a.txt", b"")
    (folder / "shut").chmod(0)
    with as_nobody():
        problems = scan(folder).problems
    (folder / "shut").chmod(0o755)
    assert [(problem.path, problem.code) for problem in problems] == [
        ("closed.txt", "unreadable"),
        ("shut", "unreadable"),
    ]


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(b"longer than before"),
        lambda path: (path.unlink(), path.write_bytes(path.name.encode())),
        lambda path: os.utime(path, ns=(1, 1)),
        lambda path: path.chmod(0o600),
    ],
)
def test_a_file_that_changes_has_another_fingerprint(home: Path, change: Callable[[Path], object]) -> None:
    path = write(home / "a.txt", b"a.txt")
    os.utime(path, ns=(5, 5))
    before = fingerprint(path)
    assert fingerprint(path) == before
    change(path)
    assert fingerprint(path) != before


def test_a_file_is_found_as_it_was_before_it_was_looked_into(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "README.md"
    before = fingerprint(path)

    def swap_and_judge(judged: Path, *, is_data: bool) -> Verdict:
        write(home / "good.md", b"# Another\n").replace(judged)
        return judge(judged, is_data=is_data)

    home = folder.parent
    monkeypatch.setattr(scanning, "judge", swap_and_judge)
    (found,) = scan(folder).files
    assert found.fingerprint == before != fingerprint(path)
