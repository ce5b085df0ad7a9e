"""Fetching Pascal VOC and SBD, from a server on this machine with small archives."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from scipy.io import savemat
from scipy.sparse import csc_matrix
from typer.testing import CliRunner

from components.segmentation_example_gen.pairs import Pair, read_pair
from components.segmentation_example_gen.sources import DATA
from pipeline import download
from pipeline.commands import main
from pipeline.commands.options import CommandError
from pipeline.datasets import fetch_voc
from pipeline.datasets.synthetic_voc import write_devkit
from pipeline.download import Archive, FetchError
from schema.labels import VOC2012, VOC_PALETTE

COUNTS = {"train": 3, "val": 2, "train_aug": 5, "train_aug_val": 7}
"""Of the archives made here: pictures 1 to 3 are VOC's train, 4 and 5 its val, 6 and 7 have masks of SBD only."""
SBD_LISTS = {"train": ("2012_000006", "2012_000004", "2012_000001"), "val": ("2012_000007", "2012_000005")}
SBD_LABEL = 20
"""Fills the masks of SBD; the generated ones of VOC have several classes, and void."""
UNPACKED = "VOCdevkit/VOC2012"


def read_split(root: Path, name: str, masks: str) -> list[Pair]:
    listing = DATA.validate_python({"splits": {"train": {"list": name, "masks": masks}}}).list_split(str(root), "train")
    assert listing.problems == []
    return listing.pairs


@dataclass
class Server:
    """What the server on this machine holds, how it misbehaves, and what it was asked."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    shifted: bool = False
    """Answers with other bytes than asked for."""
    cuts: list[int] = field(default_factory=list)
    """Bytes after which it breaks off each answer to come; then it does so no more."""
    codes: list[int] = field(default_factory=list)
    """What it answers before anything else."""
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and Range header."""
    sent: int = 0


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "WAITS_S", (0, 0))
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = self.headers.get("Range")
            state.requests.append((self.path, wanted))
            content = state.files.get(self.path)
            if state.codes or content is None:
                self.send_error(state.codes.pop(0) if state.codes else 404)
                return
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and state.ranges else 0
            if start and start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                start -= state.shifted
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            body = content[start:][: state.cuts.pop(0) if state.cuts else None]
            self.wfile.write(body)
            state.sent += len(body)

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        state.url = f"http://127.0.0.1:{listening.server_port}"
        yield state
        listening.shutdown()
        thread.join()


def archive_of(content: bytes, name: str, *urls: str) -> Archive:
    return Archive(name, hashlib.md5(content).hexdigest(), urls)


