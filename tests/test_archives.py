"""Archives: good ones come out as they went in, bad ones are refused and write nothing outside the folder."""

from __future__ import annotations

import io
import random
import shutil
import stat
import struct
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from mvtec_convert.downloads import archives
from mvtec_convert.downloads.archives import unpack, unpacked_size
from mvtec_convert.errors import ArchiveError
from tests.trees import complete

TAR_MODES = {"tar": "w", "tar.gz": "w:gz", "tar.xz": "w:xz", "tar.bz2": "w:bz2"}
ZIP_METHODS = {"zip": zipfile.ZIP_STORED, "deflated.zip": zipfile.ZIP_DEFLATED, "lzma.zip": zipfile.ZIP_LZMA}
KINDS = [*TAR_MODES, *ZIP_METHODS]


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pack(path: Path, members: dict[str, bytes], kind: str) -> Path:
    """An archive of files, in their order."""
    if kind in TAR_MODES:
        with tarfile.open(path, TAR_MODES[kind]) as tar:
            for name, content in members.items():
                header = tarfile.TarInfo(name)
                header.size, header.mode = len(content), 0o6755
                tar.addfile(header, io.BytesIO(content))
    else:
        with zipfile.ZipFile(path, "w", ZIP_METHODS[kind]) as file:
            for name, content in members.items():
                file.writestr(name, content)
    return path


def tar_of(path: Path, *headers: tarfile.TarInfo, content: bytes = b"content") -> Path:
    """A tar of one good file and of headers as they are, bad ones too."""
    with tarfile.open(path, "w") as tar:
        good = tarfile.TarInfo("grid/good.png")
        good.size = len(content)
        tar.addfile(good, io.BytesIO(content))
        for header in headers:
            tar.addfile(header, io.BytesIO(b"x" * header.size))
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.type, header.linkname = kind, target
    return header


def zip_of_mode(path: Path, name: str, mode: int, content: str) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr = 3, mode << 16
        file.writestr(info, content)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_what_goes_in_comes_out(tmp_path, kind):
    there = files(complete(tmp_path / "tree", ["carpet", "grid"]))
    archive = pack(tmp_path / f"data.{kind}", there, kind)
    seen = []
    unpacked = unpack(archive, tmp_path / "out", progress=lambda done, total: seen.append((done, total)))
    assert files(tmp_path / "out") == there
    assert (unpacked.files, unpacked.size, unpacked.junk) == (len(there), sum(map(len, there.values())), 0)
    assert seen == sorted(seen)
    assert {total for _, total in seen} == {archive.stat().st_size}
    assert seen[-1][0] > 0.3 * archive.stat().st_size  # the rest of a zip is its directory


def test_no_mode_is_taken_over(tmp_path):
    unpack(pack(tmp_path / "data.tar", {"grid/000.png": b"x"}, "tar"), tmp_path / "out")
    mode = (tmp_path / "out/grid/000.png").stat().st_mode
    assert not mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IXUSR)


@pytest.mark.skipif(shutil.which("tar") is None, reason="no tar program")
@pytest.mark.parametrize("form", ["gnu", "pax", "ustar"])
def test_what_the_tar_program_packs_comes_out(tmp_path, form):
    tree = complete(tmp_path / "tree", ["carpet"])
    if form != "ustar":
        (tree / ("deep" * 30)).mkdir()
        (tree / ("deep" * 30) / ("name" * 40 + ".png")).write_bytes(b"long")
    subprocess.run(["tar", f"--format={form}", "-cJf", "data.tar.xz", "-C", "tree", "."], cwd=tmp_path, check=True)
    unpack(tmp_path / "data.tar.xz", tmp_path / "out")
    assert files(tmp_path / "out") == files(tree)


NAMES_THAT_LEAVE = [
    "/evil.png",
    "../evil.png",
    "grid/../../evil.png",
    "..\\evil.png",
    "grid\\..\\..\\evil.png",
    "C:/evil.png",
    "c:evil.png",
    "\\\\server\\share\\evil.png",
]


@pytest.mark.parametrize("kind", ["tar", "zip"])
@pytest.mark.parametrize("name", NAMES_THAT_LEAVE)
def test_a_name_that_leaves_the_folder_is_refused(tmp_path, kind, name):
    archive = pack(tmp_path / f"evil.{kind}", {"grid/good.png": b"good", name: b"evil"}, kind)
    with pytest.raises(ArchiveError, match=r"evil\.png (is an absolute path|leads out of the folder)") as caught:
        unpack(archive, tmp_path / "deep/er/out")
    assert caught.value.path == str(archive)
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith("evil.png")]


