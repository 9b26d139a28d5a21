"""Downloads from a server on this machine that cuts off, changes its mind, lies, and serves malicious archives."""

from __future__ import annotations

import hashlib
import io
import math
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import typer

import mvtec_convert
from mvtec_convert import downloads
from mvtec_convert.cli import download as command
from mvtec_convert.cli.app import make_app, run
from mvtec_convert.cli.options import USUAL_NAMES
from mvtec_convert.downloads import Download, Plan, placement, plan_download, transfer
from mvtec_convert.downloads.sources import Archive, Source, source_named, sources
from mvtec_convert.errors import (
    ArchiveError,
    DownloadError,
    MvtecConvertError,
    OutputError,
    SelectionError,
    size_in_words,
)
from mvtec_convert.layouts import load
from tests import publisher as manners
from tests.publisher import Publisher
from tests.trees import complete, make_tree

WHOLE = "mvtec_anomaly_detection.tar.xz"


@pytest.fixture
def server(monkeypatch) -> Iterator[Publisher]:
    monkeypatch.setattr(transfer, "PAUSE", 0.0)
    monkeypatch.setattr(transfer, "CHUNK", 1000)  # so that a part of small files is written before they break off
    with manners.publisher() as found:
        yield found


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.delenv("MVTEC_ROOT", raising=False)
    monkeypatch.setattr("platformdirs.user_data_path", lambda name: tmp_path / "user data" / name)


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def packed(tree: dict[str, bytes], mode: str = "w:xz", prefix: str = "") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as tar:
        for name, content in tree.items():
            header = tarfile.TarInfo(prefix + name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture
def tree(tmp_path) -> dict[str, bytes]:
    """MVTec AD in small: two of its categories, and noise that no compression makes smaller."""
    found = files(complete(tmp_path / "tree", ["carpet", "grid"]))
    noise = {f"{name}/noise.bin": random.Random(name).randbytes(18000) for name in ("carpet", "grid")}
    return {"license.txt": b"by-nc-sa", "readme.txt": b"read me", **found, **noise}


@pytest.fixture
def source(server, tree, monkeypatch) -> Source:
    """MVTec AD as its publisher offers it, if the publisher were this machine and it had two categories."""
    server.files = {WHOLE: packed(tree)}
    categories = {}
    for name in ("carpet", "grid"):
        content = packed({path: data for path, data in tree.items() if path.startswith(name)})
        server.files[f"{name}.tar.xz"] = content
        categories[name] = archive_of(server, f"{name}.tar.xz")
    found = replace(
        source_named("mvtec-ad"),
        page="https://publisher.example",
        archive=archive_of(server, WHOLE),
        categories=categories,
    )
    monkeypatch.setattr(downloads, "source_named", lambda key: found if key == "mvtec-ad" else source_named(key))
    return found


def archive_of(server: Publisher, path: str) -> Archive:
    content = server.files[path]
    return Archive(server.url(path), hashlib.sha256(content).hexdigest(), len(content))


def fetch_all(**options: Any) -> Download:
    return mvtec_convert.download(accept_licence=True, **options)


def nothing_is_left(folder: Path = Path()) -> bool:
    return not [path for path in folder.iterdir() if path.name.startswith(".")]


# --- a good publisher -------------------------------------------------------------------------------------------------


def test_a_download_is_the_dataset_where_the_commands_look_for_it(server, source, tree):
    done = fetch_all()
    assert done.folder == Path("mvtec_anomaly_detection")
    assert files(done.folder) == tree
    assert (done.added, done.present, done.layout, done.convertible) == (("carpet", "grid"), (), "mvtec_ad", True)
    assert [(used.name, used.sha256, used.published) for used in done.archives] == [
        (WHOLE, source.archive.sha256, True)
    ]
    assert [path.name for path in Path().iterdir()] == ["mvtec_anomaly_detection"]
    assert load(done.folder).categories == ("carpet", "grid")
    assert len(server.asked) == 1


def test_a_new_folder_appears_by_one_rename(server, source, monkeypatch):
    renamed, rename = [], Path.rename

    def watched(path: Path, target: Path) -> Path:
        renamed.append(target.name)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", watched)
    fetch_all()
    assert renamed == ["mvtec_anomaly_detection"]


def test_a_second_download_fetches_nothing(server, source):
    fetch_all()
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    done = mvtec_convert.download()  # nor is there a licence to accept
    assert (done.added, done.present, done.archives) == ((), ("carpet", "grid"), ())
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*")} == before
    assert len(server.asked) == 1


def test_a_category_comes_alone_from_its_own_archive_and_others_are_added(server, source, tree):
    assert fetch_all(category="grid").added == ("grid",)
    assert [path.name for path in Path("mvtec_anomaly_detection").iterdir()] == ["grid"]
    Path("mvtec_anomaly_detection/grid/mine.txt").write_text("mine")
    done = fetch_all(category=["carpet", "grid"])
    assert (done.added, done.present) == (("carpet",), ("grid",))
    assert [path for path, *_ in server.asked] == ["grid.tar.xz", "carpet.tar.xz"]
    assert Path("mvtec_anomaly_detection/grid/mine.txt").read_text() == "mine"
    assert set(files(done.folder)) == {*(name for name in tree if "/" in name), "grid/mine.txt"}
    assert nothing_is_left()
    assert nothing_is_left(done.folder)


def test_what_is_there_is_not_touched_when_the_rest_is_fetched(server, source, tree):
    make_tree(Path("mvtec_anomaly_detection/grid"), {"test/good": "000.png"})
    done = fetch_all()
    assert (done.added, done.present) == (("carpet",), ("grid",))
    assert [path for path, *_ in server.asked] == [WHOLE]
    there = files(done.folder)
    assert {name for name in there if name.startswith("grid")} == {"grid/test/good/000.png"}
    assert {name for name in there if name.startswith("carpet")} == {name for name in tree if name.startswith("carpet")}
    assert nothing_is_left(done.folder)


def test_without_an_archive_of_its_own_a_category_is_taken_from_the_whole(server, source, tree, monkeypatch):
    alone = replace(source, categories=dict.fromkeys(source.categories))
    monkeypatch.setattr(downloads, "source_named", lambda key: alone)
    assert plan_download(category="grid").fetches_more
    assert not plan_download().fetches_more
    assert fetch_all(category="grid").added == ("grid",)
    wanted = {name: content for name, content in tree.items() if not name.startswith("carpet")}
    assert files(Path("mvtec_anomaly_detection")) == wanted


def test_any_address_and_checksum_can_be_given(server, tree):
    server.files["moved/here"] = packed(tree, "w:gz")
    checksum = hashlib.sha256(server.files["moved/here"]).hexdigest()
    done = fetch_all(url=server.url("moved/here"), sha256=checksum.upper(), out="there", category=["carpet", "grid"])
    assert files(Path("there")) == tree
    assert done.archives[0].published


def test_a_redirect_is_followed(server, source, tree):
    server.files["new"] = server.files.pop(WHOLE)
    server.manners = [lambda request: request.answer(302, b"", Location="/new")]
    fetch_all()
    assert files(Path("mvtec_anomaly_detection")) == tree


def test_the_archive_can_be_kept(server, source):
    content = server.files[WHOLE]
    fetch_all(keep_archive=True)
    assert Path(WHOLE).read_bytes() == content
    with pytest.raises(OutputError, match="already there, and the archive would be kept"):
        fetch_all(keep_archive=True, out="elsewhere")
    assert Path(WHOLE).read_bytes() == content


def test_progress_tells_what_is_being_done_and_never_goes_back(server, source):
    seen: list[tuple[str, int, int | None]] = []
    fetch_all(progress=lambda *told: seen.append(told))
    stages = list(dict.fromkeys(what for what, *_ in seen))
    assert stages == ["Fetching MVTec AD", "Checking MVTec AD", "Unpacking MVTec AD"]
    for stage in stages:
        done = [count for what, count, _ in seen if what == stage]
        assert done == sorted(done)
    assert {total for *_, total in seen} == {source.archive.size}


def test_nobody_accepts_a_licence_by_accident(server, source):
    with pytest.raises(DownloadError, match=r"CC BY-NC-SA 4\.0 .*non-commercial.* has to be accepted"):
        mvtec_convert.download()
    assert server.asked == []


# --- going on ---------------------------------------------------------------------------------------------------------


def test_a_download_that_is_cut_off_goes_on_from_there(server, source, tree):
    server.manners = [manners.cut_after(5000), manners.cut_after(0), manners.cut_after(7000)]
    fetch_all()
    assert files(Path("mvtec_anomaly_detection")) == tree
    assert server.ranges == [None, "bytes=5000-", "bytes=5000-", "bytes=12000-"]
    assert [mark for *_, mark in server.asked] == [None, '"v1"', '"v1"', '"v1"']
    assert nothing_is_left()


def test_a_download_that_was_given_up_goes_on_in_the_next_run(server, source, tree):
    server.manners = [manners.cut_after(5000), *[manners.cut_after(0)] * transfer.ATTEMPTS]
    with pytest.raises(DownloadError, match="given up after 5 attempts: the connection broke off") as caught:
        fetch_all()
    assert caught.value.hint == "5 kB are kept: run it again to go on from there"
    assert not Path("mvtec_anomaly_detection").exists()
    server.asked.clear()
    fetch_all()
    assert files(Path("mvtec_anomaly_detection")) == tree
    assert server.ranges == ["bytes=5000-"]
    assert nothing_is_left()


CHILD = """
import sys, mvtec_convert
from mvtec_convert.downloads import transfer
transfer.CHUNK = 1000
mvtec_convert.download(url=sys.argv[1], sha256=sys.argv[2], category=["carpet", "grid"], accept_licence=True)
"""


@pytest.fixture
def _sends_a_part(server) -> Iterator[None]:
    """The publisher sends the beginning of the file, and nothing more until the test is over."""
    is_over = threading.Event()

    def begin(request: manners.Request) -> None:
        request.answer(200, request.content[:8000], Content_Length=len(request.content))
        is_over.wait(timeout=60)

    server.manners = [begin]
    yield
    is_over.set()


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.usefixtures("_sends_a_part")
def test_a_download_whose_process_was_killed_goes_on_in_the_next_run(server, tree):
    server.files[WHOLE] = packed(tree)
    url, checksum = server.url(WHOLE), hashlib.sha256(server.files[WHOLE]).hexdigest()
    child = subprocess.Popen([sys.executable, "-c", CHILD, url, checksum])
    while not any(path.stat().st_size for path in Path().rglob("*.part")):
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not Path("mvtec_anomaly_detection").exists()
    fetch_all(url=url, sha256=checksum, category=["carpet", "grid"])
    assert files(Path("mvtec_anomaly_detection")) == tree
    assert server.ranges[1] is not None
    assert nothing_is_left()


@pytest.mark.parametrize("stage", ["Checking", "Unpacking"])
def test_what_was_fetched_is_not_fetched_again_after_an_interruption(server, source, tree, stage):
    def interrupt(what: str, done: int, total: int | None) -> None:
        if what.startswith(stage):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_all(progress=interrupt)
    assert not Path("mvtec_anomaly_detection").exists()
    assert not list(Path().rglob("unpacked"))
    fetch_all()
    assert files(Path("mvtec_anomaly_detection")) == tree
    assert len(server.asked) == 1
    assert nothing_is_left()


def test_what_was_fetched_survives_an_interruption_of_its_check(server, source, tree, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pooch.core.hash_matches", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch_all()
    fetch_all()
    assert files(Path("mvtec_anomaly_detection")) == tree
    assert len(server.asked) == 1
    assert nothing_is_left()


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_what_a_killed_run_had_unpacked_is_never_taken_for_the_dataset(tmp_path, tree):
    many = {**tree, **{f"grid/more/{i:04}.bin": b"x" * 999 for i in range(3000)}}
    (tmp_path / "a.tar").write_bytes(packed(many, "w:"))
    code = "import sys, mvtec_convert; mvtec_convert.download(archive=sys.argv[1])"
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "a.tar")])
    while not any(Path().glob(".*/unpacked/grid/more/*")):
        assert child.poll() is None
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not Path("mvtec_anomaly_detection").exists()
    assert mvtec_convert.download(archive=tmp_path / "a.tar", category="carpet").added == ("carpet",)
    assert not any(name.startswith("grid") for name in files(Path("mvtec_anomaly_detection")))
    assert nothing_is_left()


