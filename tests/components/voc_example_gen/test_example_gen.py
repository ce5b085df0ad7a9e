"""VocExampleGen as a node of a pipeline of its own: what it writes, and when it runs again."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from ml_metadata.proto import metadata_store_pb2
from PIL import Image
from tfx.orchestration import metadata
from tfx.orchestration.beam.beam_dag_runner import BeamDagRunner
from tfx.orchestration.pipeline import Pipeline

import pipeline.local  # noqa: F401  Beam's default runner is set there
from components.voc_example_gen import executor
from components.voc_example_gen.component import VocExampleGen
from components.voc_example_gen.devkit import DataError, read_split
from trainer import features
from trainer.voc import CLASS_NAMES

SPLITS = {
    "train": {"list": "train", "masks": "SegmentationClass"},
    "eval": {"list": "val", "masks": "SegmentationClass"},
}


class Runs:
    """Runs a pipeline of VocExampleGen alone, again and again, in one folder."""

    def __init__(self, output: Path, root: Path):
        self.output = output
        self.root = root
        self.connection = metadata.sqlite_metadata_connection_config(str(output / "metadata.sqlite"))

    def __call__(self) -> None:
        node = VocExampleGen(input_base=str(self.root), splits=SPLITS, num_classes=21)
        BeamDagRunner().run(
            Pipeline(
                "ingest",
                str(self.output),
                components=[node],
                enable_cache=True,
                metadata_connection_config=self.connection,
                beam_pipeline_args=["--runner=FnApiRunner"],
            )
        )

    def states(self) -> list[str]:
        with metadata.Metadata(self.connection) as handle:
            executions = sorted(handle.store.get_executions(), key=lambda execution: execution.id)
        return [metadata_store_pb2.Execution.State.Name(execution.last_known_state) for execution in executions]

    def artifacts(self) -> list[metadata_store_pb2.Artifact]:
        with metadata.Metadata(self.connection) as handle:
            return [a for a in handle.store.get_artifacts() if a.state == metadata_store_pb2.Artifact.LIVE]


def records(directory: Path) -> list[tf.train.Example]:
    files = sorted(str(file) for file in directory.glob("*"))
    return [tf.train.Example.FromString(record.numpy()) for record in tf.data.TFRecordDataset(files)]


@pytest.fixture
def runs(devkit_copy, tmp_path) -> Runs:
    return Runs(tmp_path / "out", devkit_copy)


def test_it_runs_again_when_and_only_when_the_data_have_changed(runs):
    runs()
    runs()
    assert runs.states() == ["COMPLETE", "CACHED"]

    mask_file = runs.root / "SegmentationClass" / "2012_000001.png"
    mask = np.asarray(Image.open(mask_file)).copy()
    mask[0, 0] = 7
    Image.fromarray(mask).save(mask_file)
    runs()
    runs()
    assert runs.states()[2:] == ["COMPLETE", "CACHED"]

    picture = runs.root / "JPEGImages" / "2012_000002.jpg"
    Image.open(picture).save(picture, quality=50)
    runs()
    assert runs.states()[4:] == ["COMPLETE"]

    train_list = runs.root / "ImageSets" / "Segmentation" / "train.txt"
    train_list.write_text("".join(train_list.read_text().splitlines(keepends=True)[:-1]))
    runs()
    runs()
    assert runs.states()[5:] == ["COMPLETE", "CACHED"]


def test_what_it_writes(runs):
    runs()
    (artifact,) = runs.artifacts()
    assert json.loads(artifact.properties["split_names"].string_value) == ["eval", "train"]
    assert artifact.custom_properties["input_fingerprint"].string_value

    examples = records(Path(artifact.uri, "Split-train"))
    assert len(examples) == 6
    assert len(records(Path(artifact.uri, "Split-eval"))) == 2
    for example in examples:
        values = example.features.feature
        picture_id = values[features.IMAGE_SOURCE_ID].bytes_list.value[0].decode()
        picture = runs.root / "JPEGImages" / f"{picture_id}.jpg"
        assert values[features.IMAGE_ENCODED].bytes_list.value[0] == picture.read_bytes()
        assert values[features.IMAGE_FILENAME].bytes_list.value[0].decode() == picture.name
        assert values[features.IMAGE_FORMAT].bytes_list.value[0] == b"jpeg"

        mask = np.asarray(Image.open(runs.root / "SegmentationClass" / f"{picture_id}.png"))
        written = Image.open(io.BytesIO(values[features.LABEL_ENCODED].bytes_list.value[0]))
        assert written.mode == "L"
        np.testing.assert_array_equal(np.asarray(written), mask)
        assert (
            values[features.IMAGE_HEIGHT].int64_list.value[0],
            values[features.IMAGE_WIDTH].int64_list.value[0],
        ) == mask.shape
        counts = np.bincount(mask.ravel(), minlength=256)
        np.testing.assert_array_equal(values[features.LABEL_PIXELS].int64_list.value, counts[: len(CLASS_NAMES)])
        assert values[features.LABEL_VOID_PIXELS].int64_list.value[0] == counts[255] > 0


def test_all_that_is_wrong_is_named_and_nothing_is_published(runs):
    picture = runs.root / "JPEGImages" / "2012_000001.jpg"
    sound = picture.read_bytes()
    picture.write_bytes(sound[:-200])
    mask = runs.root / "SegmentationClass" / "2012_000007.png"
    Image.open(mask).convert("RGB").save(mask)

    with pytest.raises(DataError) as error:
        runs()
    assert "2012_000001.jpg: cannot be decoded" in str(error.value)
    assert "2012_000007.png: a PNG of mode RGB" in str(error.value)
    assert runs.artifacts() == []
    assert not list(runs.output.rglob("*tfrecord*"))

    # Mended, the same pipeline takes nothing of the broken run for whole.
    picture.write_bytes(sound)
    Image.open(mask).convert("L").point(lambda value: 0).save(mask)
    runs()
    assert runs.states() == ["FAILED", "COMPLETE"]


def test_the_files_do_not_depend_on_the_order_of_the_list(devkit_root, tmp_path, monkeypatch):
    monkeypatch.setattr(executor, "PAIRS_PER_SHARD", 5)
    pairs = read_split(devkit_root, "train", "SegmentationClass")
    contents = []
    for number, members in enumerate((pairs, pairs[::-1])):
        directory = tmp_path / str(number)
        directory.mkdir()
        for shard in executor.split_into_shards(members, str(directory)):
            assert list(executor.write_shard(shard, num_classes=21)) == []
        contents.append({file.name: file.read_bytes() for file in directory.iterdir()})
    assert contents[0] == contents[1]
    assert sorted(contents[0]) == [f"data_tfrecord-{index:05d}-of-00003" for index in range(3)]
