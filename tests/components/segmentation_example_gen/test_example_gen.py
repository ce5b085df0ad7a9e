"""SegmentationExampleGen as a node of a pipeline of its own: what it writes, and when it runs again."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from ml_metadata.proto import metadata_store_pb2
from PIL import Image
from tfx.orchestration import metadata
from tfx.orchestration.beam.beam_dag_runner import BeamDagRunner
from tfx.orchestration.pipeline import Pipeline

import pipeline.runs.local  # noqa: F401  Beam's default runner is set there
from components.artifacts.problems import DataError
from components.segmentation_example_gen import executor
from components.segmentation_example_gen.component import SegmentationExampleGen
from components.segmentation_example_gen.sources import DATA
from components.segmentation_example_gen.sources.voc import VocData
from schema import features
from schema.labels import VOC2012


class Runs:
    """Runs a pipeline of SegmentationExampleGen alone, again and again, in one folder."""

    def __init__(self, output: Path, root: Path):
        self.output = output
        self.root = root
        self.connection = metadata.sqlite_metadata_connection_config(str(output / "metadata.sqlite"))

    def __call__(self, **values: object) -> None:
        data = DATA.validate_python({"root": self.root, **values})
        node = SegmentationExampleGen(data=data, problem_folder=str(self.output / "data-problems"))
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

    def artifacts(self, type_name: str = "Examples") -> list[metadata_store_pb2.Artifact]:
        with metadata.Metadata(self.connection) as handle:
            found = handle.store.get_artifacts_by_type(type_name)
        return [artifact for artifact in found if artifact.state == metadata_store_pb2.Artifact.LIVE]


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
        np.testing.assert_array_equal(values[features.LABEL_PIXELS].int64_list.value, counts[:21])
        assert values[features.LABEL_VOID_PIXELS].int64_list.value[0] == counts[255] > 0
        assert values[features.LABEL_VOID_SHARE].float_list.value[0] == pytest.approx(counts[255] / mask.size)
        assert values[features.IMAGE_ASPECT_RATIO].float_list.value[0] == pytest.approx(mask.shape[1] / mask.shape[0])
        present = [VOC2012.names[index] for index in np.flatnonzero(counts[:21])]
        assert [name.decode() for name in values[features.LABEL_CLASSES].bytes_list.value] == present
        assert values[features.LABEL_CLASS_COUNT].int64_list.value[0] == len(present)
        for index, name in enumerate(VOC2012.names):
            assert list(values[features.label_pixels_of(name)].int64_list.value) == (
                [counts[index]] if name in present else []
            )


def test_all_that_is_wrong_is_named_and_nothing_is_published(runs):
    picture = runs.root / "JPEGImages" / "2012_000001.jpg"
    sound = picture.read_bytes()
    picture.write_bytes(sound[:-200])
    mask = runs.root / "SegmentationClass" / "2012_000007.png"
    Image.new("RGB", Image.open(mask).size, (1, 2, 3)).save(mask)

    with pytest.raises(DataError) as error:
        runs()
    assert "2012_000001.jpg: cannot be decoded" in str(error.value)
    assert "2012_000007.png: colour " in str(error.value)
    assert runs.artifacts() == []
    assert not list(runs.output.rglob("*tfrecord*"))
    listed = json.loads((runs.output / "data-problems" / "problems.json").read_text())
    assert [Path(problem["where"]).name for problem in listed] == ["2012_000007.png", "2012_000001.jpg"]
    assert "2012_000001.jpg" in (runs.output / "data-problems" / "index.html").read_text()

    # Mended, the same pipeline takes nothing of the broken run for whole.
    picture.write_bytes(sound)
    Image.open(mask).convert("L").point(lambda value: 0).save(mask)
    runs()
    assert runs.states() == ["FAILED", "COMPLETE"]


def test_what_may_be_left_out_is_left_out_and_listed(runs):
    (runs.root / "JPEGImages" / "2012_000001.jpg").write_bytes(b"")
    (runs.root / "SegmentationClass" / "2012_000002.png").unlink()
    runs(max_quarantined=0.25)
    (examples,) = runs.artifacts()
    assert len(records(Path(examples.uri, "Split-train"))) == 4
    (problems,) = runs.artifacts("DataProblems")
    listed = json.loads(Path(problems.uri, "problems.json").read_text())
    assert {(problem["split"], problem["pair"]) for problem in listed} == {
        ("train", "2012_000001"),
        ("train", "2012_000002"),
    }
    runs(max_quarantined=0.25)
    assert runs.states() == ["COMPLETE", "CACHED"]


def test_pictures_to_be_predicted_have_no_labels(runs):
    lists = runs.root / "ImageSets" / "Segmentation"
    (lists / "test.txt").write_text((lists / "val.txt").read_text())
    runs(splits={"test": {"list": "test"}})
    (examples,) = runs.artifacts()
    assert json.loads(examples.properties["split_names"].string_value) == ["eval", "test", "train"]
    for example in records(Path(examples.uri, "Split-test")):
        assert example.features.feature[features.IMAGE_ENCODED].bytes_list.value[0]
        assert not any(key.startswith("image/segmentation") for key in example.features.feature)


def test_spans_are_recorded_and_nothing_new_is_nothing_done(runs, devkit_copy, tmp_path):
    spans = tmp_path / "spans"
    spans.mkdir()
    pattern = {"root": None, "pattern": str(spans / "span-{SPAN}")}
    shutil.copytree(devkit_copy, spans / "span-3")
    runs(**pattern)
    runs(**pattern)
    shutil.copytree(devkit_copy, spans / "span-12")
    runs(**pattern)
    runs(**pattern, window=2)
    assert runs.states() == ["COMPLETE", "CACHED", "COMPLETE", "COMPLETE"]
    found = [
        (artifact.properties["span"].int_value, artifact.custom_properties["spans"].string_value)
        for artifact in runs.artifacts()
    ]
    assert found == [(3, "3"), (12, "12"), (12, "3, 12")]
    assert len(records(Path(runs.artifacts()[-1].uri, "Split-train"))) == 12


def test_the_files_do_not_depend_on_the_order_of_the_list(devkit_root, tmp_path, monkeypatch):
    monkeypatch.setattr(executor, "PAIRS_PER_SHARD", 5)
    pairs = VocData().list_split(str(devkit_root), "train").pairs
    contents = []
    for number, members in enumerate((pairs, pairs[::-1])):
        directory = tmp_path / str(number)
        directory.mkdir()
        for shard in executor.split_into_shards(members, "train", str(directory)):
            assert list(executor.write_shard(shard, VOC2012)) == []
        contents.append({file.name: file.read_bytes() for file in directory.iterdir()})
    assert contents[0] == contents[1]
    assert sorted(contents[0]) == [f"data_tfrecord-{index:05d}-of-00003" for index in range(3)]
