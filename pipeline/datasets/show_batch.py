"""A sheet of what the network is shown in one step of training, made without running the pipeline."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont

from components.artifacts.problems import DataError
from components.segmentation_example_gen.dataset import DataSet
from components.segmentation_example_gen.executor import split_into_shards, to_example
from components.segmentation_example_gen.pairs import Pair, problems_of, read_pair
from pipeline.config.config import Config
from schema import features
from schema.labels import IGNORE_LABEL, Labels
from trainer.common.drawing import colored
from trainer.data.augmentation import augment
from trainer.data.input import augmentation_draws, ids_of, training_records
from trainer.data.preprocessing import decode_image, decode_label, image_canvas, label_canvas
from trainer.model.backbones import BACKBONES
from trainer.serving.tensorflow_kernels import in_one_loop

TILE = 300
"""Largest side of a picture on the sheet, pixels."""
GAP, HEADLINE = 6, 20
COLUMNS = ("the picture", "what the network reads", "its label", "both")


@dataclass(frozen=True)
class ShownPicture:
    """One picture of a batch."""

    id: str
    canvas: np.ndarray
    """uint8[H, W, 3]: the picture as it lies in its canvas, without the padding."""
    image: np.ndarray
    """uint8[T, T, 3]: augmented; the mean where there is no picture."""
    label: np.ndarray
    """uint8[T, T]: augmented, class indices."""


def batch(config: Config, dataset: DataSet, step: int) -> list[ShownPicture]:
    """The pictures of one step of training, as they are shown to the network.

    Only they are decoded. Their order and what is drawn for them are those of training; where it leaves unsound pairs
    out, which only decoding all of them would tell, the order is another.

    Args:
        config: the experiment.
        dataset: its data set.
        step: which step, counted from 0.

    Raises:
        DataError: a picture or mask of the batch is not sound.
    """
    settings = config.trainer_settings()
    pairs = dataset.splits[features.TRAIN_SPLIT]
    chosen = _pairs_of_step(pairs, step, settings.hps.batch_size, settings.train.shuffle_buffer, settings.seed)
    size = settings.nn_arch.image_size
    canvases, contents, labels = [], [], []
    for pair in chosen:
        try:
            feature = to_example(pair, read_pair(pair, settings.labels), settings.labels).features.feature
        except DataError as error:
            raise DataError(*problems_of(pair, features.TRAIN_SPLIT, error)) from error
        image, mask = (feature[key].bytes_list.value[0] for key in (features.IMAGE_ENCODED, features.LABEL_ENCODED))
        canvas, content = image_canvas(decode_image(image), size)
        canvases.append(canvas)
        contents.append(content)
        labels.append(label_canvas(decode_label(mask), size))

    normalisation = BACKBONES[settings.base_model].normalisation
    crop = settings.training_arch.image_size
    change = in_one_loop(
        partial(
            augment,
            size=crop,
            settings=settings.augmentation,
            normalisation=normalisation,
            background=settings.labels.background,
        )
    )
    parts = settings.hps.micro_batches
    share = len(chosen) // parts
    changed = []
    for part in range(parts):
        of_it = slice(part * share, (part + 1) * share)
        batch = (tf.stack(each[of_it]) for each in (canvases, labels, contents))
        changed.append(change(*batch, augmentation_draws(share, settings.seed, step * parts + part)))
    images, augmented = (tf.concat(each, axis=0) for each in zip(*changed, strict=True))
    pixels = np.round(images.numpy() * normalisation.scale + normalisation.mean).clip(0, 255).astype(np.uint8)
    return [
        ShownPicture(pair.id, canvas.numpy()[:height, :width], image, label)
        for pair, canvas, (height, width), image, label in zip(
            chosen, canvases, np.stack(contents), pixels, augmented.numpy().astype(np.uint8), strict=True
        )
    ]


def _pairs_of_step(pairs: list[Pair], step: int, batch_size: int, shuffle_buffer: int, seed: int) -> list[Pair]:
    """The pairs of a step's batch: examples that hold an id and nothing else go the way of the real ones."""
    with tempfile.TemporaryDirectory() as folder:
        for shard in split_into_shards(pairs, features.TRAIN_SPLIT, folder):
            with tf.io.TFRecordWriter(shard.path) as writer:
                for pair in shard.pairs:
                    value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[pair.id.encode()]))
                    example = tf.train.Example(features=tf.train.Features(feature={features.IMAGE_SOURCE_ID: value}))
                    writer.write(example.SerializeToString())
        records = training_records(
            [f"{folder}/*"], shuffle_buffer=shuffle_buffer, seed=seed, first=step * batch_size, pictures=len(pairs)
        )
        ids = ids_of(next(iter(records.batch(batch_size)))).numpy()
    by_id = {pair.id: pair for pair in pairs}
    return [by_id[picture_id.decode()] for picture_id in ids]


def draw(pictures: list[ShownPicture], labels: Labels) -> Image.Image:
    """One row a picture: its canvas, what the network reads, its label in the classes' colours, and both."""
    font = ImageFont.load_default(13)
    columns, rows = len(COLUMNS), len(pictures)
    sheet = Image.new("RGB", (columns * (TILE + GAP) + GAP, rows * (TILE + GAP + HEADLINE) + HEADLINE), "white")
    pen = ImageDraw.Draw(sheet)
    for column, name in enumerate(COLUMNS):
        pen.text((GAP + column * (TILE + GAP), 2), name, "black", font)
    for row, picture in enumerate(pictures):
        top = HEADLINE + row * (TILE + GAP + HEADLINE)
        shown = [labels.names[index] for index in np.unique(picture.label) if index < len(labels.classes)]
        pen.text((GAP, top + 2), f"{picture.id}: {', '.join(shown) or 'nothing that counts'}", "black", font)
        mask = colored(picture.label, labels)
        # What counts nowhere is darker, so that the rim of what counts can be seen.
        veil = np.where((picture.label == IGNORE_LABEL)[..., np.newaxis], 0, mask)
        both = (picture.image // 2 + veil // 2).astype(np.uint8)
        for column, pixels in enumerate((picture.canvas, picture.image, mask, both)):
            tile = Image.fromarray(pixels)
            factor = min(1.0, TILE / max(tile.size))
            way = Image.Resampling.NEAREST if pixels is mask else Image.Resampling.BILINEAR
            tile = tile.resize([max(1, round(length * factor)) for length in tile.size], way)
            sheet.paste(tile, (GAP + column * (TILE + GAP), top + HEADLINE))
    return sheet


def write(config: Config, dataset: DataSet, step: int, file: Path) -> list[str]:
    """Draws the sheet of one step into a PNG.

    Args:
        config: the experiment.
        dataset: its data set.
        step: which step, counted from 0.
        file: of the sheet.

    Returns:
        The ids of the pictures.

    Raises:
        DataError: a picture or mask of the batch is not sound.
        OSError: the file cannot be written.
    """
    pictures = batch(config, dataset, step)
    draw(pictures, config.data.labels).save(file, "PNG")
    return [picture.id for picture in pictures]
