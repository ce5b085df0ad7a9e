"""Where a run on Kubeflow reads and writes, and whether its steps can. Imports no TensorFlow."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from pipeline.config.config import Config, ConfigError
from pipeline.config.kubeflow import Volume
from pipeline.config.sections import runner_of
from pipeline.output_locations import OutputLocations, checkpoints_of
from trainer.common.files import is_remote, join
from trainer.settings import NAMED_WEIGHTS

EXAMPLE_GEN = "SegmentationExampleGen"
PREVIOUS_RUN = "PreviousRun"
PUSHER = "Pusher"
IN_THE_STEP = ("FnApiRunner", "DirectRunner", "PrismRunner")
"""Beam's runners that work where the step does."""


def pipeline_name(config: Config) -> str:
    """The experiment's name in the letters that Kubeflow allows: ValidatePipelineName in backend/src/apiserver."""
    return config.name.lower().replace("_", "-")


def places_of(config: Config) -> OutputLocations:
    """Where a run on Kubeflow writes.

    Raises:
        ConfigError: image or root are not given.
    """
    for key, value in (("image", config.kubeflow.image), ("root", config.kubeflow.root)):
        if value is None:
            raise ConfigError(f"kubeflow.{key}: is not given; {_WANTED[key]}")
    folder = _folder(config)
    return OutputLocations(
        artifacts="",
        pushed_models=config.push.directory or join(folder, "serving_model"),
        problems=join(folder, "data-problems"),
        checkpoints=checkpoints_of(config) or join(folder, "checkpoints"),
    )


_WANTED = {
    "image": "wanted is the name of the image that `make image` has built and that the cluster can pull",
    "root": "wanted is a URI such as gs://bucket/pipelines, s3://bucket/pipelines or minio://mlpipeline/deeplab",
}


def records_of(config: Config) -> str:
    """URI of the folder of the records of finished runs."""
    return join(_folder(config), "runs")


def _folder(config: Config) -> str:
    assert config.kubeflow.root is not None, "places_of makes sure of it"
    return join(config.kubeflow.root, pipeline_name(config))


def check_places(config: Config, visible: Sequence[str] = ()) -> None:
    """Refuses paths of this machine where a pod would look for them in vain.

    Args:
        config: the experiment.
        visible: folders of this machine that the steps see as they are, beside the mounted volumes.

    Raises:
        ConfigError: naming the key and the path.
    """
    places = places_of(config)
    runner = runner_of(config.beam.pipeline_args)
    if runner not in IN_THE_STEP:
        raise ConfigError(
            f"beam.pipeline_args: found --runner={runner}, whose workers cannot see the files of a step on Kubeflow, "
            f"which its launcher keeps in the step's own pod; wanted is one of {', '.join(IN_THE_STEP)}"
        )
    weights = config.trainer_settings().train.weights
    wanted = (
        ("data.root or data.pattern", config.data_source.place, EXAMPLE_GEN),
        ("push.directory", places.pushed_models, PUSHER),
        ("push.directory", places.pushed_models, PREVIOUS_RUN),
        ("train.checkpoints", places.checkpoints, "Trainer"),
        ("train.init_from", None if weights in NAMED_WEIGHTS else weights, "Trainer"),
    )
    for key, place, step in wanted:
        if place is None or is_remote(place):
            continue
        if not any(_holds(folder, place) for folder in visible) and not _volumes(config, step, place):
            raise ConfigError(
                f"{key}: found {place!r}, a path that the step {step} does not see; give a URI, or a volume that is "
                f"mounted there by kubeflow.steps.{step}.volumes or kubeflow.all_steps.volumes"
            )
    # Or there would never be a model to be compared with.
    if _volumes(config, PUSHER, places.pushed_models) != _volumes(config, PREVIOUS_RUN, places.pushed_models):
        raise ConfigError(
            f"push.directory: {PUSHER} and {PREVIOUS_RUN} see other volumes at {places.pushed_models!r}; mount the "
            "same one in both, such as by kubeflow.all_steps.volumes"
        )


def _volumes(config: Config, step: str, place: str) -> list[Volume]:
    """The volumes of a step that a path lies in."""
    return [volume for volume in config.kubeflow.step(step).volumes if _holds(volume.path, place)]


def _holds(folder: str, place: str) -> bool:
    return posixpath.isabs(place) and posixpath.commonpath([place, folder]) == (folder.rstrip("/") or "/")
