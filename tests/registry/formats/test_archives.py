"""Archives that unpack, and archives made to harm."""

from __future__ import annotations

import gzip
import io
import os
import stat
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.domain.errors import InvalidRequest
from modelyard.registry.formats.archives import Limits, unpack
from tests.registry.formats.making import write

LIMITS = Limits(size=2**28, files=50)
FILES = {"model.onnx": b"m" * 5000, "a/b/c.txt": b"deep", "empty": b"", "a/512": bytes(512)}
Member = tuple[str, bytes] | tarfile.TarInfo


def zip_of(members: dict[str, bytes], **options: Any) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as content:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = options.get("packing", zipfile.ZIP_DEFLATED)
            info.external_attr = options.get("mode", stat.S_IFREG | 0o777) << 16
            content.writestr(info, data)
    return file.getvalue()


def tar_of(members: dict[str, bytes] | list[Member], form: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as content:
        for member in members.items() if isinstance(members, dict) else members:
            if isinstance(member, tarfile.TarInfo):
                content.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            content.addfile(info, io.BytesIO(member[1]))
    return file.getvalue()


def tar_gz_of(members: dict[str, bytes]) -> bytes:
    return gzip.compress(tar_of(members))


def special(name: str, kind: bytes, linkname: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, linkname
    return info


MAKERS: list[Callable[[dict[str, bytes]], bytes]] = [zip_of, tar_of, tar_gz_of]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(home: Path, content: bytes, limits: Limits = LIMITS) -> InvalidRequest:
    """Why the archive is refused, and that it leaves nothing behind, in its folder or beside it."""
    archive = write(home / "archive", content)
    before = sorted(home.rglob("*"))
    with pytest.raises(InvalidRequest) as caught:
        unpack(archive, home / "to", limits)
    assert sorted(home.rglob("*")) == before
    assert all(problem.message.endswith(".") for problem in caught.value.problems)
    return caught.value


def codes(error: InvalidRequest) -> list[tuple[str, str]]:
    return [(problem.path, problem.code) for problem in error.problems]


@pytest.mark.parametrize("make", MAKERS)
def test_an_archive_unpacks_to_the_files_that_went_in(home: Path, make: Callable[..., bytes]) -> None:
    unpack(write(home / "any-name", make(FILES)), home / "to", LIMITS)
    assert tree(home / "to") == FILES
    mode = (home / "to" / "model.onnx").stat().st_mode
    assert mode & 0o111 == 0


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_of_tar_is_read(home: Path, form: int) -> None:
    members = {"x" * 90 + "/" + "y" * 90: b"long", "z": b"short"}
    unpack(write(home / "t.tar", tar_of(members, form)), home / "to", LIMITS)
    assert tree(home / "to") == members


def test_folders_and_a_leading_dot_are_usual(home: Path) -> None:
    members: list[Member] = [special(".", tarfile.DIRTYPE), special("./a", tarfile.DIRTYPE), ("./a/x", b"1")]
    unpack(write(home / "t.tar", tar_of(members)), home / "to", LIMITS)
    assert tree(home / "to") == {"a/x": b"1"}
    unpack(write(home / "z.zip", zip_of({"a/": b"", "a/x": b"1"})), home / "to2", LIMITS)
    assert tree(home / "to2") == {"a/x": b"1"}


def test_an_archive_in_an_archive_stays_packed(home: Path) -> None:
    inner = zip_of(FILES)
    unpack(write(home / "z.zip", zip_of({"inner.zip": inner})), home / "to", LIMITS)
    assert tree(home / "to") == {"inner.zip": inner}


def test_a_folder_with_something_in_it_is_left_alone(home: Path) -> None:
    write(home / "to" / "mine.txt", b"mine")
    with pytest.raises(InvalidRequest, match="not empty"):
        unpack(write(home / "z.zip", zip_of(FILES)), home / "to", LIMITS)
    assert tree(home / "to") == {"mine.txt": b"mine"}


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("../out.txt", "path_escape"),
        ("a/../../out.txt", "path_escape"),
        ("/tmp/out.txt", "path_escape"),
        ("a\\..\\out.txt", "invalid_name"),
        ("C:/out.txt", "path_escape"),
        ("a//b", "invalid_name"),
        ("nul.txt", "invalid_name"),
        ("MODEL.onnx", "name_collision"),
        ("model.onnx/x", "name_collision"),
        ("a", "name_collision"),
    ],
)
def test_a_name_that_may_not_be_in_a_version_is_refused(
    home: Path, make: Callable[..., bytes], name: str, code: str
) -> None:
    assert codes(refusal(home, make({**FILES, name: b"evil"}))) == [(name, code)]