def tar_with(*headers: tarfile.TarInfo) -> Callable[[Path], Path]:
    return lambda folder: tar_of(folder / "evil.tar", *headers)


def tar_with_sparse_file(folder: Path) -> Path:
    """64 GiB by its own account, and a few bytes of data."""
    header = special("grid/sparse.png", tarfile.GNUTYPE_SPARSE)
    block = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    block[386:410] = b"00000000000\x0000000000000\x00"
    block[483:495] = b"777777777777"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    good = tar_of(folder / "evil.tar").read_bytes()
    (folder / "evil.tar").write_bytes(good[:1024] + block + bytes(10240))
    return folder / "evil.tar"


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a symbolic link out": (tar_with(special("grid/a", tarfile.SYMTYPE, "../../victim")), "grid/a is a symbolic link"),
    "a symbolic link within": (tar_with(special("grid/a", tarfile.SYMTYPE, "good.png")), "grid/a is a symbolic link"),
    "a symbolic link in a zip": (
        lambda folder: zip_of_mode(folder / "evil.zip", "a", stat.S_IFLNK | 0o777, "../victim"),
        "a is a symbolic link",
    ),
    "a hard link out": (tar_with(special("grid/a", tarfile.LNKTYPE, "../victim")), "../victim leads out"),
    "an absolute hard link": (tar_with(special("grid/a", tarfile.LNKTYPE, "/etc/passwd")), "is an absolute path"),
    "a hard link to a later file": (
        tar_with(special("grid/a", tarfile.LNKTYPE, "grid/z"), tarfile.TarInfo("grid/z")),
        "grid/a is a link to grid/z, which is no earlier file",
    ),
    "a character device": (tar_with(special("grid/null", tarfile.CHRTYPE)), "grid/null is a device"),
    "a block device": (tar_with(special("grid/sda", tarfile.BLKTYPE)), "grid/sda is a device"),
    "a pipe": (tar_with(special("grid/pipe", tarfile.FIFOTYPE)), "grid/pipe is a device"),
    "a device in a zip": (
        lambda folder: zip_of_mode(folder / "evil.zip", "null", stat.S_IFCHR | 0o666, ""),
        "null is a device",
    ),
    "a folder with content": (
        lambda folder: zip_of_mode(folder / "evil.zip", "grid/000.png/", stat.S_IFDIR | 0o755, "lost"),
        "grid/000.png/ is a folder with content",
    ),
    "a sparse file": (tar_with_sparse_file, "grid/sparse.png is a sparse file"),
    "a file twice": (tar_with(tarfile.TarInfo("grid/good.png")), "grid/good.png is there twice"),
    "a file twice, the second time through a dot": (tar_with(tarfile.TarInfo("./grid//good.png")), "is there twice"),
    "a file in a file": (tar_with(tarfile.TarInfo("grid/good.png/a")), "is there twice"),
    "a folder in place of a file": (tar_with(special("grid/good.png", tarfile.DIRTYPE)), "is there twice"),
    "a file in other letters": (tar_with(tarfile.TarInfo("grid/GOOD.png")), "differ in spelling alone"),
    "a folder in other letters": (tar_with(tarfile.TarInfo("GRID/other.png")), "differ in spelling alone"),
    "a file in other code points": (
        tar_with(tarfile.TarInfo("grid/caf\u00e9"), tarfile.TarInfo("grid/cafe\u0301")),
        "differ in spelling alone",
    ),
    "a control character": (tar_with(tarfile.TarInfo("grid/\x1b[2Jx.png")), "not every file system can hold"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_must_not_be_unpacked_is_refused(tmp_path, what):
    make, message = REFUSED[what]
    (tmp_path / "victim").write_text("mine")
    archive = make(tmp_path)
    with pytest.raises(ArchiveError) as caught:
        unpack(archive, tmp_path / "out")
    assert message in str(caught.value)
    assert str(caught.value).isprintable()
    assert caught.value.hint
    assert {path.name for path in tmp_path.iterdir()} <= {"victim", "out", archive.name}
    assert (tmp_path / "victim").read_text() == "mine"
    assert not [
        path for path in (tmp_path / "out").rglob("*") if not path.is_dir() and not stat.S_ISREG(path.lstat().st_mode)
    ]


def test_what_is_refused_is_refused_even_if_it_is_not_wanted(tmp_path):
    archive = tar_of(tmp_path / "evil.tar", tarfile.TarInfo("../evil.png"))
    with pytest.raises(ArchiveError, match="leads out"):
        unpack(archive, tmp_path / "out", wanted=lambda path: False)


def test_a_hard_link_to_an_earlier_file_is_a_file_of_its_own(tmp_path):
    unpack(tar_of(tmp_path / "a.tar", special("grid/same.png", tarfile.LNKTYPE, "./grid/good.png")), tmp_path / "out")
    assert files(tmp_path / "out") == {"grid/good.png": b"content", "grid/same.png": b"content"}
    (tmp_path / "out/grid/same.png").write_bytes(b"other")
    assert (tmp_path / "out/grid/good.png").read_bytes() == b"content"


def test_an_encrypted_zip_is_refused(tmp_path):
    archive = pack(tmp_path / "a.zip", {"grid/000.png": b"secret"}, "zip")
    data = bytearray(archive.read_bytes())
    directory = data.index(b"PK\x01\x02")
    data[6] |= 1
    data[directory + 8] |= 1
    archive.write_bytes(data)
    with pytest.raises(ArchiveError, match=r"grid/000\.png is encrypted"):
        unpack(archive, tmp_path / "out")


# --- bombs ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_limits(monkeypatch):
    monkeypatch.setattr(archives, "LEAST_LIMIT", 1 << 20)
    monkeypatch.setattr(archives, "MOST_EXTENSION", 1 << 16)


def written(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", ["tar.gz", "tar.xz", "tar.bz2", "deflated.zip", "lzma.zip"])
def test_an_archive_that_is_too_much_for_its_size_is_refused(tmp_path, small_limits, kind):
    archive = pack(tmp_path / "bomb", {f"{i}.png": bytes(300_000) for i in range(10)}, kind)
    assert archive.stat().st_size < 50_000
    with pytest.raises(ArchiveError, match=r"3\.png would make it more than 1\.0 MB"):
        unpack(archive, tmp_path / "out")
    assert written(tmp_path / "out") <= 1 << 20


def test_links_count_as_what_they_hold(tmp_path, small_limits):
    links = [special(f"{i}.png", tarfile.LNKTYPE, "grid/good.png") for i in range(40)]
    archive = tar_of(tmp_path / "bomb.tar", *links, content=bytes(100_000))
    with pytest.raises(ArchiveError, match="would make it more"):
        unpack(archive, tmp_path / "out")
    assert written(tmp_path / "out") <= 20 * archive.stat().st_size


@pytest.mark.parametrize("told", [10, 2_000_000])
def test_a_file_is_as_long_as_the_zip_said(tmp_path, told):
    archive = pack(tmp_path / "liar.zip", {"a.png": bytes(1_000_000)}, "deflated.zip")
    data = archive.read_bytes()
    archive.write_bytes(data.replace(struct.pack("<I", 1_000_000), struct.pack("<I", told)))
    assert archive.read_bytes() != data
    with pytest.raises(ArchiveError, match="damaged or cut short"):
        unpack(archive, tmp_path / "out")
    assert written(tmp_path / "out") <= told


def test_members_of_a_zip_that_share_their_bytes_are_refused(tmp_path, small_limits):
    archive = pack(tmp_path / "bomb.zip", {"a.png": bytes(300_000)}, "deflated.zip")
    data = archive.read_bytes()
    start, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    entries = b"".join(data[start:end].replace(b"a.png", name) for name in (b"b.png", b"c.png", b"d.png", b"a.png"))
    tail = bytearray(data[end:])
    tail[8:16] = struct.pack("<HHI", 4, 4, len(entries))
    archive.write_bytes(data[:start] + entries + tail)
    with pytest.raises(ArchiveError):
        unpack(archive, tmp_path / "out")
    assert written(tmp_path / "out") <= 1 << 20


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_MEMBERS", 3)
    archive = pack(tmp_path / "many.tar", {f"{i}.png": b"" for i in range(5)}, "tar")
    with pytest.raises(ArchiveError, match="comes after 3 others"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_header_that_would_fill_the_memory_is_refused(tmp_path, small_limits, form):
    with tarfile.open(tmp_path / "bomb.tar.xz", "w:xz", format=form) as tar:
        tar.addfile(tarfile.TarInfo("x" * 200_000))
    with pytest.raises(ArchiveError, match="a header of 200"):
        unpack(tmp_path / "bomb.tar.xz", tmp_path / "out")


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_that_is_cut_short_never_passes_for_a_whole_one(tmp_path, kind):
    members = {f"grid/test/bent/{i:03}.png": random.Random(i).randbytes(700 + 37 * i) for i in range(4)}
    whole = pack(tmp_path / "whole", members, kind).read_bytes()
    # The very ends, where nothing but an end mark is missing; block borders; and a sample of all others.
    cuts = {*range(1, 600, 13), *range(512, len(whole), 512), *random.Random(1).sample(range(len(whole)), 40)}
    if kind == "tar":
        # The second half of the end mark, and the padding after it, say nothing.
        cuts = {cut for cut in cuts if cut < len(whole.rstrip(b"\0")) + 1024}
    for cut in cuts:
        (tmp_path / "cut").write_bytes(whole[:cut])
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        with pytest.raises(ArchiveError):
            unpack(tmp_path / "cut", tmp_path / "out")


@pytest.mark.parametrize("kind", ["tar.gz", "tar.xz", "tar.bz2", "deflated.zip"])
def test_a_flipped_byte_is_noticed_or_changes_nothing(tmp_path, kind):
    members = {f"grid/{i}.png": random.Random(i).randbytes(500) for i in range(3)}
    whole = pack(tmp_path / "whole", members, kind).read_bytes()
    rng = random.Random(kind)
    # The last 22 bytes of a zip are its only account of how much there is, and have no checksum.
    for place in rng.sample(range(len(whole) - 22), 150):
        (tmp_path / "flipped").write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        try:
            unpack(tmp_path / "flipped", tmp_path / "out")
        except ArchiveError:
            continue
        assert files(tmp_path / "out") == members


def test_damage_in_a_header_of_a_plain_tar_is_noticed(tmp_path):
    archive = pack(tmp_path / "a.tar", {f"{i}.png": b"x" * 100 for i in range(4)}, "tar")
    data = bytearray(archive.read_bytes())
    data[2 * 1024 + 150] ^= 0xFF  # in the checksum of the third header
    archive.write_bytes(data)
    with pytest.raises(ArchiveError, match="it does not end as a tar does"):
        unpack(archive, tmp_path / "out")


def test_a_zip_whose_directory_points_before_its_begin_is_damaged(tmp_path):
    archive = pack(tmp_path / "a.zip", {"a.png": b"x"}, "zip")
    data = bytearray(archive.read_bytes())
    place = data.index(b"PK\x05\x06") + 16
    data[place : place + 4] = struct.pack("<I", len(data) + 500)
    archive.write_bytes(data)
    with pytest.raises(ArchiveError, match="damaged or cut short"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "neither a zip nor a tar"),
        (b"just text\n" * 100, "neither a zip nor a tar"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(600), "neither a zip nor a tar"),
        (b"  <!DOCTYPE html><title>Log in</title>" + b" " * 600, "a web page, not an archive"),
        (b"PK\x03\x04" + bytes(600), "damaged or cut short"),
        (b"\xfd7zXZ\x00" + bytes(600), "damaged or cut short"),
    ],
)
def test_what_is_no_archive_is_called_what_it_is(tmp_path, content, message):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ArchiveError, match=message):
        unpack(tmp_path / "file", tmp_path / "out")