def test_what_a_killed_run_was_checking_is_cleared(server, source, tree):
    work = Path(f".mvtec_anomaly_detection{placement.WORKSHOP}")
    work.mkdir()
    (work / "tmpabc").write_bytes(b"a link to the part")
    fetch_all()
    assert files(Path("mvtec_anomaly_detection")) == tree
    assert nothing_is_left()


def test_a_server_without_ranges_is_asked_from_the_begin_again(server, source, tree):
    server.manners = [manners.without_ranges_cut_after(6000), manners.without_ranges]
    fetch_all()
    assert files(Path("mvtec_anomaly_detection")) == tree
    assert server.ranges == [None, "bytes=6000-"]  # the checksum would have told a wrong rest


def test_a_file_that_changes_in_between_is_fetched_from_the_begin(server, tree):
    old, new = packed(tree), packed({**tree, "readme.txt": b"another"}, "w:gz")
    server.files["file"] = old

    def change(request: manners.Request) -> None:
        server.files["file"], server.etag = new, '"v2"'
        manners.well(request)

    server.manners = [manners.cut_after(5000), change]
    fetch_all(url=server.url("file"), category=["carpet", "grid"])
    assert files(Path("mvtec_anomaly_detection"))["readme.txt"] == b"another"
    assert server.asked[1][1:] == ("bytes=5000-", '"v1"')


