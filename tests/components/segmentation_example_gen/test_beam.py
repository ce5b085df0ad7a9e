"""The same TFRecord files, byte by byte, however Beam spreads the work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tfx.orchestration import metadata
from tfx.orchestration.beam.beam_dag_runner import BeamDagRunner
from tfx.orchestration.pipeline import Pipeline

import pipeline.runs.local  # noqa: F401  Beam's default runner is set there
from components.segmentation_example_gen import executor
from components.segmentation_example_gen.component import SegmentationExampleGen
from components.segmentation_example_gen.sources import VocData
from pipeline.datasets.synthetic_voc import write_devkit

BROKEN = "2012_000003"


def ingest(root: Path, output: Path, *beam_args: str) -> dict[str, bytes]:
    """Runs the component as the only node of a pipeline and returns its TFRecord files."""
    node = SegmentationExampleGen(
        data=VocData(root=str(root), max_quarantined=0.1), problem_folder=str(output / "problems")
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executor, "PAIRS_PER_SHARD", 5)
        BeamDagRunner().run(
            Pipeline(
                "ingest",
                str(output),
                components=[node],
                metadata_connection_config=metadata.sqlite_metadata_connection_config(str(output / "metadata.sqlite")),
                beam_pipeline_args=list(beam_args),
            )
        )
    (examples,) = (output / "SegmentationExampleGen" / "examples").iterdir()
    return {str(file.relative_to(examples)): file.read_bytes() for file in examples.rglob("data_tfrecord-*")}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A devkit with a broken picture, so that workers have a problem to report."""
    root = write_devkit(tmp_path_factory.mktemp("data"), train=12, val=4)
    picture = root / "JPEGImages" / f"{BROKEN}.jpg"
    picture.write_bytes(picture.read_bytes()[:-200])
    return root


@pytest.fixture(scope="module")
def in_this_process(root, tmp_path_factory) -> dict[str, bytes]:
    """What is written without any workers."""
    return ingest(root, tmp_path_factory.mktemp("here"), "--runner=FnApiRunner")


def test_shards_without_workers(in_this_process):
    assert sorted(in_this_process) == [
        "Split-eval/data_tfrecord-00000-of-00001",
        *(f"Split-train/data_tfrecord-{number:05d}-of-00003" for number in range(3)),
    ]
    assert all(in_this_process.values())
    assert not any(BROKEN.encode() in content for content in in_this_process.values())


@pytest.mark.slow
def test_several_worker_processes(root, in_this_process, tmp_path):
    before = os.times().children_user
    found = ingest(
        root, tmp_path, "--runner=FnApiRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=2"
    )
    assert found == in_this_process
    # To import TensorFlow alone takes each of them seconds.
    assert os.times().children_user > before + 2


def test_a_job_service(root, in_this_process, tmp_path, job_service):
    address, log = job_service
    found = ingest(
        root, tmp_path / "out", "--runner=PortableRunner", f"--job_endpoint={address}", "--environment_type=LOOPBACK"
    )
    assert found == in_this_process
    assert "with state DONE" in log.read_text()