def tar_of(folder: Path, mode: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as archive:
        for file in sorted(folder.iterdir()):
            archive.add(file, file.name)
    return made.getvalue()


@pytest.fixture(scope="module")
def voc_tar(tmp_path_factory) -> bytes:
    folder = tmp_path_factory.mktemp("voc")
    root = write_devkit(folder, train=5, val=2)
    (root / "generated.json").unlink()
    for name, ids in {"train": (1, 2, 3), "val": (4, 5)}.items():
        (root / "ImageSets/Segmentation" / f"{name}.txt").write_text("".join(f"2012_{i:06d}\n" for i in ids))
    for number in (6, 7):
        (root / f"SegmentationClass/2012_{number:06d}.png").unlink()
    return tar_of(folder, "w")


@pytest.fixture(scope="module")
def sbd_folder(tmp_path_factory, voc_tar) -> Path:
    """SBD, unpacked, with a mask for each id of its lists, and what nobody needs: pictures, and a link."""
    folder = tmp_path_factory.mktemp("sbd")
    dataset = folder / "benchmark_RELEASE" / "dataset"
    (dataset / "cls").mkdir(parents=True)
    (dataset / "img").mkdir()
    (dataset / "inst").symlink_to("/tmp")
    with tarfile.open(fileobj=io.BytesIO(voc_tar)) as voc:
        for name, ids in SBD_LISTS.items():
            (dataset / f"{name}.txt").write_text("".join(f"{i}\n" for i in ids))
            for i in ids:
                picture = voc.extractfile(f"{UNPACKED}/JPEGImages/{i}.jpg").read()
                (dataset / "img" / f"{i}.jpg").write_bytes(picture)
                mask = np.full(Image.open(io.BytesIO(picture)).size[::-1], SBD_LABEL, np.uint8)
                write_mat(dataset / "cls" / f"{i}.mat", mask)
    return folder


def write_mat(file: Path, mask: np.ndarray) -> None:
    """As SBD does: beside the mask, the boundaries of each class, sparse."""
    boundaries = np.empty((20, 1), object)
    boundaries[:, 0] = [csc_matrix((4, 5), dtype=float) for _ in range(20)]
    truth = {"Boundaries": boundaries, "Segmentation": mask, "CategoriesPresent": [SBD_LABEL]}
    savemat(file, {"GTcls": truth}, do_compression=True)


@pytest.fixture(scope="module")
def sbd_tgz(sbd_folder) -> bytes:
    return tar_of(sbd_folder, "w:gz")


@dataclass
class Fetch:
    """Fetches from the server into a folder, and remembers what was said."""

    directory: Path
    voc: Archive
    sbd: Archive
    said: io.StringIO = field(default_factory=io.StringIO)

    def __call__(self, **changed) -> Path:
        arguments = {"voc": self.voc, "sbd": self.sbd, "counts": COUNTS} | changed
        return fetch_voc.fetch_voc2012(self.directory, Console(file=self.said, soft_wrap=True), **arguments)

    @property
    def files(self) -> set[str]:
        """Every file and folder below, the devkit's own left out."""
        names = {str(file.relative_to(self.directory)) for file in self.directory.rglob("*")}
        return {name for name in names if not name.startswith(UNPACKED)}


@pytest.fixture
def fetch(server, voc_tar, sbd_tgz, tmp_path) -> Fetch:
    server.files = {"/voc.tar": voc_tar, "/sbd.tgz": sbd_tgz}
    return Fetch(
        tmp_path / "data",
        archive_of(voc_tar, "voc.tar", f"{server.url}/voc.tar"),
        archive_of(sbd_tgz, "sbd.tgz", f"{server.url}/sbd.tgz"),
    )


def test_the_archive_becomes_a_devkit(fetch):
    root = fetch()
    assert root == fetch.directory / UNPACKED
    assert [pair.id for pair in read_split(root, "val", "SegmentationClass")] == ["2012_000004", "2012_000005"]
    for pair in read_split(root, "train", "SegmentationClass"):
        read_pair(pair, VOC2012)
    assert fetch.files == {"voc.tar", "VOCdevkit"}
    assert "voc.tar is no longer needed" in fetch.said.getvalue()
    assert "\x1b" not in fetch.said.getvalue()


def test_a_terminal_shows_how_far_it_is(fetch):
    fetch_voc.fetch_voc2012(
        fetch.directory, Console(file=fetch.said, force_terminal=True, width=200), voc=fetch.voc, counts=COUNTS
    )
    assert re.search(r"voc\.tar .*112\.6/112\.6 kB", fetch.said.getvalue())
    assert "unpacking voc.tar" in fetch.said.getvalue()


def test_a_second_run_does_nothing(fetch, server):
    root = fetch(with_sbd=True)
    before = {file: file.stat().st_mtime_ns for file in root.rglob("*")}
    server.requests.clear()
    for name in ("voc.tar", "sbd.tgz"):
        (fetch.directory / name).unlink()
    fetch.said.truncate(0)
    assert fetch(with_sbd=True) == root
    assert server.requests == []
    assert {file: file.stat().st_mtime_ns for file in root.rglob("*")} == before
    said = fetch.said.getvalue()
    assert "Pascal VOC 2012 is there already" in said
    assert "SegmentationClassAug: the masks of VOC and SBD are there already" in said


def test_a_broken_connection_is_resumed(fetch, server, voc_tar):
    server.cuts = [70_000, 20_000]
    fetch()
    assert server.requests == [("/voc.tar", wanted) for wanted in (None, "bytes=70000-", "bytes=90000-")]
    assert server.sent == len(voc_tar)
    assert f"broke off after 70,000 of {len(voc_tar):,} bytes; trying again in 0 s" in fetch.said.getvalue()


def test_as_long_as_something_comes_it_goes_on(fetch, server):
    server.cuts = [10_000] * (len(download.WAITS_S) + 3)
    assert fetch().is_dir()
    assert len(server.requests) == len(download.WAITS_S) + 4


def test_the_same_break_again_and_again_is_given_up(fetch, server):
    server.ranges = False
    server.cuts = [10_000] * 10
    with pytest.raises(FetchError, match="broke off after 10,000 of"):
        fetch()
    assert len(server.requests) == 1 + len(download.WAITS_S)


def test_the_next_run_resumes_what_the_last_one_left(fetch, server, voc_tar):
    server.cuts = [1000, 0, 0]
    with pytest.raises(FetchError, match=r"broke off after 1,000 of .* bytes\n"):
        fetch()
    assert fetch.files == {"voc.tar.part"}
    server.requests.clear()
    fetch()
    assert server.requests == [("/voc.tar", "bytes=1000-")]
    assert server.sent == len(voc_tar)
    assert fetch.files == {"voc.tar", "VOCdevkit"}


def test_a_whole_part_is_not_downloaded_again(fetch, server, voc_tar):
    fetch.directory.mkdir()
    (fetch.directory / "voc.tar.part").write_bytes(voc_tar)
    assert fetch().is_dir()
    assert server.sent == 0


def test_a_file_put_there_by_hand_is_used(fetch, server, voc_tar):
    fetch.directory.mkdir()
    (fetch.directory / "voc.tar").write_bytes(voc_tar)
    assert fetch().is_dir()
    assert server.requests == []


def test_a_wrong_file_put_there_is_replaced(fetch):
    fetch.directory.mkdir()
    (fetch.directory / "voc.tar").write_bytes(b"half of it")
    assert fetch().is_dir()
    assert f"voc.tar: found MD5 {hashlib.md5(b'half of it').hexdigest()}" in fetch.said.getvalue()


def test_a_server_without_ranges_begins_anew(fetch, server, voc_tar):
    server.ranges = False
    server.cuts = [70_000]
    fetch()
    assert [wanted for _, wanted in server.requests] == [None, "bytes=70000-"]
    assert server.sent == 70_000 + len(voc_tar)


def test_other_bytes_than_asked_for_are_not_appended(fetch, server):
    server.cuts = [1000]
    server.shifted = True
    with pytest.raises(FetchError, match="asked for bytes from 1000 on, the server answered with others"):
        fetch()


@pytest.mark.parametrize("code", [429, 503])
def test_a_busy_server_is_asked_again(fetch, server, code):
    server.codes = [code, code]
    assert fetch().is_dir()
    assert len(server.requests) == 3


def test_a_wrong_checksum_turns_to_the_next_mirror(fetch, server, voc_tar):
    server.files["/wrong/voc.tar"] = voc_tar[:-1] + b"x"
    fetch(mirrors=[f"{server.url}/wrong/"])
    assert server.requests == [("/wrong/voc.tar", None), ("/voc.tar", None)]


def test_a_wrong_checksum_everywhere(fetch, server):
    server.files["/voc.tar"] = b"another file"
    with pytest.raises(FetchError) as refused:
        fetch()
    found = hashlib.md5(b"another file").hexdigest()
    assert f"{server.url}/voc.tar: voc.tar: found MD5 {found}, wanted {fetch.voc.md5}" in str(refused.value)
    assert fetch.files == set()


def test_a_part_of_another_file_is_thrown_away(fetch, server, voc_tar):
    fetch.directory.mkdir()
    for content in (b"x" * 1000, b"x" * (len(voc_tar) + 1)):
        server.requests.clear()
        (fetch.directory / "voc.tar.part").write_bytes(content)
        download.download(fetch.voc, fetch.directory, (), Console(file=fetch.said))
        assert [wanted for _, wanted in server.requests] == [f"bytes={len(content)}-", None]
        (fetch.directory / "voc.tar").unlink()


def test_a_file_that_nobody_has(fetch, server):
    with pytest.raises(FetchError) as refused:
        fetch(mirrors=[f"{server.url}/a", f"{server.url}/b"], voc=replace(fetch.voc, name="gone.tar", urls=()))
    for folder in "ab":
        assert f"{server.url}/{folder}/gone.tar: the server answered 404 Not Found" in str(refused.value)
    assert "put the file into" in str(refused.value)
    assert len(server.requests) == 2


def test_a_server_that_is_not_there(fetch):
    with pytest.raises(FetchError, match="Connection refused"):
        fetch(voc=replace(fetch.voc, urls=("http://127.0.0.1:9/voc.tar",)))


def test_a_silent_server_is_given_up(fetch, server, monkeypatch):
    import socket

    monkeypatch.setattr(download, "TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/voc.tar"
        with pytest.raises(FetchError, match="timed out"):
            fetch(voc=replace(fetch.voc, urls=(url,)))


def test_mirrors_come_first_and_no_address_twice():
    archive = Archive("a.tar", "", ("http://one/a.tar", "http://two/a.tar"))
    addresses = download.addresses(archive, ["https://mine/data/", "http://two"])
    assert addresses == ["https://mine/data/a.tar", "http://two/a.tar", "http://one/a.tar"]
    with pytest.raises(FetchError, match="--mirror /tmp: it must begin with http"):
        download.addresses(archive, ["/tmp"])


def test_a_full_disk_is_told_before_the_download(fetch, server, monkeypatch):
    usage = download.shutil.disk_usage("/")
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(FetchError, match=r"0\.0 GB are free, the download wants 0\.0 GB; make room"):
        fetch()
    assert fetch.files == set()


def test_two_fetches_into_one_folder(fetch, server):
    fetch.directory.mkdir()
    other = os.open(fetch.directory, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(FetchError, match="another fetch is at work there"):
        fetch()
    os.close(other)
    assert server.requests == []


def hostile(voc_tar: bytes, name: str, kind: bytes, linkname: str = "") -> bytes:
    """The archive of VOC with one more member at its end."""
    made = io.BytesIO(voc_tar)
    with tarfile.open(fileobj=made, mode="a") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, linkname
        archive.addfile(member, io.BytesIO())
    return made.getvalue()


@pytest.mark.parametrize(
    ("name", "kind", "linkname", "told"),
    [
        ("../../../evil", tarfile.REGTYPE, "", "outside the destination"),
        (f"{UNPACKED}/../../../../evil", tarfile.REGTYPE, "", "outside the destination"),
        ("/tmp/evil", tarfile.REGTYPE, "", "'/tmp/evil' is an absolute name"),
        (f"{UNPACKED}/evil", tarfile.SYMTYPE, "../../../..", "is a link or a device"),
        (f"{UNPACKED}/evil", tarfile.SYMTYPE, "JPEGImages", "is a link or a device"),
        (f"{UNPACKED}/evil", tarfile.LNKTYPE, f"{UNPACKED}/ImageSets/Segmentation/val.txt", "is a link or a device"),
        (f"{UNPACKED}/evil", tarfile.CHRTYPE, "", "is a link or a device"),
        (f"{UNPACKED}/evil", tarfile.FIFOTYPE, "", "is a link or a device"),
    ],
)
def test_a_hostile_archive_leaves_nothing(fetch, server, voc_tar, tmp_path, name, kind, linkname, told):
    content = hostile(voc_tar, name, kind, linkname)
    server.files["/voc.tar"] = content
    with pytest.raises(FetchError, match=re.escape(told)) as refused:
        fetch(voc=archive_of(content, "voc.tar", f"{server.url}/voc.tar"))
    assert "nothing was unpacked" in str(refused.value)
    assert fetch.files == {"voc.tar"}
    assert [file.name for file in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("keep", [0.5, 0.0])
def test_an_archive_that_is_none(fetch, server, sbd_tgz, keep):
    content = sbd_tgz[: int(len(sbd_tgz) * keep)]
    server.files["/voc.tar"] = content
    with pytest.raises(FetchError, match="cannot be unpacked"):
        fetch(voc=archive_of(content, "voc.tar", f"{server.url}/voc.tar"))
    assert fetch.files == {"voc.tar"}


def test_an_archive_of_something_else(fetch, server, sbd_folder):
    content = tar_of(sbd_folder / "benchmark_RELEASE/dataset/cls", "w:gz")
    server.files["/other.tgz"] = content
    told = r"other.tgz: it is not Pascal VOC 2012 \(train.txt: found 0 pictures, wanted 3\)"
    with pytest.raises(FetchError, match=told):
        fetch(voc=archive_of(content, "other.tgz", f"{server.url}/other.tgz"))
    assert fetch.files == {"other.tgz"}


def test_an_interrupted_extraction_leaves_nothing(fetch, server, monkeypatch):
    extract = tarfile.TarFile.extract
    left = 5

    def interrupted(*arguments, **named):
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt
        return extract(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(tarfile.TarFile, "extract", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch()
    assert left == 0
    assert fetch.files == {"voc.tar"}
    assert fetch().is_dir()
    assert len(server.requests) == 1


def test_what_a_killed_process_left_is_removed(fetch):
    remains = fetch.directory / "VOCdevkit" / ".VOC2012.unpacking" / UNPACKED / "JPEGImages"
    remains.mkdir(parents=True)
    (remains / "remains.jpg").write_text("")
    root = fetch()
    assert not (root / "JPEGImages/remains.jpg").exists()
    assert fetch.files == {"voc.tar", "VOCdevkit"}


def test_other_data_are_not_overwritten(fetch, server):
    root = write_devkit(fetch.directory, train=2, val=1)
    before = {file: file.stat().st_mtime_ns for file in root.rglob("*")}
    told = r"VOC2012: other data are there; give another folder .* \(train.txt: found 2 pictures, wanted 3\)"
    with pytest.raises(FetchError, match=told):
        fetch()
    assert {file: file.stat().st_mtime_ns for file in root.rglob("*")} == before
    assert server.requests == []


def test_a_devkit_without_pictures_is_other_data(fetch):
    root = fetch()
    (root / "JPEGImages").rename(root / "Pictures")
    with pytest.raises(FetchError, match=r"other data are there.*\(there is no folder JPEGImages\)"):
        fetch()


def list_of(root: Path, name: str) -> list[str]:
    return (root / "ImageSets/Segmentation" / f"{name}.txt").read_text().splitlines()


def test_sbd_adds_masks_where_voc_has_none(fetch, voc_tar):
    root = fetch(with_sbd=True)
    assert list_of(root, "train_aug") == [f"2012_00000{i}" for i in (1, 2, 3, 6, 7)]
    assert list_of(root, "train_aug_val") == [f"2012_00000{i}" for i in range(1, 8)]
    masks = root / "SegmentationClassAug"
    assert sorted(file.name for file in masks.iterdir()) == [f"2012_00000{i}.png" for i in range(1, 8)]
    for i in range(1, 6):
        name = f"2012_00000{i}.png"
        assert (masks / name).read_bytes() == (root / "SegmentationClass" / name).read_bytes()
    for i in (6, 7):
        mask = Image.open(masks / f"2012_00000{i}.png")
        assert mask.mode == "P"
        assert mask.getpalette() == [channel for colour in VOC_PALETTE for channel in colour]
        assert np.unique(mask).tolist() == [SBD_LABEL]
    for pair in read_split(root, "train_aug_val", "SegmentationClassAug"):
        read_pair(pair, VOC2012)
    assert fetch.files == {"voc.tar", "sbd.tgz", "VOCdevkit"}
    assert not [file for file in root.iterdir() if file.name.startswith(".")]


def test_sbd_is_added_to_a_devkit_that_is_there(fetch, server):
    fetch()
    server.requests.clear()
    root = fetch(with_sbd=True)
    assert server.requests == [("/sbd.tgz", None)]
    assert len(list_of(root, "train_aug")) == COUNTS["train_aug"]


def test_the_union_leaves_the_official_val_out_of_train_aug():
    lists = fetch_voc.union_lists(train=["b", "a"], val=["d", "c"], sbd=["f", "c", "a", "e"])
    assert lists == {"train_aug": ["a", "b", "e", "f"], "train_aug_val": ["a", "b", "c", "d", "e", "f"]}


def test_the_counts_of_the_papers_add_up():
    counts = fetch_voc.COUNTS
    assert counts["train_aug"] + counts["val"] == counts["train_aug_val"]


def damaged(sbd_folder: Path, tmp_path: Path, damage: str) -> bytes:
    """SBD with one thing wrong."""
    shutil.copytree(sbd_folder, tmp_path / "sbd", symlinks=True)
    dataset = tmp_path / "sbd" / "benchmark_RELEASE" / "dataset"
    mat = dataset / "cls" / "2012_000007.mat"
    if damage == "lost":
        mat.unlink()
    elif damage == "broken":
        mat.write_bytes(mat.read_bytes()[:150])
    elif damage == "link":
        mat.unlink()
        mat.symlink_to("2012_000006.mat")
    elif damage == "void":
        write_mat(mat, np.full((4, 5), 255, np.uint8))
    elif damage == "colour":
        write_mat(mat, np.zeros((4, 5, 3), np.uint8))
    elif damage == "list":
        (dataset / "val.txt").unlink()
    return tar_of(tmp_path / "sbd", "w:gz")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("lost", "2012_000007.mat: SBD's lists name it, but its archive does not hold it"),
        ("broken", "2012_000007.mat: cannot be read as a mask of SBD"),
        ("link", "2012_000007.mat' is a link or a device"),
        ("void", "2012_000007.mat: found uint8[4, 5] up to 255, wanted uint8[H, W] up to 20"),
        ("colour", "2012_000007.mat: found uint8[4, 5, 3] up to 0, wanted uint8[H, W] up to 20"),
        ("list", "not those that are known (train_aug.txt: found 4 pictures, wanted 5)"),
    ],
)
def test_a_damaged_sbd_leaves_the_devkit_as_it_was(fetch, server, sbd_folder, tmp_path, damage, told):
    root = fetch()
    before = {str(file) for file in root.rglob("*")}
    content = damaged(sbd_folder, tmp_path, damage)
    server.files["/sbd.tgz"] = content
    with pytest.raises(FetchError, match=re.escape(told)):
        fetch(with_sbd=True, sbd=archive_of(content, "sbd.tgz", f"{server.url}/sbd.tgz"))
    assert {str(file) for file in root.rglob("*")} == before


def test_a_mask_of_sbd_without_its_picture(fetch):
    root = fetch()
    (root / "JPEGImages/2012_000006.jpg").unlink()
    with pytest.raises(FetchError, match=r"2012_000006.jpg: it is not there, but a list names it"):
        fetch(with_sbd=True)
    assert not (root / "SegmentationClassAug").exists()


def test_other_lists_and_masks_are_not_overwritten(fetch):
    root = fetch()
    mine = root / "ImageSets/Segmentation/train_aug.txt"
    mine.write_text("2012_000001\n")
    with pytest.raises(FetchError, match=r"train_aug.txt: another list is there, and is left as it is"):
        fetch(with_sbd=True)
    assert mine.read_text() == "2012_000001\n"
    (root / "SegmentationClassAug").mkdir()
    with pytest.raises(FetchError, match="SegmentationClassAug: other data are there; move them away"):
        fetch(with_sbd=True)


def test_the_command_fetches(fetch, monkeypatch):
    small = functools.partial(fetch_voc.fetch_voc2012, voc=fetch.voc, sbd=fetch.sbd, counts=COUNTS)
    monkeypatch.setattr(fetch_voc, "fetch_voc2012", small)
    done = CliRunner().invoke(
        main.app, ["fetch-data", "voc2012", "--with-sbd", "--directory", str(fetch.directory)], catch_exceptions=False
    )
    assert done.exit_code == 0
    assert f"{fetch.directory / UNPACKED}: unpacked" in done.stdout
    assert len(read_split(fetch.directory / UNPACKED, "train_aug", "SegmentationClassAug")) == 5


def command(*arguments: object) -> subprocess.CompletedProcess:
    """The command in a process of its own, which must not import what is slow."""
    code = (
        "import sys; from pipeline.commands.main import main\n"
        "try: main()\n"
        "finally: assert not {'tensorflow', 'scipy', 'tfx'} & set(sys.modules)"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=60
    )


def test_an_unknown_data_set():
    refused = command("fetch-data", "voc2007")
    assert refused.returncode == 1
    assert refused.stderr == "error: voc2007: there is no such data set to fetch; known: voc2012\n"


def test_errors_of_the_command_are_told_in_words(tmp_path):
    (tmp_path / "file").write_text("")
    refused = command("fetch-data", "voc2012", "--directory", tmp_path / "file")
    assert refused.returncode == 1
    assert "file cannot be written (File exists)" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_command_leaves_a_generated_devkit_alone(devkit_copy):
    with pytest.raises(CommandError, match=r"train.txt: found 6 pictures, wanted 1464"):
        CliRunner().invoke(
            main.app, ["fetch-data", "voc2012", "--directory", str(devkit_copy.parents[1])], catch_exceptions=False
        )