@pytest.mark.parametrize("told", ["bytes 4000-8999/{size}", "bytes 5000-9999/10001", "nonsense", None])
def test_a_rest_that_does_not_fit_is_not_appended(server, source, tree, told):
    told = told and told.format(size=source.archive.size)
    server.manners = [manners.cut_after(5000), lambda request: request.answer(206, b"x" * 5000, Content_Range=told)]
    fetch_all()
    assert files(Path("mvtec_anomaly_detection")) == tree
    assert server.ranges == [None, "bytes=5000-", None]


def test_a_rest_of_another_version_is_not_appended_even_if_the_server_sends_it(server, source, tree):
    def careless(request: manners.Request) -> None:
        server.etag = '"v2"'
        told = f"bytes 5000-{len(request.content) - 1}/{len(request.content)}"
        request.answer(206, bytes(len(request.content) - 5000), Content_Range=told)

    server.manners = [manners.cut_after(5000), careless]
    fetch_all()
    assert files(Path("mvtec_anomaly_detection")) == tree


def test_without_a_mark_or_a_checksum_nothing_is_gone_on_with(server, tree):
    server.files["file"], server.etag = packed(tree), None
    server.manners = [manners.cut_after(5000)]
    fetch_all(url=server.url("file"), category="grid")
    assert server.ranges == [None, None]


