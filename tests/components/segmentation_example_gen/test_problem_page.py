"""The page of problems shows what there is to see of damaged pairs."""

import base64
import io
import json
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from components.artifacts.problems import Problem
from components.segmentation_example_gen import problem_page
from components.segmentation_example_gen.dataset import DataSet
from components.segmentation_example_gen.masks import PngMask
from components.segmentation_example_gen.pairs import Pair, check_pair
from schema.labels import VOC2012, VOC_PALETTE


@pytest.fixture
def pair(tmp_path):
    """A picture of noise, 300 x 200, and its mask: class 1, a third of it a value that is none."""
    picture, mask = tmp_path / "a.jpg", tmp_path / "a.png"
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    Image.fromarray(noise).save(picture)
    values = np.ones((200, 300), np.uint8)
    values[:, :100] = 99
    Image.fromarray(values).save(mask)
    return Pair("a", str(picture), PngMask(str(mask)))


@pytest.fixture
def page_of(tmp_path):
    """Writes the page of a pair, and returns it with the thumbnails in it."""

    def write(pair):
        problems = check_pair(pair, "train", VOC2012)[0]
        place = problem_page.write(problems, DataSet({"train": [pair]}), str(tmp_path / "page"))
        html = Path(place).read_text(encoding="utf-8")
        thumbnails = [
            Image.open(io.BytesIO(base64.b64decode(uri)))
            for uri in re.findall(r'src="data:image/\w+;base64,([^"]+)"', html)
        ]
        return html, thumbnails

    return write


def test_picture_and_mask_are_shown_small(pair, page_of):
    html, (picture, mask) = page_of(pair)
    assert picture.size == mask.size == (160, 107)
    assert set(mask.convert("RGB").getdata()) == {VOC_PALETTE[1], VOC_PALETTE[99]}
    assert "value 99 at row 0, column 0" in html


def test_a_truncated_picture_is_shown_as_far_as_it_goes(pair, page_of):
    picture = Path(pair.image)
    picture.write_bytes(picture.read_bytes()[:20_000])
    html, thumbnails = page_of(pair)
    assert len(thumbnails) == 2
    assert "cannot be decoded: image file is truncated" in html


def test_what_cannot_be_decoded_is_an_empty_box(pair, page_of):
    Path(pair.image).write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    html, thumbnails = page_of(pair)
    assert len(thumbnails) == 1
    assert "picture: cannot be decoded" in html


def test_a_picture_that_claims_too_much_is_not_decoded(pair, page_of):
    mask = Path(pair.mask.file)
    png = bytearray(mask.read_bytes())
    png[16:24] = struct.pack(">II", 12_000, 12_000)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    mask.write_bytes(png)
    html, thumbnails = page_of(pair)
    assert len(thumbnails) == 1
    assert "mask: 12000 x 12000 pixels" in html


def test_problems_are_written_for_programs_too(tmp_path):
    problems = [Problem("a.txt, line 3", "there is no such picture", split="train", pair="ä\udcff")]
    problem_page.write(problems, DataSet({"train": []}), str(tmp_path))
    (read,) = json.loads((tmp_path / "problems.json").read_text(encoding="utf-8"))
    assert Problem(**read) == Problem("a.txt, line 3", "there is no such picture", split="train", pair="ä?")


def test_problems_of_one_pair_stand_together(tmp_path):
    problems = [Problem(file, "is broken", split="train", pair="a") for file in ("a.jpg", "a.png")]
    problem_page.write(problems, DataSet({"train": []}), str(tmp_path))
    html = (tmp_path / "index.html").read_text()
    assert html.count("<tr>") == 2
    assert "<strong>1</strong>pair concerned" in html


def test_the_first_pairs_have_pictures_and_all_are_listed(tmp_path, pair):
    problems = [
        Problem("a.jpg", "is broken", split="train", pair=str(number), image=pair.image) for number in range(203)
    ]
    problem_page.write(problems, DataSet({"train": []}), str(tmp_path))
    html = (tmp_path / "index.html").read_text()
    assert html.count("<img") == 200
    assert html.count("is broken") == 203
    assert "Pictures are shown of the first 200 of 203 pairs" in html


def test_nothing_wrong_is_said(tmp_path):
    problem_page.write([], DataSet({"train": [], "eval": []}), str(tmp_path))
    assert "Nothing is wrong with the data" in (tmp_path / "index.html").read_text()
    assert json.loads((tmp_path / "problems.json").read_text()) == []


def test_names_are_text(tmp_path):
    evil = '"><script>alert(1)</script>'
    problem_page.write(
        [Problem(evil, evil, split=evil, pair=evil, image=evil, mask=evil)], DataSet({evil: []}), str(tmp_path)
    )
    assert "<script" not in (tmp_path / "index.html").read_text()


def test_the_folder_may_be_a_uri():
    place = problem_page.write([], DataSet({"train": []}), "memory://bucket/problems")
    assert place == "memory://bucket/problems/index.html"
    assert b"Nothing is wrong" in fsspec.filesystem("memory").cat_file("/bucket/problems/index.html")


def test_it_needs_no_tensorflow():
    code = "import sys, components.segmentation_example_gen.problem_page; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
