"""The whole graph, its Beam steps handed to a job service over gRPC, as to Flink's and Spark's."""

import pytest

from pipeline.config.loading import load_config

CONFIG = """
name: service
base_model: MobileNetV2
nn_arch: {image_size: 65, mv2_depth_multiplier: 0.35, reduction_size: 8, concat_channels: 8}
hps: {steps: 3, batch_size: 4}
train: {init_from: none}
"""


@pytest.mark.slow
def test_the_steps_that_process_data_run_on_a_job_service(devkit_root, tmp_path, job_service, silent):
    from pipeline.runs import local

    address, log = job_service
    file = tmp_path / "service.yaml"
    file.write_text(CONFIG)
    flags = ["--runner=PortableRunner", f"--job_endpoint={address}", "--environment_type=LOOPBACK"]
    results = {
        name: local.run(
            load_config(file, overrides=overrides, data=str(devkit_root), output=tmp_path / name),
            silent,
        )
        for name, overrides in (("service", [f"beam.pipeline_args={flags}"]), ("here", []))
    }
    # SegmentationExampleGen, StatisticsGen, Transform and Evaluator.
    assert log.read_text().count("with state DONE") >= 4
    assert results["service"].pictures == results["here"].pictures == {"train": 12, "eval": 4}
    assert results["service"].evaluation.mean_iou == pytest.approx(results["here"].evaluation.mean_iou, abs=1e-6)
    assert results["service"].pushed_to is not None
