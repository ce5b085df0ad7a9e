"""The generated devkit."""

import numpy as np
import pytest
from PIL import Image

from components.segmentation_example_gen.dataset import read_dataset
from components.segmentation_example_gen.pairs import read_pair
from components.segmentation_example_gen.sources.voc import VocData
from pipeline.datasets.synthetic_voc import write_devkit
from schema.labels import IGNORE_LABEL, VOC_PALETTE


def files(root):
    return {file.relative_to(root): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}


def test_the_same_every_time(tmp_path):
    first = write_devkit(tmp_path / "a", train=3, val=1)
    again = write_devkit(tmp_path / "b", train=3, val=1)
    other = write_devkit(tmp_path / "c", train=3, val=1, seed=1)
    assert files(first) == files(again)
    assert files(first) != files(other)


def test_what_is_there_already_is_left(tmp_path):
    root = write_devkit(tmp_path, train=3, val=1)
    picture = root / "JPEGImages" / "2012_000001.jpg"
    picture.write_bytes(b"changed by hand")
    assert write_devkit(tmp_path, train=3, val=1) == root
    assert picture.read_bytes() == b"changed by hand"
    with pytest.raises(FileExistsError, match="holds other data"):
        write_devkit(tmp_path, train=4, val=1)


def test_a_devkit_that_is_not_generated_is_not_touched(tmp_path):
    real = tmp_path / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation" / "train.txt"
    real.parent.mkdir(parents=True)
    real.write_text("2007_000032\n")
    with pytest.raises(FileExistsError, match="is there already and holds other data"):
        write_devkit(tmp_path)
    assert real.read_text() == "2007_000032\n"


def test_it_has_what_the_real_one_has(tmp_path):
    source = VocData(root=str(write_devkit(tmp_path, train=20, val=20)))
    samples = {
        split: [read_pair(pair, source.labels) for pair in pairs]
        for split, pairs in read_dataset(source).splits.items()
    }
    everything = [sample for members in samples.values() for sample in members]
    shapes = {sample.mask.shape for sample in everything}
    assert any(height > width for height, width in shapes)
    assert any(height < width for height, width in shapes)
    assert any(height % 2 and width % 2 for height, width in shapes)
    assert {sample.picture.channels for sample in everything} == {1, 3}
    for members in samples.values():
        values = np.unique(np.concatenate([sample.mask.ravel() for sample in members]))
        assert set(values) == {*range(21), IGNORE_LABEL}


def test_masks_have_the_colours_of_voc(devkit_root):
    mask = Image.open(devkit_root / "SegmentationClass" / "2012_000001.png")
    assert mask.mode == "P"
    colours = np.asarray(mask.getpalette()).reshape(-1, 3)
    np.testing.assert_array_equal(colours, VOC_PALETTE)
    # As published with the devkit: background, aeroplane, person, tv monitor, void.
    for label, colour in {
        0: (0, 0, 0),
        1: (128, 0, 0),
        15: (192, 128, 128),
        20: (0, 64, 128),
        255: (224, 224, 192),
    }.items():
        assert VOC_PALETTE[label] == colour
