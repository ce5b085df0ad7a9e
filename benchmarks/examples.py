"""TFRecords and a Transform graph without a pipeline around them, for the benchmarks of what reads them."""

from __future__ import annotations

from pathlib import Path


def write_examples(devkit: Path, split: str, folder: Path) -> str:
    """Writes one split of a Pascal VOC devkit as SegmentationExampleGen does.

    Args:
        devkit: such as VOCdevkit/VOC2012.
        split: train or eval.
        folder: is made.

    Returns:
        The pattern of the TFRecord files.
    """
    from components.segmentation_example_gen import executor
    from components.segmentation_example_gen.sources.voc import VocData
    from schema.labels import VOC2012

    folder.mkdir(parents=True)
    pairs = VocData().list_split(str(devkit), split).pairs
    for shard in executor.split_into_shards(pairs, split, str(folder)):
        problems = list(executor.write_shard(shard, VOC2012))
        if problems:
            raise RuntimeError(f"{devkit} is not sound: {problems[0]}")
    return str(folder / "data_tfrecord-*")


def write_transform_graph(pattern: str, folder: Path, image_size: int, base_model: str = "MobileNetV2") -> str:
    """Writes Transform's graph, with what it counts over the examples of a pattern, and returns the folder."""
    import apache_beam as beam
    import tensorflow_transform as tft
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io
    from tfx_bsl.public import tfxio

    from components.curated_schema.schema import schema_for
    from schema.labels import VOC2012
    from trainer.data.preprocessing import preprocessing_fn

    schema = schema_for(VOC2012)
    settings = {"settings": {"base_model": base_model, "image_size": image_size}}
    source = tfxio.TFExampleRecord(pattern, telemetry_descriptors=["benchmark"], schema=schema)
    with (
        beam.Pipeline(runner="FnApiRunner") as pipeline,
        tft_beam.Context(temp_dir=str(folder / "tmp"), desired_batch_size=16),
    ):
        raw = (pipeline | source.BeamSource(batch_size=16), source.TensorAdapterConfig())
        function = raw | tft_beam.AnalyzeDataset(lambda inputs: preprocessing_fn(inputs, settings))
        _ = function | tft_beam.WriteTransformFn(str(folder))
    raw_metadata = str(folder / tft.TFTransformOutput.RAW_METADATA_DIR)
    metadata_io.write_metadata(dataset_metadata.DatasetMetadata(schema), raw_metadata)
    return str(folder)
