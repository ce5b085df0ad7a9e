"""Examples with the features of real ones, made up, and their statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from components.curated_schema.schema import schema_for
from components.segmentation_example_gen.images import ImageFile
from components.segmentation_example_gen.pairs import Pair, Sample
from schema.labels import Labels

LABELS = Labels.model_validate({"classes": ["background", "cat", "dog"]})


@pytest.fixture(scope="session")
def labels() -> Labels:
    """Background, cat and dog."""
    return LABELS


@pytest.fixture(scope="session")
def statistics_of(tmp_path_factory: pytest.TempPathFactory) -> Callable:
    """Computes the statistics of examples with these masks, or, if they are None, without masks."""
    import tensorflow as tf
    import tfx  # noqa: F401  TFDV cannot be imported without it
    from apache_beam.options.pipeline_options import PipelineOptions
    from tensorflow_data_validation import StatsOptions, generate_statistics_from_tfrecord

    from components.segmentation_example_gen.executor import to_example

    def compute(masks: Iterable[np.ndarray | None], size: tuple[int, int] = (8, 6)):
        file = tmp_path_factory.mktemp("examples") / "data.tfrecord"
        with tf.io.TFRecordWriter(str(file)) as writer:
            for number, mask in enumerate(masks):
                sample = Sample(ImageFile(b"a picture", "jpeg", *size, 3), mask)
                writer.write(to_example(Pair(str(number), f"{number}.jpg", None), sample, LABELS).SerializeToString())
        return generate_statistics_from_tfrecord(
            str(file),
            stats_options=StatsOptions(schema=schema_for(LABELS)),
            pipeline_options=PipelineOptions(runner="FnApiRunner"),
        )

    return compute


@pytest.fixture(scope="session")
def masks() -> Callable:
    """Makes masks [6, 8]: half background, a quarter of the class given, the rest of it void."""

    def make(classes: Iterable[int]) -> list[np.ndarray]:
        made = []
        for label in classes:
            mask = np.zeros((6, 8), np.uint8)
            mask[3:, :4] = label
            mask[3:, 4:] = 255
            made.append(mask)
        return made

    return make


@pytest.fixture
def artifact(tmp_path: Path) -> Callable:
    """Makes an artifact in a folder of its own."""

    def make(kind, name: str):
        made = kind()
        made.uri = str(tmp_path / name)
        (tmp_path / name).mkdir()
        return made

    return make
