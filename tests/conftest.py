"""Shared by all tests: a small generated devkit, what Transform makes of it, a job service of Beam's, and silence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# As in a terminal. A shell's background ignores Ctrl-C, and so would all that the tests start from there.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

JOB_SERVICE_START_S = 120
IMAGE_SIZE = 65
"""Side of the canvases of `transformed`, pixels."""


class WithoutTfx:
    """Refuses to import TFX, so that nothing that takes long to import slips into `make test-unit`."""

    PACKAGES = frozenset({"tfx", "tensorflow_data_validation", "tensorflow_model_analysis"})

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name.partition(".")[0] in self.PACKAGES:
            raise ImportError(
                f"{name} is imported under --without-tfx; take the test out of UNIT_TESTS in the Makefile"
            )


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--without-tfx", action="store_true", help="Fail where TFX, TFDV or TFMA is imported.")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--without-tfx"):
        sys.meta_path.insert(0, WithoutTfx())


@pytest.fixture(scope="session", autouse=True)
def no_arguments() -> Iterator[None]:
    """Hides pytest's command line: TFX's Beam executors read it for flags of theirs, where -v wants a number."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", sys.argv[:1])
        yield


@pytest.fixture(scope="session")
def devkit_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A devkit of 12 train and 4 val pictures. Read it only; `devkit_copy` may be changed."""
    from pipeline.datasets.synthetic_voc import write_devkit

    return write_devkit(tmp_path_factory.mktemp("data"), train=12, val=4)


@pytest.fixture
def devkit_copy(tmp_path: Path) -> Path:
    """A devkit of 6 train and 2 val pictures that a test may damage."""
    from pipeline.datasets.synthetic_voc import write_devkit

    return write_devkit(tmp_path / "data", train=6, val=2)


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
    from schema.labels import VOC2012
    from trainer.data.preprocessing import preprocessing_fn

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


class Silent:
    """A reporter that reports nothing."""

    def step_started(self, step: str) -> None:
        pass

    def step_finished(self, step: str, *, cached: bool, seconds: float) -> None:
        pass


@pytest.fixture(scope="session")
def silent() -> Silent:
    return Silent()


@pytest.fixture
def job_service(tmp_path) -> Iterator[tuple[str, Path]]:
    """Address and log of a service of Beam's that takes jobs over gRPC, as Flink's and Spark's do."""
    port, log = tmp_path / "port", tmp_path / "log"
    command = [sys.executable, "-m", "apache_beam.runners.portability.local_job_service_main"]
    with log.open("w") as output:
        service = subprocess.Popen([*command, "--port_file", str(port)], stderr=output, stdout=output)
    try:
        waited_until = time.monotonic() + JOB_SERVICE_START_S
        while not (port.exists() and port.read_text()):
            assert service.poll() is None and time.monotonic() < waited_until, log.read_text()
            time.sleep(0.1)
        yield f"localhost:{port.read_text()}", log
    finally:
        service.terminate()
        service.wait()