def test_a_busy_server_is_asked_again(server, source, tree):
    server.manners = [manners.status(503), manners.status(429)]
    fetch_all()
    assert files(Path("mvtec_anomaly_detection")) == tree


# --- a bad publisher --------------------------------------------------------------------------------------------------


def failed(server: Publisher, error: type[MvtecConvertError], message: str, **options: Any) -> MvtecConvertError:
    """A download that must fail and leave nothing but, perhaps, a part to go on with."""
    with pytest.raises(error, match=message) as caught:
        fetch_all(**options)
    assert caught.value.hint
    assert not Path("mvtec_anomaly_detection").exists()
    assert not list(Path().rglob("unpacked"))
    return caught.value


def test_a_wrong_checksum_deletes_the_file(server, source):
    server.files[WHOLE] = bytes(len(server.files[WHOLE]))
    error = failed(server, DownloadError, f"does not match the known hash: expected {source.archive.sha256} but got ")
    assert error.path == source.archive.url
    assert "--sha256" in str(error.hint)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("surplus", [-100, 100])
def test_a_length_that_is_not_the_known_one_is_refused_before_anything_is_fetched(server, source, surplus):
    server.manners = [manners.saying_length(len(server.files[WHOLE]) + surplus)]
    failed(server, DownloadError, "the server has another file")
    assert list(Path().iterdir()) == []


def test_a_server_that_announces_more_than_it_has_is_given_up(server, tree):
    server.files["file"] = packed(tree)
    server.manners = [manners.saying_length(len(server.files["file"]) + 100) for _ in range(20)]
    failed(server, DownloadError, "given up after 5 attempts", url=server.url("file"), category="grid")
    assert len(server.asked) <= 2 * transfer.ATTEMPTS


def test_a_server_that_announces_less_than_it_has_gives_a_damaged_archive(server, tree):
    server.files["file"] = packed(tree)
    server.manners = [manners.saying_length(len(server.files["file"]) - 100)]
    failed(server, ArchiveError, "damaged or cut short", url=server.url("file"), category="grid")
    assert list(Path().iterdir()) == []
    fetch_all(url=server.url("file"), category="grid")  # it is not taken for fetched


