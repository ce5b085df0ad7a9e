"""A Transform graph and the examples it was made from, for the tests of what reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

IMAGE_SIZE = 65


@dataclass(frozen=True)
class Transformed:
    """Examples and the graph."""

    directory: Path
    records: list[bytes]
    graph_directory: str

    @property
    def graph(self):
        import tensorflow_transform as tft

        return tft.TFTransformOutput(self.graph_directory)

    @property
    def pattern(self) -> str:
        return str(self.directory / "*")


@pytest.fixture(scope="session")
def transformed(devkit_root, tmp_path_factory) -> Transformed:
    """The generated devkit's training split and a Transform graph with canvases of `IMAGE_SIZE`."""
    import apache_beam as beam
    import tensorflow as tf
    import tensorflow_transform as tft
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io
    from tfx_bsl.public import tfxio

    from components.curated_schema.schema import schema_for
    from components.segmentation_example_gen import executor
    from components.segmentation_example_gen.sources.voc import VocData
    from trainer.labels import VOC2012
    from trainer.preprocessing import preprocessing_fn

    directory = tmp_path_factory.mktemp("examples")
    pairs = VocData().list_split(str(devkit_root), "train").pairs
    for shard in executor.split_into_shards(pairs, "train", str(directory)):
        assert list(executor.write_shard(shard, VOC2012)) == []
    records = [record.numpy() for record in tf.data.TFRecordDataset([str(file) for file in directory.iterdir()])]

    schema = schema_for(VOC2012)
    graph_directory = tmp_path_factory.mktemp("transform_graph")
    settings = {"settings": {"base_model": "MobileNetV2", "image_size": IMAGE_SIZE}}
    source = tfxio.TFExampleRecord(str(directory / "*"), telemetry_descriptors=["test"], schema=schema)
    with (
        beam.Pipeline(runner="FnApiRunner") as pipeline,
        tft_beam.Context(temp_dir=str(tmp_path_factory.mktemp("tmp"))),
    ):
        raw = (pipeline | source.BeamSource(), source.TensorAdapterConfig())
        function = raw | tft_beam.AnalyzeDataset(lambda inputs: preprocessing_fn(inputs, settings))
        _ = function | tft_beam.WriteTransformFn(str(graph_directory))
    metadata_io.write_metadata(
        dataset_metadata.DatasetMetadata(schema),
        str(graph_directory / tft.TFTransformOutput.RAW_METADATA_DIR),
    )
    return Transformed(directory, records, str(graph_directory))
