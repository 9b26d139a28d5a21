"""A run that would do the same again does nothing; whatever has changed, it is done anew."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mvtec_convert as mc
from mvtec_convert.api import CHANGES_NOTHING, ExportKeywords
from mvtec_convert.cli.app import run
from mvtec_convert.runs import fingerprints, records
from mvtec_convert.runs.placing import Placing
from mvtec_convert.runs.records import Records, Run
from tests.broken import damage, draw_image, draw_tree, save
from tests.test_cli import HEAVY
from tests.test_pipeline import EXPORTS, contents

MASK, IMAGE = "plate/ground_truth/cut/000_mask.png", "plate/test/cut/000.png"


@pytest.fixture
def source(tmp_path) -> Path:
    """A tree of which nothing has changed for a while."""
    draw_tree(tmp_path / "source")
    settle(tmp_path)
    return tmp_path / "source"


@pytest.fixture
def kept(tmp_path) -> Records:
    return Records(tmp_path / "records")


def settle(folder: Path, seconds: int = 60) -> None:
    """Let every file have been written a while ago."""
    then = time.time_ns() - seconds * 10**9
    for path in folder.rglob("*"):
        os.utime(path, ns=(then, then))


def export(source: Path, out: Path, kept: Records, **keywords) -> bool:
    """Whether there was nothing to do."""
    return mc.to_yolo(mc.load(source), out, records=kept, **keywords).is_up_to_date


@pytest.mark.parametrize("name", EXPORTS)
def test_a_second_run_does_nothing_and_tells_the_same(name, source, tmp_path, kept):
    first = EXPORTS[name](mc.load(source), tmp_path / "out", records=kept, balance="oversample")
    before = {path: path.stat() for path in [tmp_path / "out", *(tmp_path / "out").rglob("*")]}
    second = EXPORTS[name](mc.load(source), tmp_path / "out", records=kept, balance="oversample")
    assert {path: path.stat() for path in before} == before
    assert (first.is_up_to_date, second.is_up_to_date) == (False, True)
    assert second == first


def redraw(path: Path) -> None:
    """Another mask of the same size in bytes, written later."""
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if path.suffix == ".txt" else data)
    os.utime(path, ns=(0, path.stat().st_mtime_ns - 10**10))


CHANGES: dict[str, Callable[[Path, Path], object]] = {
    "a mask was drawn anew": lambda source, out: redraw(source / MASK),
    "an image was replaced": lambda source, out: redraw(source / IMAGE),
    "an image was added": lambda source, out: shutil.copy2(source / IMAGE, source / "plate/train/good/900.png"),
    "an image was removed": lambda source, out: (source / "plate/train/good/001.png").unlink(),
    "a label was edited": lambda source, out: redraw(next((out / "labels/train").glob("*cut*.txt"))),
    "a label was removed": lambda source, out: next((out / "labels/train").glob("*cut*.txt")).unlink(),
    "an image of the export was removed": lambda source, out: next((out / "images/val").iterdir()).unlink(),
    "data.yaml was removed": lambda source, out: (out / "data.yaml").unlink(),
    "a folder was emptied": lambda source, out: shutil.rmtree(out / "labels/val"),
    "the export was removed": lambda source, out: shutil.rmtree(out),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_has_changed_is_done_anew(change, source, tmp_path, kept):
    export(source, tmp_path / "out", kept)
    CHANGES[change](source, tmp_path / "out")
    assert not export(source, tmp_path / "out", kept)
    mc.to_yolo(mc.load(source), tmp_path / "fresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")
    assert export(source, tmp_path / "out", kept)


def test_what_a_trainer_leaves_is_no_change(source, tmp_path, kept):
    export(source, tmp_path / "out", kept)
    (tmp_path / "out/labels/train.cache").write_bytes(b"Ultralytics'")
    next((tmp_path / "out/images/train").iterdir()).with_suffix(".npy").write_bytes(b"Ultralytics', too")
    assert export(source, tmp_path / "out", kept)


def test_other_files_are_a_change_and_are_refused(source, tmp_path, kept):
    export(source, tmp_path / "out", kept)
    (tmp_path / "out/thesis.tex").write_text("years of work")
    with pytest.raises(mc.MvtecConvertError, match=r"thesis\.tex"):
        export(source, tmp_path / "out", kept)


OPTIONS = {
    "names": "single", "background": 0.5, "split": "official", "ratios": [0.5, 0.5], "seed": 1, "regions": "image",
    "merge_distance": 2.0, "min_area": 3, "threshold": 9, "images": "copy", "balance": "oversample",
    "repeat_threshold": 0.5, "skip_bad": True, "split_from": Path("splits.json"), "phrases": Path("phrases.json"),
}  # fmt: skip


def test_every_option_counts_but_those_that_change_nothing(source, kept, tmp_path):
    assert OPTIONS.keys() == ExportKeywords.__annotations__.keys() - CHANGES_NOTHING
    dataset = mc.load(source)
    questions = {Run(kept, dataset, tmp_path / "out", {name: value})._question for name, value in OPTIONS.items()}
    assert len({*questions, Run(kept, dataset, tmp_path / "out", {})._question}) == len(OPTIONS) + 1
    assert not export(source, tmp_path / "out", kept, jobs=1)
    assert export(source, tmp_path / "out", kept, jobs=3)
    assert not export(source, tmp_path / "out", kept, seed=5)


def test_a_selection_counts(source, tmp_path, kept):
    mc.to_coco(mc.load(source), tmp_path / "out", records=kept)
    part = mc.load(source).filter(defect_type=["good", "cut"])
    assert not mc.to_coco(part, tmp_path / "out", records=kept).is_up_to_date


def test_files_that_options_name_count_by_their_content(source, tmp_path, kept):
    mc.to_coco(mc.load(source), tmp_path / "first", seed=1)
    (tmp_path / "phrases.json").write_text('{"phrases": {"plate": {"cut": ["a cut"]}}}')
    given = {"split_from": tmp_path / "first", "phrases": tmp_path / "phrases.json"}
    assert not export(source, tmp_path / "out", kept, **given)
    assert export(source, tmp_path / "out", kept, **given)
    (tmp_path / "phrases.json").write_text('{"phrases": {"plate": {"cut": ["a gap"]}}}')
    assert not export(source, tmp_path / "out", kept, **given)
    mc.to_coco(mc.load(source), tmp_path / "first", seed=2)
    assert not export(source, tmp_path / "out", kept, **given)


def test_another_version_of_this_tool_does_it_anew(source, tmp_path, kept, monkeypatch):
    export(source, tmp_path / "out", kept)
    monkeypatch.setattr("mvtec_convert.runs.fingerprints.of_tool", lambda: "another")
    assert not export(source, tmp_path / "out", kept)


def test_files_that_were_changed_just_now_are_not_relied_on(source, tmp_path, kept):
    (source / IMAGE).touch()
    assert not export(source, tmp_path / "out", kept)
    assert not export(source, tmp_path / "out", kept)
    settle(source, seconds=5)
    assert not export(source, tmp_path / "out", kept)
    assert export(source, tmp_path / "out", kept)


def test_by_content_times_mean_nothing_and_a_swap_behind_our_back_is_seen(source, tmp_path, kept):
    by_content = Records(kept.folder, by_content=True)
    assert not export(source, tmp_path / "out", by_content)
    settle(source, seconds=300)
    assert export(source, tmp_path / "out", by_content)
    assert export(source, tmp_path / "out", kept)  # the new times were learnt
    settle(source, seconds=400)
    assert not export(source, tmp_path / "out", kept)
    label = next((tmp_path / "out/labels/train").glob("*cut*.txt"))
    before = label.stat()
    label.write_bytes(label.read_bytes().replace(b"0.", b"1.", 1))
    os.utime(label, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert export(source, tmp_path / "out", kept)
    assert not export(source, tmp_path / "out", by_content)
    assert label.read_bytes().count(b"1.") == 0


def test_fresh_does_it_again(source, tmp_path, kept):
    export(source, tmp_path / "out", kept)
    summary = mc.to_yolo(mc.load(source), tmp_path / "out", records=Records(kept.folder, fresh=True))
    assert (summary.is_up_to_date, summary.reused) == (False, 0)
    assert export(source, tmp_path / "out", kept)


def test_a_record_is_no_more_than_a_hint(source, tmp_path, kept, monkeypatch):
    export(source, tmp_path / "out", kept, balance="oversample")
    (record,) = kept.folder.glob("*.json")
    sound = record.read_bytes()
    odd = [b"", b"\xff", b"[]", b"null", b"{}", b"[" * 100_000, *(damage(sound, seed) for seed in range(30))]
    for data in odd:
        record.write_bytes(data)
        mc.to_yolo(mc.load(source), tmp_path / "out", records=kept, balance="oversample")
    document = json.loads(sound.split(b"\n")[1])
    monkeypatch.setattr(records, "seal", lambda data, key: b"sealed")  # so that what is told is looked at
    for name in document["summary"]:
        told = {**document, "summary": {**document["summary"], name: {"odd": []}}}
        record.write_text("sealed\n" + json.dumps(told))
        assert not export(source, tmp_path / "out", kept, balance="oversample"), name


@pytest.mark.skipif(sys.platform == "win32", reason="needs modes")
def test_a_record_that_others_may_have_written_is_not_read(source, tmp_path, kept):
    export(source, tmp_path / "out", kept)
    kept.folder.chmod(0o777)
    assert not export(source, tmp_path / "out", kept)


def test_where_nothing_can_be_remembered_everything_else_works(source, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for _ in range(2):
        assert not export(source, tmp_path / "out", Records(tmp_path / "file"))
    assert mc.validate(tmp_path / "out").errors == 0


def test_what_is_remembered_does_not_grow_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "MOST_FILES", 4)
    monkeypatch.setattr(records, "MOST_KEPT", 40)
    names = [f"{number:032x}.{suffix}" for number, suffix in enumerate(["json", "journal", "4711"] * 2)]
    foreign = {"letter.txt", "letter.json", names[0].upper().replace("0", "A")}
    for number, name in enumerate([*names, *sorted(foreign)]):
        (tmp_path / name).write_bytes(b"0123456789")
        os.utime(tmp_path / name, (number % 6, number % 6))
    (tmp_path / f"{9:032x}.json").symlink_to("nowhere")
    os.utime(tmp_path / f"{9:032x}.json", (0, 0), follow_symlinks=False)
    records.make_room(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*names[2:], *foreign}
    (tmp_path / names[5]).write_bytes(b"0" * 35)
    os.utime(tmp_path / names[5], (9, 9))
    records.make_room(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {names[5], *foreign}


def test_the_command_says_that_nothing_was_done_and_prints_the_same(source, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["coco", str(source), "-o", "out"]
    assert run(arguments) == 0
    first = capsys.readouterr()
    assert run(arguments) == 0
    second = capsys.readouterr()
    assert second.out == first.out
    assert first.err == ""
    assert "nothing has changed" in second.err
    assert run([*arguments, "--fresh"]) == 0
    assert capsys.readouterr() == first
    assert run([*arguments, "--hash"]) == 0
    assert run([*arguments, "--hash"]) == 0
    assert "nothing has changed" in capsys.readouterr().err


def test_a_run_with_nothing_to_do_imports_nothing_heavy(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(["coco", str(source), "-o", "out"]) == 0
    heavy = [name for name in HEAVY if name != "orjson"]
    code = (
        "import sys; from mvtec_convert.cli.app import run\n"
        f"assert run(['coco', {str(source)!r}, '-o', 'out']) == 0\n"
        f"print('LOADED', [name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "nothing has changed" in done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_a_damaged_file_that_was_skipped_is_looked_at_again_once_it_is_mended(source, tmp_path, kept):
    sound = (source / MASK).read_bytes()
    (source / MASK).write_bytes(b"no image")
    settle(source)
    assert not export(source, tmp_path / "out", kept, skip_bad=True)
    summary = mc.to_yolo(mc.load(source), tmp_path / "out", records=kept, skip_bad=True)
    assert summary.is_up_to_date
    assert [finding.path for finding in summary.skipped] == [str(source / MASK)]
    (source / MASK).write_bytes(sound)
    settle(source)
    assert mc.to_yolo(mc.load(source), tmp_path / "out", records=kept, skip_bad=True).skipped == []


# --- going on --------------------------------------------------------------------------------------------------------


class StoppedError(Exception):
    """What a test stops an export with."""


def stop_after(count: int) -> Callable[[int, int], None]:
    def progress(done: int, _: int) -> None:
        if done == count:
            raise StoppedError

    return progress


def stopped(name: str, source: Path, out: Path, kept: Records, count: int) -> None:
    with pytest.raises(StoppedError):
        EXPORTS[name](mc.load(source), out, records=kept, progress=stop_after(count), jobs=1)


@pytest.mark.parametrize("name", EXPORTS)
def test_what_was_done_is_not_done_again_and_the_result_is_that_of_a_fresh_run(name, source, tmp_path, kept):
    stopped(name, source, tmp_path / "out", kept, 6)
    assert not (tmp_path / "out").exists()
    summary = EXPORTS[name](mc.load(source), tmp_path / "out", records=kept)
    assert summary.reused == (6 if name != "medsam" else 0)  # which keeps pixels, too many to keep twice
    fresh = EXPORTS[name](mc.load(source), tmp_path / "fresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")
    assert (summary.splits, summary.fidelity) == (fresh.splits, fresh.fidelity)


def test_what_has_changed_since_is_done_again(source, tmp_path, kept):
    stopped("coco", source, tmp_path / "out", kept, 9)
    mask = source / MASK
    save(np.full((32, 40), 255, np.uint8), mask)
    os.utime(mask, ns=(0, mask.stat().st_mtime_ns - 10**10))
    summary = mc.to_coco(mc.load(source), tmp_path / "out", records=kept)
    assert 0 < summary.reused < 9
    mc.to_coco(mc.load(source), tmp_path / "fresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_after_a_whole_export_what_is_unchanged_is_taken_over(source, tmp_path, kept):
    mc.to_coco(mc.load(source), tmp_path / "out", records=kept)
    redraw(source / MASK)
    summary = mc.to_coco(mc.load(source), tmp_path / "out", records=kept)
    assert summary.reused == len(mc.load(source)) - 1


def test_other_options_begin_anew(source, tmp_path, kept):
    stopped("coco", source, tmp_path / "out", kept, 9)
    assert mc.to_coco(mc.load(source), tmp_path / "out", records=kept, simplify=0.9).reused == 0
    assert mc.to_coco(mc.load(source), tmp_path / "out", records=kept, min_area=2, simplify=0.9).reused == 0


def test_an_image_that_a_filter_empties_stays_out(source, tmp_path, kept):
    keywords = {"records": kept, "min_area": 1000, "regions": "component"}
    save(np.full((32, 40), 255, np.uint8), source / MASK)
    settle(source)
    first = mc.to_coco(mc.load(source), tmp_path / "out", **keywords)
    redraw(source / "plate/train/good/000.png")
    second = mc.to_coco(mc.load(source), tmp_path / "out", **keywords)
    assert second.reused
    assert second.left_out == first.left_out != []
    mc.to_coco(mc.load(source), tmp_path / "fresh", min_area=1000)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_a_damaged_journal_costs_time_and_nothing_else(source, tmp_path, kept):
    mc.to_coco(mc.load(source), tmp_path / "fresh")
    stopped("coco", source, tmp_path / "out", kept, 9)
    (journal,) = kept.folder.glob("*.journal")
    sound = journal.read_bytes()
    for seed in range(25):
        drawn = random.Random(seed)
        at = drawn.randrange(len(sound))
        odd = sound[:at] + drawn.choice([b"", b"\n", b"\xff\0", sound[:at], b"[" * 5000 + b"\n"]) + sound[at + 1 :]
        journal.write_bytes(drawn.choice([odd, sound[:at]]))
        mc.to_coco(mc.load(source), tmp_path / "out", records=kept)
        assert contents(tmp_path / "out") == contents(tmp_path / "fresh"), seed
        shutil.rmtree(tmp_path / "out")


def test_a_journal_of_what_once_was_is_not_kept_for_ever(source, tmp_path, kept):
    sizes = []
    for turn in range(8):
        settle(source, seconds=100 * (turn + 1))
        mc.to_coco(mc.load(source), tmp_path / "out", records=kept)
        sizes.append(sum(path.stat().st_size for path in kept.folder.glob("*.journal")))
    assert max(sizes) <= 2.1 * sizes[0]


@pytest.mark.parametrize(("name", "how"), [("a.png", "copy"), ("a.jpg", "link")])
def test_a_copy_that_a_killed_run_had_finished_is_taken_over(tmp_path, name, how):
    source, leftover, folder = tmp_path / "source.png", tmp_path / "leftover", tmp_path / "folder"
    draw_image(source)
    settle(tmp_path)
    made = Placing(leftover, how).place(source, name)
    assert (made is None) == (name == "a.png")
    written = (leftover / name).stat()
    assert written.st_mtime_ns == source.stat().st_mtime_ns
    assert Placing(folder, how, (leftover,)).place(source, name, again=True, made=made) == made
    assert (folder / name).stat().st_ino == written.st_ino
    assert not (leftover / name).exists()


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
@pytest.mark.parametrize("what", ["cut off", "of another image", "of another content", "a link", "by a link"])
def test_any_other_leftover_is_left_alone(tmp_path, what, name):
    source, leftover, folder = tmp_path / "source.png", tmp_path / "leftover", tmp_path / "folder"
    draw_image(source)
    settle(tmp_path)
    made = Placing(leftover, "copy").place(source, f"inner/{name}")
    whole = (leftover / "inner" / name).read_bytes()
    left = leftover / "inner" / name
    time = left.stat().st_mtime_ns
    if what == "cut off":  # the time is set last
        left.write_bytes(whole[:100])
    elif what == "of another image":
        os.utime(left, ns=(0, 10**18))
    elif what == "of another content":  # as a power cut leaves it
        left.write_bytes(bytes(len(whole)))
        os.utime(left, ns=(time, time))
    elif what == "a link":
        os.link(left, left.with_name("b.png"))
    else:
        (leftover / "inner").rename(tmp_path / "somebody's")
        (leftover / "inner").symlink_to(tmp_path / "somebody's")
    Placing(folder, "copy", (leftover,)).place(source, f"inner/{name}", again=True, made=made)
    assert (folder / "inner" / name).read_bytes() == whole
    assert left.exists()


def journal_of(source: Path, out: Path, kept: Records) -> Path:
    """That of an export which was stopped after nine images."""
    stopped("coco", source, out, kept, 9)
    (journal,) = kept.folder.glob("*.journal")
    return journal


def test_a_line_counts_only_where_it_was_written(source, tmp_path, kept):
    """Lines of other options, and lines with a checksum that anybody can make, must not get into an export."""
    mc.to_coco(mc.load(source), tmp_path / "fresh")
    journal = journal_of(source, tmp_path / "out", kept)
    first, *own = journal.read_bytes().splitlines(keepends=True)
    with pytest.raises(StoppedError):
        mc.to_coco(mc.load(source), tmp_path / "out", records=kept, simplify=0.5, progress=stop_after(9), jobs=1)
    foreign = journal.read_bytes().splitlines(keepends=True)[1:]
    assert foreign != own
    forged = []
    for line in own:
        body = line.split(b" ", 1)[1].replace(b"[32", b"[31")
        forged += [b"%08x " % zlib.crc32(body) + body, fingerprints.seal(body, first.split()[3].decode()) + b" " + body]
    for lines in (foreign, foreign + own, forged, forged[1:], [forged[1], *own]):
        journal.write_bytes(first + b"".join(lines))
        assert mc.to_coco(mc.load(source), tmp_path / "out", records=kept).reused == 0
        assert contents(tmp_path / "out") == contents(tmp_path / "fresh")
        shutil.rmtree(tmp_path / "out")
        next(kept.folder.glob("*.json")).unlink()


@pytest.mark.parametrize("make", [os.link, os.symlink])
def test_a_journal_that_is_another_file_too_is_not_written_to(make, source, tmp_path, kept):
    journal = journal_of(source, tmp_path / "out", kept)
    letter = tmp_path / "letter.txt"
    letter.write_text("years of work")
    journal.unlink()
    make(letter, journal)
    mc.to_coco(mc.load(source), tmp_path / "out", records=kept)
    assert letter.read_text() == "years of work"
    assert journal.lstat().st_ino != letter.stat().st_ino
    assert mc.to_coco(mc.load(source), tmp_path / "out", records=Records(kept.folder, fresh=False)).is_up_to_date


def test_a_record_that_was_changed_is_not_believed(source, tmp_path, kept):
    export(source, tmp_path / "out", kept)
    (record,) = kept.folder.glob("*.json")
    label = next((tmp_path / "out/labels/train").glob("*cut*.txt"))
    label.write_bytes(b"0 0.5 0.5 0.1 0.1\n")
    sealed, body = record.read_bytes().split(b"\n")
    document = json.loads(body)
    document["outputs"] = fingerprints.of_folder(tmp_path / "out", by_content=False).seen
    body = json.dumps(document).encode()
    for key in (sealed, fingerprints.seal(body, ""), fingerprints.seal(body, sealed.decode())):
        record.write_bytes(key + b"\n" + body)
        assert not export(source, tmp_path / "out", kept)
        label.write_bytes(b"0 0.5 0.5 0.1 0.1\n")
