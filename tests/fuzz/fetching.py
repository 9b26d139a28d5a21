"""What a download that was cut off left: parts of archives, the facts about them, and what else lies in its folder."""

from __future__ import annotations

import atexit
import hashlib
import io
import json
import os
import shutil
import tarfile
from contextlib import ExitStack
from pathlib import Path
from random import Random

from mvtec_convert import downloads
from mvtec_convert.downloads import transfer
from mvtec_convert.downloads.placement import LOCK, UNPACKED, WORKSHOP
from mvtec_convert.errors import MvtecConvertError
from tests import publisher
from tests.fuzz import valid
from tests.fuzz.mutations import OUTSIDE, blind, damaged
from tests.fuzz.reruns import contents, remove

NAME = "plates.tar"


class Fetching:
    """Downloads from a server on this machine, each of which finds what another is said to have left."""

    def __init__(self, folder: Path) -> None:
        self._out, self._aside = folder / "place" / "data", folder / "aside"
        self._server = ExitStack()

    def prepare(self) -> None:
        transfer.PAUSE = 0.0
        self._aside.mkdir(parents=True)
        atexit.register(self._server.close)
        self._publisher = self._server.enter_context(publisher.publisher())
        image = valid.images()["grey.png"]
        self._wanted = {f"carpet/{name}/000.png": image for name in ("train/good", "test/good")}
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as tar:
            for name, content in self._wanted.items():
                header = tarfile.TarInfo(name)
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content))
        self._archive = stream.getvalue()
        self._publisher.files[NAME] = self._archive
        url = self._publisher.url(NAME)
        self._part = f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{NAME}"
        self._facts = json.dumps({"url": url, "validator": '"v1"', "size": len(self._archive)}).encode()

    def damage(self, random: Random) -> str:
        (self._aside / "tmp-letters").mkdir()
        (self._aside / "tmp-letter.txt").write_bytes(b"years of work")
        (self._aside / UNPACKED).mkdir()
        (self._aside / UNPACKED / "draft.txt").write_bytes(b"years of work")
        self._before = contents(self._aside)
        beside, inside = self._out.with_name(f".{self._out.name}{WORKSHOP}"), self._out / WORKSHOP
        work = random.choice((beside, beside, inside))
        if random.random() < 0.05:
            work.parent.mkdir(parents=True)
            return f"the folder is {self._odd(work, random)}"
        work.mkdir(parents=True)
        cut = random.choice((0, 1, 1000, len(self._archive) - 1, len(self._archive), random.randrange(20_000)))
        part = self._archive[:cut]
        (work / f"{self._part}.part").write_bytes(blind(random, part) if random.random() < 0.5 else part)
        facts = damaged(random, self._facts, ".json") if random.random() < 0.7 else self._facts
        (work / f"{self._part}.part.json").write_bytes(facts)
        told = [f"{cut} bytes", ascii(facts[:200])]
        names = (f"{self._part}.part", f"{self._part}.part.json", self._part, UNPACKED, "tmp1", LOCK, "notes.txt")
        for name in random.sample(names, random.choice((0, 0, 1, 2))):
            told.append(f"{name}: {self._odd(work / name, random)}")
        return ", ".join(told)

    def _odd(self, path: Path, random: Random) -> str:
        remove(path)
        kind = random.randrange(6)
        letter = self._aside / "tmp-letter.txt"
        if kind == 0:
            path.mkdir()
            return "a folder"
        if kind == 1:
            os.mkfifo(path)
            return "a pipe"
        if kind in (2, 3):
            target = random.choice((letter, self._aside, Path("nowhere"), self._aside / "new", Path(OUTSIDE[0])))
            path.symlink_to(target)
            return f"a link to {target.name}"
        if kind == 4:
            os.link(letter, path)
            return "the same file as a letter"
        path.write_bytes(self._archive[::-1])
        return "another file"

    def read(self, random: Random) -> str:
        """Download into the place; the sha256 is known, so it is the archive or it is refused."""
        digest = hashlib.sha256(self._archive).hexdigest()
        outcome = "read"
        try:
            downloads.download(
                "mvtec-ad", self._out, category="carpet", url=self._publisher.url(NAME), sha256=digest,
                accept_licence=True,
            )  # fmt: skip
            found = {name: content for name, content in contents(self._out).items() if WORKSHOP not in name}
            assert found == self._wanted, sorted(found)
        except MvtecConvertError:
            assert not (self._out / "carpet").exists()
            outcome = "refused"
        assert contents(self._aside) == self._before, sorted(contents(self._aside))
        return outcome

    def restore(self) -> None:
        self._publisher.asked.clear()
        for folder in (self._out.parent, self._aside):
            shutil.rmtree(folder, ignore_errors=True)
        self._aside.mkdir()
