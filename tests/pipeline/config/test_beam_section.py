"""The flags for Beam's runners: what is taken, and what is said of what is missing."""

import pytest
from pydantic import ValidationError

from pipeline.config.sections import NEEDED_FLAGS, Beam

DATAFLOW = ("--runner=DataflowRunner", "--project=p", "--region=europe-west1", "--temp_location=gs://b/tmp")


def refusal(*arguments: str) -> str:
    with pytest.raises(ValidationError) as error:
        Beam(pipeline_args=arguments)
    return str(error.value)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--runner=FnApiRunner",),
        ("--runner", "DirectRunner", "--direct_num_workers=2"),
        (*DATAFLOW, "--sdk_container_image=r/i:1"),
        ("--runner=flink", "--flink_master=http://f:8081", "--environment_type=EXTERNAL"),
        ("--runner=SparkRunner", "--job_endpoint=localhost:8099", "--environment_type=DOCKER"),
        ("--runner=PortableRunner", "--job_endpoint=localhost:1", "--environment_type=LOOPBACK"),
        ("--runner=my.module.Runner",),
    ],
)
def test_what_beam_can_run_is_taken(arguments):
    assert Beam(pipeline_args=arguments).pipeline_args == arguments


def test_an_unknown_runner_is_refused():
    assert "--runner=DataFlo: there is no such runner; known: FnApiRunner" in refusal("--runner=DataFlo")


@pytest.mark.parametrize("missing", ["--project", "--region", "--temp_location"])
def test_dataflow_without_a_place_is_refused(missing):
    arguments = [flag for flag in (*DATAFLOW, "--sdk_container_image=r/i:1") if not flag.startswith(missing)]
    assert f"--runner=DataflowRunner needs {missing}" in refusal(*arguments)


def test_dataflow_without_this_projects_code_is_refused():
    assert "needs --sdk_container_image or --setup_file" in refusal(*DATAFLOW)


@pytest.mark.parametrize(
    ("runner", "needed"),
    [
        ("FlinkRunner", "--flink_master or --job_endpoint"),
        ("spark", "--spark_master_url or --spark_rest_url or --job_endpoint"),
        ("PortableRunner", "--job_endpoint"),
    ],
)
def test_a_service_without_an_address_is_refused(runner, needed):
    assert f"--runner={runner} needs {needed}" in refusal(f"--runner={runner}", "--environment_type=LOOPBACK")
    assert "needs --environment_type" in refusal(f"--runner={runner}", "--job_endpoint=localhost:1")


def test_what_is_no_flag_is_refused():
    assert "'runner=FlinkRunner' is no flag" in refusal("runner=FlinkRunner")
    assert "--runner stands twice" in refusal("--runner=FnApiRunner", "--runner=DirectRunner")


def test_beam_knows_the_runners():
    from apache_beam.options.pipeline_options import StandardOptions

    assert set(NEEDED_FLAGS) <= set(StandardOptions.KNOWN_RUNNER_NAMES)