def test_a_server_that_sends_no_length_is_believed_if_the_rest_is_right(server, source, tree):
    server.manners = [manners.without_length]
    fetch_all()
    assert files(Path("mvtec_anomaly_detection")) == tree


@pytest.mark.parametrize("code", [404, 410, 403, 401])
def test_a_file_that_is_gone_names_the_ways_on(server, source, code):
    server.manners = [manners.status(code)]
    error = failed(server, DownloadError, f"the server answers {code} ")
    for way in ("https://publisher.example", "--url", "--archive"):
        assert way in str(error.hint)
    assert len(server.asked) == 1
    assert list(Path().iterdir()) == []


def test_a_server_that_never_sends_a_byte_leaves_nothing(server, source):
    server.manners = [manners.cut_after(0)] * transfer.ATTEMPTS
    failed(server, DownloadError, "given up after 5 attempts")
    assert list(Path().iterdir()) == []


def test_a_web_page_in_place_of_a_file_is_called_one(server, source):
    server.manners = [manners.web_page]
    failed(server, DownloadError, "a web page, not with a file")


def test_a_server_out_of_reach_is_named_with_the_reason(monkeypatch):
    monkeypatch.setattr(transfer, "PAUSE", 0.0)
    with pytest.raises(DownloadError, match="refused") as caught:
        fetch_all(url="http://127.0.0.1:9/file")
    assert caught.value.path == "http://127.0.0.1:9/file"
    assert "--archive" in str(caught.value.hint)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "no url", "ftp://127.0.0.1/file", "http://"])
def test_only_http_is_fetched(url):
    with pytest.raises(DownloadError, match="cannot be fetched"):
        fetch_all(url=url)


def test_a_malicious_archive_writes_nothing(server, tmp_path, tree):
    (tmp_path / "victim").write_text("mine")
    server.files["evil"] = packed({**tree, "../victim": b"theirs"})
    error = failed(server, ArchiveError, "not unpacked: ../victim leads out", url=server.url("evil"), category="grid")
    assert error.path == server.url("evil")
    assert (tmp_path / "victim").read_text() == "mine"
    assert list(Path().iterdir()) == []


# --- the disk ---------------------------------------------------------------------------------------------------------


def test_the_disk_must_have_room_for_the_archive_and_what_is_in_it(server, source, monkeypatch):
    needed = math.ceil(source.archive.size * (1 + source.expansion))
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=needed - 1))
    error = failed(server, OutputError, f"about {size_in_words(needed)} are needed")
    assert "--out" in str(error.hint)
    assert list(Path().iterdir()) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=needed))
    fetch_all()


def test_the_part_that_is_here_needs_no_room(server, source, monkeypatch):
    server.manners = [manners.cut_after(20000), *[manners.cut_after(0)] * transfer.ATTEMPTS]
    failed(server, DownloadError, "given up")
    needed, usage = math.ceil(source.archive.size * (1 + source.expansion)), shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=needed - 20000))
    fetch_all()


def test_a_zip_says_itself_how_much_room_it_needs(tmp_path, tree, monkeypatch):
    zipped(tmp_path / "a.zip", tree)
    needed, usage = sum(map(len, tree.values())), shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=needed - 1))
    with pytest.raises(OutputError, match="are needed"):
        mvtec_convert.download(archive=tmp_path / "a.zip")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=needed))
    mvtec_convert.download(archive=tmp_path / "a.zip")


def test_a_folder_that_cannot_be_made_is_named(server, source):
    Path("file").write_text("")
    with pytest.raises(OutputError, match=r"cannot be written") as caught:
        fetch_all(out="file/folder")
    assert "--out" in str(caught.value.hint)


def test_two_downloads_into_one_folder_do_not_meet(server, source, tree):
    under_way = placement.workshop(Path("mvtec_anomaly_detection").resolve())
    with under_way, pytest.raises(OutputError, match="another download into this folder is under way"):
        fetch_all()
    fetch_all()
    assert files(Path("mvtec_anomaly_detection")) == tree


# --- an archive at hand -----------------------------------------------------------------------------------------------