def test_an_unknown_compression_is_named(tmp_path):
    archive = pack(tmp_path / "a.zip", {"a.png": b"x"}, "zip")
    data = bytearray(archive.read_bytes())
    data[8] = data[data.index(b"PK\x01\x02") + 10] = 9  # deflate64, which Windows uses for large files
    archive.write_bytes(data)
    with pytest.raises(ArchiveError, match="packed in a way that Python cannot unpack"):
        unpack(archive, tmp_path / "out")


# --- choice -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tar.xz", "zip"])
def test_junk_is_left_out_and_counted(tmp_path, kind):
    junk = ["__MACOSX/grid/._000.png", "grid/.DS_Store", "grid/._000.png", "Thumbs.db", "grid/desktop.ini"]
    archive = pack(tmp_path / "a", {"grid/000.png": b"image", **dict.fromkeys(junk, b"junk")}, kind)
    unpacked = unpack(archive, tmp_path / "out")
    assert files(tmp_path / "out") == {"grid/000.png": b"image"}
    assert (unpacked.files, unpacked.junk) == (1, len(junk))


def test_only_what_is_wanted_is_written(tmp_path):
    archive = pack(tmp_path / "a", {"grid/a.png": b"a", "carpet/b.png": b"b", "license.txt": b"c"}, "tar.gz")
    unpack(archive, tmp_path / "out", wanted=lambda path: path != PurePosixPath("carpet/b.png"))
    assert files(tmp_path / "out") == {"grid/a.png": b"a", "license.txt": b"c"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_it_will_take_is_known_beforehand_or_not_claimed(tmp_path, kind):
    archive = pack(tmp_path / "a", {"a.png": bytes(5000), "b.png": bytes(700)}, kind)
    size = unpacked_size(archive)
    if kind == "tar":
        assert size == archive.stat().st_size
    else:
        assert size == (5700 if kind in ZIP_METHODS else None)