@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_all_problems_are_told_at_once(home: Path, make: Callable[..., bytes]) -> None:
    error = refusal(home, make({"../a": b"", "good": b"", "con": b""}))
    assert codes(error) == [("../a", "path_escape"), ("con", "invalid_name")]


def test_a_name_that_is_there_twice_is_refused(home: Path) -> None:
    assert codes(refusal(home, tar_of([("a", b"1"), ("a", b"2")]))) == [("a", "name_collision")]


def test_a_zips_name_is_read_beyond_its_nul(home: Path) -> None:
    content = zip_of({"model.onnx_evil": b""}).replace(b"model.onnx_evil", b"model.onnx\0evil")
    assert codes(refusal(home, content)) == [("model.onnx\\x00evil", "invalid_name")]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (tarfile.SYMTYPE, "link"),
        (tarfile.LNKTYPE, "link"),
        (tarfile.FIFOTYPE, "special_file"),
        (tarfile.CHRTYPE, "special_file"),
        (tarfile.BLKTYPE, "special_file"),
        (b"Z", "special_file"),
    ],
)
def test_what_is_no_plain_file_is_refused(home: Path, kind: bytes, code: str) -> None:
    assert codes(refusal(home, tar_of([special("x", kind, "/etc/passwd")]))) == [("x", code)]


def test_nothing_is_written_through_a_link(home: Path) -> None:
    (home / "outside").mkdir()
    members: list[Member] = [special("out", tarfile.SYMTYPE, str(home / "outside")), ("out/x", b"evil")]
    assert ("out", "link") in codes(refusal(home, tar_of(members)))


@pytest.mark.parametrize(
    ("mode", "code"), [(stat.S_IFLNK | 0o777, "link"), (stat.S_IFIFO, "special_file"), (stat.S_IFCHR, "special_file")]
)
def test_what_is_no_plain_file_in_a_zip_is_refused(home: Path, mode: int, code: str) -> None:
    assert codes(refusal(home, zip_of({"x": b"/etc/passwd"}, mode=mode))) == [("x", code)]


def test_an_encrypted_zip_is_refused(home: Path) -> None:
    content = bytearray(zip_of({"x": b"secret"}))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    assert codes(refusal(home, bytes(content))) == [("x", "encrypted")]


@pytest.mark.parametrize("packing", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_zip_packed_otherwise_than_by_deflate_is_refused(home: Path, packing: int) -> None:
    assert codes(refusal(home, zip_of({"x": b"x"}, packing=packing))) == [("", "damaged_archive")]


@pytest.mark.parametrize("make", MAKERS)
def test_more_than_may_come_out_is_refused(home: Path, make: Callable[..., bytes]) -> None:
    members = {"a": os.urandom(600), "b": os.urandom(600)}
    assert codes(refusal(home, make(members), Limits(size=1199))) == [("", "too_large")]
    unpack(write(home / "archive", make(members)), home / "enough", Limits(size=1200))


@pytest.mark.parametrize("make", MAKERS)
def test_more_members_than_there_may_be_are_refused(home: Path, make: Callable[..., bytes]) -> None:
    members = {f"{number}": b"" for number in range(51)}
    assert codes(refusal(home, make(members))) == [("", "too_many_files")]


@pytest.mark.parametrize("make", [zip_of, tar_gz_of])
def test_a_bomb_is_refused_before_it_fills_the_disk(home: Path, make: Callable[..., bytes]) -> None:
    error = refusal(home, make({"zeros": bytes(2**27)}), Limits(size=2**40))
    assert "times its size" in str(error)


def test_a_little_that_is_packed_tightly_is_no_bomb(home: Path) -> None:
    unpack(write(home / "a", tar_gz_of({"zeros": bytes(2**25)})), home / "to", LIMITS)
    assert (home / "to" / "zeros").stat().st_size == 2**25


def overlapping_zip() -> bytes:
    """Many names in the table for one member of the file."""
    content = zip_of({"a": b"x" * 1000})
    start = content.index(b"PK\x01\x02")
    end = content.index(b"PK\x05\x06")
    entry = content[start:end]
    table = b"".join(entry[:46] + bytes([ord("a") + number]) + entry[47:] for number in range(5))
    closing = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 5, 5, len(table), start, 0)
    return content[:start] + table + closing


