"""A small Pascal VOC devkit of textured shapes, generated: for the demo and the tests, and for anyone to try things on.

Each class has a colour, a texture and a shape of its own, so that a small network can learn it in minutes. Nothing
learnt from it says anything about photographs.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from components.segmentation_example_gen.sources.voc import IMAGE_FOLDER, LIST_FOLDER
from schema.labels import IGNORE_LABEL, VOC2012, VOC_PALETTE

MASK_FOLDER = "SegmentationClass"
MARKER = "generated.json"
"""Written last: tells that the devkit is generated, how, and that it is whole."""
TRAIN_PICTURES = 160
VAL_PICTURES = 40
SIZES = ((160, 120), (120, 160), (161, 107), (99, 150), (128, 128), (187, 141), (141, 213), (75, 110))
"""Width and height of the pictures, pixels: landscape and portrait, even and odd, smaller and larger ones."""
SHAPES = ("ellipse", "rectangle", "triangle", "cross")
TEXTURES = ("plain", "stripes", "checks", "dots", "rings")
GOLDEN_ANGLE = 0.381966
"""As a share of the circle: consecutive hues lie far apart."""


def write_devkit(directory: Path, *, train: int = TRAIN_PICTURES, val: int = VAL_PICTURES, seed: int = 0) -> Path:
    """Writes a devkit; the same arguments give the same bytes. One that is there already is left as it is.

    Args:
        directory: where `VOCdevkit/VOC2012` is made.
        train: pictures of the list `train`.
        val: pictures of the list `val`.
        seed: another seed gives other pictures.

    Returns:
        The devkit's folder, `<directory>/VOCdevkit/VOC2012`.

    Raises:
        FileExistsError: another devkit is there.
        OSError: the folder cannot be written.
    """
    root = directory / "VOCdevkit" / "VOC2012"
    arguments = json.dumps({"train": train, "val": val, "seed": seed})
    if root.exists():
        marker = root / MARKER
        if marker.is_file() and marker.read_text() == arguments:
            return root
        raise FileExistsError(f"{root} is there already and holds other data; give another folder")
    for folder in (IMAGE_FOLDER, MASK_FOLDER, LIST_FOLDER):
        (root / folder).mkdir(parents=True, exist_ok=True)
    ids = [f"2012_{number:06d}" for number in range(1, train + val + 1)]
    lists = {"train": ids[:train], "val": ids[train:], "trainval": ids}
    for name, members in lists.items():
        (root / LIST_FOLDER / f"{name}.txt").write_text("".join(f"{member}\n" for member in members))
    for number, picture_id in enumerate(ids):
        picture, mask = draw_pair(np.random.default_rng([seed, number]), number)
        (root / IMAGE_FOLDER / f"{picture_id}.jpg").write_bytes(picture)
        (root / MASK_FOLDER / f"{picture_id}.png").write_bytes(mask)
    (root / MARKER).write_text(arguments)
    return root


def draw_pair(rng: np.random.Generator, number: int) -> tuple[bytes, bytes]:
    """One picture and its mask, encoded.

    Args:
        rng: draws everything but the size and the first class.
        number: of the picture; sizes and classes take turns, so that all are seen equally often.

    Returns:
        A JPEG, RGB or, for one picture in twenty, grey; and a palette PNG of class indices with a border of void.
    """
    width, height = SIZES[number % len(SIZES)]
    canvas = _background(rng, height, width)
    mask = np.zeros((height, width), np.uint8)
    for object_number in range(rng.integers(2, 4)):
        label = 1 + (number + object_number * 7) % (len(VOC2012.classes) - 1)
        inside, border = _shape(rng, label, height, width)
        canvas[inside] = _texture(rng, label, height, width)[inside]
        mask[inside] = label
        mask[border] = IGNORE_LABEL
    canvas += rng.normal(0, 6, canvas.shape)
    return _jpeg(canvas, grey=number % 20 == 19), palette_png(mask)


def _background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A smooth greyish field, float64[H, W, 3]."""
    coarse = rng.uniform(70, 190, (4, 4, 1)) + rng.uniform(-12, 12, (4, 4, 3))
    image = Image.fromarray(coarse.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image, np.float64).copy()


def _shape(rng: np.random.Generator, label: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The inside of an object and the void border around it, both bool[H, W]."""
    radius = rng.uniform(0.2, 0.4) * min(height, width)
    x, y = rng.uniform(radius * 0.7, width - radius * 0.7), rng.uniform(radius * 0.7, height - radius * 0.7)
    outlines: dict[str, list[tuple[float, float]]] = {
        "rectangle": [(-1, -0.7), (1, -0.7), (1, 0.7), (-1, 0.7)],
        "triangle": [(0, -1.1), (1.1, 0.9), (-1.1, 0.9)],
        "cross": [
            *[(-0.4, -1.1), (0.4, -1.1), (0.4, -0.4), (1.1, -0.4), (1.1, 0.4), (0.4, 0.4)],
            *[(0.4, 1.1), (-0.4, 1.1), (-0.4, 0.4), (-1.1, 0.4), (-1.1, -0.4), (-0.4, -0.4)],
        ],
        "ellipse": [(np.cos(angle), 0.8 * np.sin(angle)) for angle in np.linspace(0, 2 * np.pi, 40)],
    }
    turn = rng.uniform(-0.5, 0.5)
    points = [
        (x + radius * (u * np.cos(turn) - v * np.sin(turn)), y + radius * (u * np.sin(turn) + v * np.cos(turn)))
        for u, v in outlines[SHAPES[label % len(SHAPES)]]
    ]
    drawn = Image.new("L", (width, height))
    ImageDraw.Draw(drawn).polygon(points, fill=1)
    grown = drawn.filter(ImageFilter.MaxFilter(3))
    inside = np.asarray(drawn, bool)
    return inside, np.asarray(grown, bool) & ~inside


def _texture(rng: np.random.Generator, label: int, height: int, width: int) -> np.ndarray:
    """The class's colour in the class's pattern, float64[H, W, 3]."""
    hue = (label * GOLDEN_ANGLE + rng.uniform(-0.01, 0.01)) % 1
    colour = np.array(Image.new("HSV", (1, 1), (int(hue * 255), 200, 220)).convert("RGB").getpixel((0, 0)), float)
    rows, columns = np.mgrid[:height, :width] + rng.uniform(0, 12, 2)[:, None, None]
    period = 9.0
    wave_rows, wave_columns = np.sin(rows * 2 * np.pi / period), np.sin(columns * 2 * np.pi / period)
    pattern = {
        "plain": np.zeros((height, width)),
        "stripes": wave_rows > 0,
        "checks": wave_rows * wave_columns > 0,
        "dots": wave_rows + wave_columns > 0.9,
        "rings": np.sin(np.hypot(rows - height / 2, columns - width / 2) * 2 * np.pi / period) > 0,
    }[TEXTURES[label % len(TEXTURES)]]
    return colour * (1 - 0.55 * pattern[:, :, None])


def _jpeg(canvas: np.ndarray, *, grey: bool) -> bytes:
    image = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    encoded = io.BytesIO()
    (image.convert("L") if grey else image).save(encoded, "JPEG", quality=92)
    return encoded.getvalue()


def palette_png(mask: np.ndarray) -> bytes:
    """A mask, uint8[H, W] of class indices, as a PNG in VOC's colours."""
    image = Image.fromarray(mask, "P")
    image.putpalette([channel for colour in VOC_PALETTE for channel in colour])
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    return encoded.getvalue()