def zipped(path: Path, members: dict[str, bytes], prefix: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(prefix + name, content)
    return path


@pytest.mark.parametrize("prefix", ["", "mvtec_anomaly_detection/", "archive/MVTec AD/data/"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_at_hand_is_unpacked_whatever_folders_are_around_it(tmp_path, tree, prefix, kind):
    junk = {"__MACOSX/._grid": b"junk", f"{prefix}grid/.DS_Store": b"junk"}
    members = {**{prefix + name: content for name, content in tree.items()}, **junk}
    archive = tmp_path / f"a.{kind}"
    if kind == "zip":
        zipped(archive, members)
    else:
        archive.write_bytes(packed(members))
    done = mvtec_convert.download(archive=archive)  # nothing is fetched, so there is nothing to accept
    assert files(Path("mvtec_anomaly_detection")) == tree
    assert (done.added, done.layout, done.convertible, done.junk) == (("carpet", "grid"), "mvtec_ad", True, 2)
    assert not done.archives[0].published
    assert archive.exists()
    assert nothing_is_left()


def test_a_category_is_taken_from_an_archive_at_hand(tmp_path, tree):
    archive = zipped(tmp_path / "a.zip", tree, "kaggle/")
    assert mvtec_convert.download(archive=archive, category="grid").added == ("grid",)
    assert {name.split("/")[0] for name in files(Path("mvtec_anomaly_detection"))} == {
        "grid",
        "license.txt",
        "readme.txt",
    }
    assert mvtec_convert.download(archive=archive, category="grid").present == ("grid",)
    with pytest.raises(ArchiveError, match="holds no category zipper"):
        mvtec_convert.download(archive=archive, category="zipper")
    assert mvtec_convert.download(archive=archive).added == ("carpet",)
    with pytest.raises(OutputError, match="already holds all"):
        mvtec_convert.download(archive=archive)


def test_the_published_archive_is_recognised_at_hand(source, server, tmp_path):
    (tmp_path / "by hand.tar.xz").write_bytes(server.files["grid.tar.xz"])
    done = mvtec_convert.download(archive=tmp_path / "by hand.tar.xz")
    assert done.archives[0].published
    with pytest.raises(DownloadError, match="its sha256 is"):
        mvtec_convert.download(archive=tmp_path / "by hand.tar.xz", sha256="0" * 64, out="other")
    assert not Path("other").exists()


@pytest.mark.parametrize(
    ("key", "members"),
    [
        ("loco", {"pushpins/train/good/000.png": b"x", "pushpins/validation/good/000.png": b"x"}),
        ("ad2", {"mvtec_ad_2/can/test_public/bad/000.png": b"x"}),
        ("visa", {"candle/Data/Images/Normal/0000.JPG": b"x", "split_csv/1cls.csv": b"object,split"}),
        ("btad", {"BTech_Dataset_transformed/01/train/ok/0000.bmp": b"x"}),
    ],
)
def test_a_dataset_is_put_in_place_whether_its_layout_is_known_or_not(tmp_path, key, members):
    done = mvtec_convert.download(key, archive=zipped(tmp_path / "a.zip", members))
    wanted = source_named(key)
    assert done.folder == Path(wanted.folder)
    assert done.layout == wanted.layout
    assert done.convertible == (
        wanted.layout in {path.stem for path in Path(mvtec_convert.__file__).parent.glob("layouts/*.py")}
    )
    depth = 1 if key in {"ad2", "btad"} else 0
    assert set(files(done.folder)) == {"/".join(name.split("/")[depth:]) for name in members}


def test_another_dataset_than_the_one_named_is_called_by_its_name(tmp_path):
    members = {f"{name}/Data/Images/Normal/0.JPG": b"x" for name in sources()["visa"].categories}
    with pytest.raises(ArchiveError, match="holds VisA, not MVTec AD") as caught:
        mvtec_convert.download(archive=zipped(tmp_path / "a.zip", members))
    assert caught.value.hint == "--dataset visa"
    assert list(Path().iterdir()) == []


def test_own_data_in_a_known_layout_is_recognised(tmp_path):
    tree = files(complete(tmp_path / "own", ["felt"]))
    done = mvtec_convert.download(archive=zipped(tmp_path / "a.zip", tree, "parts/"), out="mine")
    assert (done.added, done.layout) == (("felt",), "mvtec_ad")
    assert files(Path("mine")) == tree


def test_an_archive_without_a_dataset_is_refused(tmp_path):
    with pytest.raises(ArchiveError, match="holds no dataset: no category of MVTec AD"):
        mvtec_convert.download(archive=zipped(tmp_path / "a.zip", {"holiday/beach.jpg": b"x"}))
    assert list(Path().iterdir()) == []


def test_a_folder_of_something_else_is_left_alone(server, source, tmp_path, tree):
    Path("photos").mkdir()
    Path("photos/beach.jpg").write_bytes(b"x")
    for options in ({}, {"archive": zipped(tmp_path / "a.zip", tree)}):
        with pytest.raises(OutputError, match="already there, and no folder of MVTec AD"):
            fetch_all(out="photos", **options)
    assert files(Path("photos")) == {"beach.jpg": b"x"}
    assert server.asked == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": "visia"}, "did you mean 'visa'"),
        ({"category": "gird"}, "did you mean 'grid'"),
        ({"sha256": "abc"}, "64 hexadecimal digits"),
        ({"archive": "missing.zip"}, "missing.zip: no such file"),
        ({"archive": __file__, "url": "http://127.0.0.1/"}, "exclude each other"),
        ({"category": ["grid", "carpet"], "sha256": "0" * 64}, "one sha256 for 2 archives"),
    ],
)
def test_options_that_make_no_sense_say_why(options, message):
    with pytest.raises(SelectionError) as caught:
        fetch_all(**options)
    assert message in str(caught.value)


# --- the published sources --------------------------------------------------------------------------------------------


def test_the_sources_are_complete():
    for source in sources().values():
        archives = [archive for archive in (source.archive, *source.categories.values()) if archive]
        assert all(archive.url.startswith("https://") for archive in archives)
        assert len({archive.url for archive in archives}) == len(archives)
        checksums = [archive.sha256 for archive in archives if archive.sha256]
        assert all(len(text) == 64 and int(text, 16) for text in checksums)
        assert len(set(checksums)) == len(checksums)
        assert source.archive.sha256
        assert source.archive.size
        assert source.licence.url.startswith("https://creativecommons.org/licenses/")
        assert source.expansion >= 1
        assert not Path(source.folder).parts[1:]
    assert sources()["mvtec-ad"].folder in USUAL_NAMES
    assert all(archive and archive.sha256 for archive in sources()["mvtec-ad"].categories.values())


def test_the_command_offers_every_source_and_knows_its_size():
    option = get_type_hints(command.download, include_extras=True)["dataset"]
    assert get_args(get_args(option)[0]) == tuple(sources())
    for key, source in sources().items():
        assert f"{key}: {source.title}, {size_in_words(source.archive.size or 0)}" in option.__metadata__[0].help


def test_a_plan_says_how_much_it_fetches():
    size = sources()["mvtec-ad"].archive.size
    assert plan_download().size == size
    assert plan_download(category="cable").size is None
    assert plan_download(category=["bottle", "grid"]).size == 155_880_244 + 160_763_852
    own: Plan = plan_download(category="bottle")
    assert not own.fetches_more
    assert plan_download("visa", category="candle").fetches_more


def test_the_commands_of_the_readme_are_ones_that_the_command_takes():
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"^mvtec-convert (download.*)$", readme, flags=re.MULTILINE)
    assert len(shown) == 3
    for line in shown:
        name, *arguments = shlex.split(line)
        typer.main.get_command(make_app()).commands[name].make_context(name, arguments)  # exits where it takes them not


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_fetches_says_what_it_did_and_the_next_one_finds_it(server, source, capsys, tmp_path):
    assert run(["download", "--accept-licence"]) == 0
    shown = capsys.readouterr()
    assert "MVTec AD is not part of this tool. It is under CC BY-NC-SA 4.0" in shown.err
    assert "added     carpet, grid" in shown.out
    assert f"sha256 {source.archive.sha256}, as it should be" in shown.out
    assert "next      mvtec-convert stats mvtec_anomaly_detection" in shown.out
    assert run(["coco"]) == 0
    assert "mvtec_anomaly_detection-coco" in capsys.readouterr().out
    assert run(["download"]) == 0
    assert "present   carpet, grid; not fetched again" in capsys.readouterr().out