def quoting_zip() -> bytes:
    """A member that has the other's header within its own bytes."""
    inner = zip_of({"b": b"x"})
    local = inner[: inner.index(b"PK\x01\x02")]
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w") as content:
        content.writestr("a", local)
    packed = outer.getvalue()
    start = packed.index(b"PK\x01\x02")
    entry = bytearray(inner[inner.index(b"PK\x01\x02") : inner.index(b"PK\x05\x06")])
    entry[42:46] = struct.pack("<L", packed.index(local))
    table = packed[start : packed.index(b"PK\x05\x06")] + entry
    return packed[:start] + table + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2, 2, len(table), start, 0)


@pytest.mark.parametrize("make", [overlapping_zip, quoting_zip])
def test_a_zip_whose_members_overlap_is_refused(home: Path, make: Callable[[], bytes]) -> None:
    assert "overlap" in str(refusal(home, make()))


def test_a_zip_that_says_less_than_comes_out_is_refused(home: Path) -> None:
    content = bytearray(zip_of({"a": b"x" * 1000}))
    for signature, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = content.index(signature) + place
        content[start : start + 4] = struct.pack("<L", 10)
    assert codes(refusal(home, bytes(content))) == [("", "damaged_archive")]


def test_a_zip_with_something_before_it_is_refused(home: Path) -> None:
    assert codes(refusal(home, b"PK\x03\x04program" + zip_of(FILES))) == [("", "damaged_archive")]


def test_a_zip_with_an_endless_table_is_refused_unread(home: Path) -> None:
    table = bytes(2**25)
    content = b"PK\x03\x04" + table + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 9, 9, len(table), 4, 0)
    tracemalloc.start()
    error = refusal(home, content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "table of contents" in str(error)
    assert peak < 2**22


def test_a_sparse_file_in_a_tar_is_refused(home: Path) -> None:
    """A GNU tar member of 512 bytes that would be a terabyte."""
    header = bytearray(special("sparse", tarfile.GNUTYPE_SPARSE).tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"00000001000\0"
    header[386:410] = b"00000000000\0" + b"00000001000\0"
    header[483:495] = b"\x80" + (2**40).to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    content = bytes(header) + bytes(512) + bytes(1024)
    assert codes(refusal(home, content)) == [("sparse", "sparse_file")]


def test_a_tar_with_a_name_of_gigabytes_is_refused_unread(home: Path) -> None:
    header = special("././@LongLink", tarfile.GNUTYPE_LONGNAME)
    header.size = 2**30
    content = gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(2**24))
    tracemalloc.start()
    error = refusal(home, content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "header that is too large" in str(error)
    assert peak < 2**22


@pytest.mark.parametrize(
    ("make", "cut"),
    [*((make, cut) for make in MAKERS for cut in (100, 600, 1536, 4000)), (zip_of, -1), (tar_gz_of, -1)],
)
def test_an_archive_that_is_cut_short_is_refused(home: Path, make: Callable[..., bytes], cut: int) -> None:
    content = make({name: os.urandom(len(data)) for name, data in FILES.items()})
    ((path, code),) = codes(refusal(home, content[:cut]))
    assert path == ""
    assert code in ("damaged_archive", "unknown_archive")


def test_damage_within_is_noticed(home: Path) -> None:
    for make in (zip_of, tar_gz_of):
        content = bytearray(make({"a": os.urandom(5000)}))
        content[2000] ^= 1
        assert codes(refusal(home, bytes(content))) == [("", "damaged_archive")]


@pytest.mark.parametrize("content", [b"", b"text", b"\x28\xb5\x2f\xfd" + bytes(100), gzip.compress(b"text"), b"BZh9"])
def test_what_is_no_archive_is_refused(home: Path, content: bytes) -> None:
    ((path, code),) = codes(refusal(home, content))
    assert (path, code in ("unknown_archive", "damaged_archive")) == ("", True)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(make=st.sampled_from([zip_of, tar_of]), data=st.data())
def test_a_damaged_archive_unpacks_within_its_folder_or_is_refused(
    home: Path, make: Callable[..., bytes], data: st.DataObject
) -> None:
    damaged = bytearray(make({"model.onnx": b"m" * 100, "a/b.txt": b"deep"}))
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(damaged) - 1)) :]
    archive = write(home / "archive", bytes(damaged))
    to = home / "to"
    try:
        unpack(archive, to, LIMITS)
    except InvalidRequest:
        assert not to.exists()
    else:
        for path in list(tree(to)):
            (to / path).unlink()
        for folder in sorted(to.rglob("*"), reverse=True):
            folder.rmdir()
        to.rmdir()
    assert list(home.iterdir()) == [archive]
