"""Trains outside the pipeline, as one of several workers: `python -m kubeflow.training_worker`.

Every worker runs the same command and has its own TF_CONFIG; all train one network, and the first writes it.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

from schema.features import EVAL_SPLIT, TRAIN_SPLIT
from trainer.common import files

LOGGER = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and trains."""
    parser = argparse.ArgumentParser(prog="python -m kubeflow.training_worker", description=__doc__)
    parser.add_argument("--examples", required=True, help="URI of the examples, with a folder for each split.")
    parser.add_argument("--transform-graph", required=True, help="URI of Transform's graph.")
    parser.add_argument("--settings", required=True, help="trainer.settings.TrainerSettings as JSON.")
    parser.add_argument("--output", required=True, help="URI that the model is written to.")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    # It tells of every reduction.
    logging.getLogger("tensorflow").setLevel(logging.WARNING)
    import tensorflow as tf

    try:
        train(options.examples, options.transform_graph, json.loads(options.settings), options.output)
    except (tf.errors.UnavailableError, tf.errors.DeadlineExceededError) as error:
        told = " ".join(str(error).split())
        raise SystemExit(f"another worker has ended or does not answer, so this one ends too: {told}") from error


def train(examples: str, transform_graph: str, settings: dict, output: str) -> None:
    """Does what the pipeline's Trainer does, with the same function, and uploads what that has written.

    Args:
        examples: URI or path of SegmentationExampleGen's examples.
        transform_graph: URI or path of Transform's graph.
        settings: a `TrainerSettings` as a dictionary.
        output: URI or path of the model: `Format-Serving` in it is the SavedModel, as in TFX's Model artifact.

    Raises:
        OSError: something cannot be read or written.
        ValueError: the batch cannot be dealt out evenly.
        WeightsError: the weights to start from are of another network.
        DivergedError: the loss, or what was learnt, is no longer a number.
    """
    # They take half a minute, and the command's --help should not.
    from tfx.components.trainer.fn_args_utils import FnArgs

    from pipeline.code import code_of
    from trainer import run

    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        train_files, eval_files = (
            files.fetched(files.join(examples, f"Split-{split}"), str(work / "examples" / split))
            for split in (TRAIN_SPLIT, EVAL_SPLIT)
        )
        model = work / "model"
        folder = run.train_and_export(
            FnArgs(
                train_files=[f"{train_files}/*"],
                eval_files=[f"{eval_files}/*"],
                transform_output=files.fetched(transform_graph, str(work / "transform_graph")),
                serving_model_dir=str(model / "Format-Serving"),
                model_run_dir=str(model),
                custom_config={
                    "settings": settings,
                    "checkpoints": settings["train"]["checkpoints"],
                    "code": code_of("trainer"),
                },
            )
        )
        if not model.exists():
            LOGGER.info("done; the first worker writes the model")
            return
        files.upload_folder(str(model), output)
        folder.finish()
    LOGGER.info("the model is in %s", output)


if __name__ == "__main__":
    main()
