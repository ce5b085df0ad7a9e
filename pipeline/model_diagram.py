"""The parts of the network as a drawing, laid out like figure 2 of the paper of DeepLabV3+ (arXiv:1802.02611)."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Polyline
from matplotlib.textpath import TextPath

from pipeline.commands.models import gmacs, size, title

if TYPE_CHECKING:
    from trainer.model.summary import Part

# Points, as all lengths here. The origin is the upper left corner.
FONT, LINE, PADDING, MARGIN = 8.0, 11.0, 7.0, 14.0
COLUMN_GAP, ROW_GAP, ARROW, LANE = 28.0, 12.0, 26.0, 10.0

INK, FRAME = "#3f4650", "#b3bcc8"
FACES_AND_EDGES = {
    "image": ("#f4f4f4", "#8a8a8a"),
    "backbone": ("#d9e6f7", "#4f7cac"),
    "branch": ("#dff0df", "#5a9a68"),
    "projection": ("#fdebd0", "#c58a35"),
    "decoder": ("#f9e0de", "#b5655d"),
    "prediction": ("#f4f4f4", "#8a8a8a"),
}
TAPS = ("low-level", "high-level")
"""What flows from the backbone: text without a frame."""


class Box:
    """A part: its text, the middle (x, y) and the size of its frame."""

    def __init__(self, part: Part):
        self.part = part
        cost = f"{_count(part.parameters)}, {gmacs([part], decimals=2)} GMACs" if part.parameters else ""
        does = ", ".join(part.operations).split(", ")
        # What is done to the image is done after it had its size.
        lines = (*does, size(part), cost) if part.inputs else (size(part), *does)
        self.lines = [part.name, *filter(None, lines)]
        self.width = max(_text_width(line, bold=row == 0) for row, line in enumerate(self.lines)) + 2 * PADDING
        self.height = len(self.lines) * LINE + 2 * PADDING
        self.x = self.y = 0.0

    left = property(lambda self: self.x - self.width / 2)
    right = property(lambda self: self.x + self.width / 2)
    top = property(lambda self: self.y - self.height / 2)
    bottom = property(lambda self: self.y + self.height / 2)


class Layout:
    """Places the boxes: the encoder above, the decoder below it, branches that read branches to their right."""

    def __init__(self, parts: list[Part]):
        self.boxes = {part.name: Box(part) for part in parts}
        self.branches = [box for name, box in self.boxes.items() if name.startswith("branch")]
        depths = {"high-level": 0}
        for branch in self.branches:
            depths[branch.part.name] = depths[branch.part.inputs[0]] + 1
        self.by_depth = [
            [branch for branch in self.branches if depths[branch.part.name] == depth]
            for depth in range(1, max(depths.values()) + 1)
        ]
        self.has_decoder = "concat" in self.boxes
        names = list(self.boxes)
        self.after = [self.boxes[name] for name in names[names.index("projection") + 1 :]]
        """The decoder, if there is one, the logits and the prediction."""
        self._place_columns()
        self._place_rows()

    def _place_columns(self) -> None:
        boxes = self.boxes
        encoder = [[boxes["image"], boxes["backbone"]], [boxes["high-level"]], *self.by_depth, [boxes["projection"]]]
        after = [[box] for box in self.after]
        rows = [encoder, after] if self.has_decoder else [encoder + after]
        width = max(box.width for name, box in boxes.items() if name not in TAPS)
        lanes = max(len({box.part.inputs for box in column}) for column in self.by_depth)
        gap = max(COLUMN_GAP, (lanes + 2) * LANE)
        self.width = max(map(len, rows)) * (width + gap) - gap + 4 * MARGIN
        for columns in rows:
            # Both rows begin and end together.
            pitch = (self.width - 4 * MARGIN - width) / (len(columns) - 1)
            for index, column in enumerate(columns):
                for box in column:
                    box.width = box.width if box.part.name in TAPS else width
                    box.x = 2 * MARGIN + width / 2 + index * pitch

    def _place_rows(self) -> None:
        boxes, backbone, projection = self.boxes, self.boxes["backbone"], self.boxes["projection"]
        # A branch has a row of its own, so that nothing stands between it and the projection.
        row = _same_height(self.branches) + ROW_GAP
        stack = len(self.branches) * row - ROW_GAP
        tapped = 2 * ARROW + boxes["low-level"].height if self.has_decoder else 0
        above = max(stack / 2, backbone.height / 2 + ARROW + boxes["image"].height)
        below = max(stack / 2, backbone.height / 2 + tapped)
        self.encoder_top = 2 * MARGIN + 2 * LINE
        middle = self.encoder_top + MARGIN + LINE + above
        self.encoder_bottom = middle + below + MARGIN
        for box in boxes.values():
            box.y = middle
        boxes["image"].y = backbone.top - ARROW - boxes["image"].height / 2
        for index, box in enumerate(self.branches):
            box.y = middle + (index - (len(self.branches) - 1) / 2) * row
        projection.height = max(projection.height, stack)
        self.height = self.encoder_bottom + MARGIN
        if self.has_decoder:
            height = _same_height(self.after)
            self.decoder_top = self.encoder_bottom + ARROW
            for box in self.after:
                box.y = self.decoder_top + MARGIN + LINE + height / 2
            self.decoder_bottom = self.decoder_top + 2 * MARGIN + LINE + height
            self.height = self.decoder_bottom + MARGIN
            low_level = boxes["low-level"]
            low_level.x, low_level.y = backbone.x, (backbone.bottom + self.encoder_bottom) / 2


def _same_height(boxes: list[Box]) -> float:
    """Makes all of them as high as the highest."""
    height = max(box.height for box in boxes)
    for box in boxes:
        box.height = height
    return height


def draw(parts: list[Part], file: Path) -> None:
    """Draws the parts as boxes, with an arrow from each to what reads it. The same parts give the same bytes.

    Args:
        parts: from the image to the prediction.
        file: .svg, .png or .pdf; it is replaced.

    Raises:
        OSError: the file cannot be written.
    """
    undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(file.suffix.lower())
    with matplotlib.style.context(["default", {"svg.hashsalt": "deeplab", "font.size": FONT}]):
        layout = Layout(parts)
        figure = Figure(figsize=(layout.width / 72, layout.height / 72))
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, layout.width), ylim=(layout.height, 0))
        axes.axis("off")
        axes.text(MARGIN, MARGIN, title(parts), fontsize=FONT + 4, fontweight="bold", va="top")
        totals = f"{_count(sum(part.parameters for part in parts))} parameters, {gmacs(parts, decimals=2)} GMACs"
        axes.text(layout.width - MARGIN, MARGIN + 3, f"{totals} for one image", va="top", ha="right")
        _draw_frames(axes, layout)
        _draw_arrows(axes, layout)
        for box in layout.boxes.values():
            _draw_box(axes, box)
        figure.savefig(file, dpi=200, metadata=undated)


def _draw_frames(axes: Axes, layout: Layout) -> None:
    right = layout.boxes["projection"].right + MARGIN
    frames = [("encoder", layout.encoder_top, layout.encoder_bottom)]
    if layout.has_decoder:
        frames.append(("decoder", layout.decoder_top, layout.decoder_bottom))
    for name, top, bottom in frames:
        _draw_rectangle(axes, MARGIN, top, right - MARGIN, bottom - top, "#fafbfc", FRAME, linestyle="--", zorder=0)
        axes.text(MARGIN + 7, top + 6, name, color="#6b7684", va="top", style="italic")


def _draw_arrows(axes: Axes, layout: Layout) -> None:
    boxes, projection = layout.boxes, layout.boxes["projection"]
    _arrow(axes, (boxes["image"].x, boxes["image"].bottom), (boxes["backbone"].x, boxes["backbone"].top))
    _arrow_right(axes, boxes["backbone"], boxes["high-level"])
    for column in layout.by_depth:
        sources = sorted({box.part.inputs[0] for box in column}, key=lambda name: boxes[name].y)
        for box in column:
            # A lane for each output that is read here, so that lines cross, but never lie on one another.
            source = boxes[box.part.inputs[0]]
            lane = column[0].left - (len(sources) + 1 - sources.index(source.part.name)) * LANE
            _arrow(axes, (source.right, source.y), (lane, source.y), (lane, box.y), (box.left, box.y))
            if sum(source.part.name in other.part.inputs for other in boxes.values()) > 1:
                axes.plot(lane, source.y, "o", color=INK, markersize=2.5)
    for box in layout.branches:
        _arrow_right(axes, box, projection)
    for source, target in pairwise(layout.after if layout.has_decoder else [projection, *layout.after]):
        _arrow_right(axes, source, target)
    if layout.has_decoder:
        low_level, reduction, concat = boxes["low-level"], boxes["reduction"], boxes["concat"]
        _arrow(axes, (low_level.x, boxes["backbone"].bottom), (low_level.x, low_level.top))
        _arrow(axes, (low_level.x, low_level.bottom), (low_level.x, reduction.top))
        between = (layout.encoder_bottom + layout.decoder_top) / 2
        bend = (projection.x, between), (concat.x, between)
        _arrow(axes, (projection.x, projection.bottom), *bend, (concat.x, concat.top))


def _draw_box(axes: Axes, box: Box) -> None:
    kind = box.part.name.split()[0]
    if kind not in TAPS:
        colours = FACES_AND_EDGES.get(kind, FACES_AND_EDGES["decoder"])
        _draw_rectangle(axes, box.left, box.top, box.width, box.height, *colours)
    for row, line in enumerate(box.lines):
        y = box.y + (row - (len(box.lines) - 1) / 2) * LINE
        weight = "normal" if row else "bold"
        axes.text(box.x, y, line, ha="center", va="center_baseline", fontweight=weight)


def _draw_rectangle(
    axes: Axes, left: float, top: float, width: float, height: float, face: str, edge: str, **style
) -> None:
    boxstyle = "round,pad=0,rounding_size=4"
    axes.add_patch(FancyBboxPatch((left, top), width, height, boxstyle, facecolor=face, edgecolor=edge, **style))


def _arrow_right(axes: Axes, source: Box, target: Box) -> None:
    _arrow(axes, (source.right, source.y), (target.left, source.y))


def _arrow(axes: Axes, *points: tuple[float, float]) -> None:
    axes.add_patch(
        FancyArrowPatch(path=Polyline(points), arrowstyle="-|>", mutation_scale=8, color=INK, linewidth=0.9, zorder=0.5)
    )


@cache
def _text_width(text: str, *, bold: bool) -> float:
    return TextPath((0, 0), text, FONT, prop=FontProperties(weight="bold" if bold else "normal")).get_extents().width


def _count(parameters: int) -> str:
    """Such as 4.44 M or 5.4 k."""
    return f"{parameters / 1e6:.2f} M" if parameters >= 1e5 else f"{parameters / 1e3:.1f} k"