def test_the_licence_is_accepted_once_for_each_dataset(server, source, capsys, tmp_path):
    assert run(["download", "-c", "grid"]) == 2
    shown = capsys.readouterr().err
    assert "the licence of MVTec AD has not been accepted" in shown
    assert "--accept-licence" in shown
    assert "https://creativecommons.org/licenses/by-nc-sa/4.0/" in shown
    assert server.asked == []
    assert run(["download", "-c", "grid", "--accept-licence"]) == 0
    capsys.readouterr()
    assert run(["download", "-c", "carpet"]) == 0
    assert "creativecommons" not in capsys.readouterr().err
    assert run(["download", "--dataset", "visa", "--url", server.url("none")]) == 2
    assert "the licence of VisA has not been accepted" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["", "nonsense", '{"mvtec-ad": 1}', "[]"])
def test_a_damaged_record_of_licences_asks_again(server, source, tmp_path, damage):
    record = tmp_path / "user data/mvtec-convert/licences.json"
    record.parent.mkdir(parents=True)
    record.write_text(damage)
    assert run(["download"]) == 2
    assert run(["download", "--accept-licence"]) == 0
    assert run(["download", "-o", "again"]) == 0


PERSON = """
import platformdirs, pathlib, sys
platformdirs.user_data_path = lambda name: pathlib.Path("user")
from mvtec_convert.cli.app import run
sys.exit(run(["download", "--url", sys.argv[1], "--sha256", sys.argv[2], "-c", "carpet", "-c", "grid"]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(("reply", "code"), [("y", 0), ("n", 2), ("", 2)])
def test_a_person_at_a_terminal_is_asked(server, tree, reply, code):
    import pty

    server.files["file"] = packed(tree)
    checksum = hashlib.sha256(server.files["file"]).hexdigest()
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", PERSON, server.url("file"), checksum],
        stdin=theirs,
        stderr=theirs,
        stdout=subprocess.DEVNULL,
    )
    os.close(theirs)
    shown = b""
    while b"Do you accept this licence?" not in shown:
        shown += os.read(ours, 1000)
    os.write(ours, f"{reply}\n".encode())
    try:
        while part := os.read(ours, 1000):
            shown += part
    except OSError:  # how Linux says that the other side is closed
        pass
    os.close(ours)
    assert child.wait() == code
    assert Path("mvtec_anomaly_detection").exists() == (code == 0)
    assert (b"has not been accepted" in shown) == (code != 0)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
@pytest.mark.usefixtures("_sends_a_part")
def test_ctrl_c_keeps_the_part_and_shows_no_traceback(server, tree):
    server.files["file"] = packed(tree)
    code = "import sys; from mvtec_convert.cli.app import run; from mvtec_convert.downloads import transfer\n"
    code += "transfer.CHUNK = 1000\n"
    code += "sys.exit(run(['download', '--accept-licence', '--url', sys.argv[1], '-c', 'grid']))"
    child = subprocess.Popen(
        [sys.executable, "-c", code, server.url("file")],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HOME": "."},
    )
    while not any(path.stat().st_size for path in Path().rglob("*.part")):
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    shown = child.communicate(timeout=60)[1]
    assert child.returncode == 130
    assert "Traceback" not in shown
    assert "what was fetched is kept; run the same again to go on from there" in shown
    assert [path.suffix for path in Path().rglob("*.part")] == [".part"]


def test_the_command_says_when_it_must_fetch_more_than_was_asked_for(server, source, monkeypatch, capsys):
    alone = replace(source, categories=dict.fromkeys(source.categories))
    monkeypatch.setattr(downloads, "source_named", lambda key: alone)
    assert run(["download", "--accept-licence", "-c", "grid"]) == 0
    size = size_in_words(source.archive.size or 0)
    assert f"MVTec AD comes in one archive: all of it, {size}, is fetched for grid" in capsys.readouterr().err


def test_the_command_unpacks_an_archive_at_hand(tmp_path, capsys):
    members = {f"BTech_Dataset_transformed/{name}/train/ok/0000.bmp": b"x" for name in ("01", "02")}
    archive = zipped(tmp_path / "btad.zip", {**members, "__MACOSX/._x": b"junk"})
    assert run(["download", "--dataset", "btad", "--archive", str(archive)]) == 0
    shown = capsys.readouterr().out
    assert "added     01, 02" in shown
    assert "left out  1 file of file managers" in shown
    assert "btad.zip: sha256" in shown
    assert "layout    btad" in shown
