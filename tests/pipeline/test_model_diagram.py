"""The drawing of the network."""

from dataclasses import replace
from itertools import combinations

import pytest

from pipeline.model_diagram import Layout, draw
from trainer.model.summary import Part

BRANCH = Part("branch 0", ("separable 3x3, rate 36x30",), ("high-level",), (257, 257, 1024), 4_230_000, 278_250_000_000)
ENCODER = [
    Part("image", ("padded to 2049 x 2049",), (), (2040, 2040, 3)),
    Part("backbone", ("NASNetMobile",), ("image",), (257, 257, 1056), 4_269_716, 10**11),
    Part("low-level", ("reduction_concat_stem_1", "stride 4"), ("backbone",), (513, 513, 44)),
    Part("high-level", ("normal_concat_12", "stride 8"), ("backbone",), (257, 257, 1056)),
]
DECODER = [
    Part("reduction", ("conv 1x1",), ("low-level",), (513, 513, 48), 2_304, 10**9),
    Part("concat", ("2x upsampling", "concatenation"), ("projection", "reduction"), (513, 513, 1072)),
    Part("conv 1", ("separable 3x3",), ("concat",), (513, 513, 1024), 1_120_000, 10**11),
]


def network(*sources: int, decoder: bool = True) -> list[Part]:
    """The parts of a network whose branches read the branches of these numbers; -1 is the backbone."""
    branches = [
        replace(BRANCH, name=f"branch {index}", inputs=("high-level" if source < 0 else f"branch {source}",))
        for index, source in enumerate(sources)
    ]
    projection = replace(BRANCH, name="projection", inputs=tuple(branch.name for branch in branches))
    logits = Part("logits", ("conv 1x1",), ("conv 1" if decoder else "projection",), (513, 513, 21), 21_525, 10**7)
    prediction = Part("prediction", ("4x upsampling",), ("logits",), (2040, 2040, 21))
    encoder = [part for part in ENCODER if decoder or part.name != "low-level"]
    return [*encoder, *branches, projection, *(DECODER if decoder else []), logits, prediction]


DESIGNS = [(-1,), (-1, -1), (-1,) * 5, (-1, 0, 1, 0, 0), (-1, -1, 0, 1, 1, 3, -1, 1), (-1, *range(7))]


@pytest.mark.parametrize("decoder", [True, False])
@pytest.mark.parametrize("sources", DESIGNS)
def test_boxes_lie_apart_and_inside_the_drawing(sources, decoder):
    layout = Layout(network(*sources, decoder=decoder))
    for box in layout.boxes.values():
        assert 0 < box.left < box.right < layout.width
        assert 0 < box.top < box.bottom < layout.height
    for one, other in combinations(layout.boxes.values(), 2):
        beside = one.right < other.left or other.right < one.left
        assert beside or one.bottom < other.top or other.bottom < one.top, (one.part.name, other.part.name)


def test_a_branch_stands_right_of_what_it_reads():
    boxes = Layout(network(-1, 0, 1, 0)).boxes
    for source, reader in (("high-level", 0), ("branch 0", 1), ("branch 1", 2), ("branch 0", 3)):
        assert boxes[source].right < boxes[f"branch {reader}"].left
    assert boxes["branch 2"].right < boxes["projection"].left


@pytest.mark.parametrize(("suffix", "beginning"), [("svg", b"<?xml"), ("PNG", b"\x89PNG"), ("pdf", b"%PDF")])
def test_the_same_network_is_the_same_file(suffix, beginning, tmp_path):
    drawings = [tmp_path / f"{name}.{suffix}" for name in ("one", "other")]
    for drawing in drawings:
        draw(network(-1, 0), drawing)
    one, other = (drawing.read_bytes() for drawing in drawings)
    assert one.startswith(beginning)
    assert one == other


def test_a_file_that_cannot_be_written(tmp_path):
    (tmp_path / "network.svg").mkdir()
    with pytest.raises(IsADirectoryError):
        draw(network(-1), tmp_path / "network.svg")
