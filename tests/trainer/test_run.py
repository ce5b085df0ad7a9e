"""run_fn, the Trainer's door: what it writes, and what it starts from."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import keras
import numpy as np
import pytest
from tfx.components.trainer.fn_args_utils import FnArgs

from schema.labels import VOC2012
from trainer.common.metrics import iou_per_class, number
from trainer.common.training_history import EFFECTIVE_FILE, HISTORY
from trainer.data.input import evaluation_batches
from trainer.model.backbones import MINUS_ONE_TO_ONE
from trainer.model.deeplabv3plus import deeplabv3plus
from trainer.model.weights import WeightsError, transfer
from trainer.run import KERAS_FILE, run_fn
from trainer.serving.signatures import read_weights
from trainer.serving.tensorflow_kernels import with_tensorflow_kernels
from trainer.settings import Augmentation, Hps, NNArch, Train, TrainerSettings
from trainer.training.checkpoints import TENSORBOARD
from trainer.training.validation import Validation


def arch_of(reduction_size: int = 8) -> NNArch:
    return NNArch(image_size=65, mv2_depth_multiplier=0.35, reduction_size=reduction_size, concat_channels=8)


def run(
    transformed, folder: Path, base_model: str | None = None, reduction_size: int = 8, precision="auto", **hps
) -> str:
    """Trains for a step, and returns the SavedModel's folder."""
    arch = arch_of(reduction_size)
    settings = TrainerSettings(
        seed=3,
        base_model="MobileNetV2",
        nn_arch=arch,
        hps=Hps(**{"steps": 1, "batch_size": 4, **hps}),
        augmentation=Augmentation(),
        labels=VOC2012,
        train=Train(init_from=["latest_blessed", "none"], warm_start={"steps": 2, "lr": 1e-12}, precision=precision),
        eval_output_stride=16,
    )
    run_fn(
        FnArgs(
            train_files=[transformed.pattern],
            eval_files=[transformed.pattern],
            transform_output=transformed.graph_directory,
            serving_model_dir=str(folder / "Format-Serving"),
            model_run_dir=str(folder),
            custom_config={"settings": settings.model_dump(mode="json")},
            base_model=base_model,
        )
    )
    return str(folder / "Format-Serving")


def steps_told_of(caplog: pytest.LogCaptureFixture) -> set[int]:
    """How long training said that it was."""
    return {record.progress.steps for record in caplog.records if hasattr(record, "progress")}


def kernels(folder: Path) -> list[np.ndarray]:
    network = keras.models.load_model(folder / KERAS_FILE, compile=False)
    return [weight.numpy() for weight in network.trainable_weights]


def test_a_warm_start_goes_on_from_the_last_models_weights_by_a_schedule_of_its_own(transformed, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="trainer.training.progress")
    first = run(transformed, tmp_path / "first")
    assert steps_told_of(caplog) == {1}
    # The learning rate of warm starts moves nothing, and so shows what was started from.
    run(transformed, tmp_path / "warm", base_model=first, weight_decay=0.0)
    assert steps_told_of(caplog) == {1, 2}
    pairs = list(zip(kernels(tmp_path / "first"), kernels(tmp_path / "warm"), strict=True))
    assert all(np.allclose(before, after, atol=1e-6) for before, after in pairs)

    # What the training was, and how it went, lies beside the network.
    effective = json.loads((tmp_path / "first" / EFFECTIVE_FILE).read_text())
    assert effective["settings"]["hps"]["batch_size"] == 4
    assert (effective["steps"], effective["pictures"], effective["precision"]) == (1, 12, "float32")
    (evaluation,) = json.loads((tmp_path / "first" / HISTORY).read_text())["evaluations"]
    assert evaluation["step"] == 1
    assert 0 <= evaluation["mean_iou"] <= 1
    assert list((tmp_path / "first" / TENSORBOARD).glob("events.out.tfevents.*"))

    # A last model that is of no use is named, with the reason.
    for model, width, reason in ((first, 16, "does not fit deeplabv3plus: layer"), ("/gone", 8, "cannot be read: No")):
        with pytest.raises(WeightsError, match=rf"train\.init_from: {model} {reason}.*; this is the last model: to "):
            run(transformed, tmp_path / "other", base_model=model, reduction_size=width)


def test_what_is_trained_in_16_bits_is_judged_as_it_is_served(transformed, tmp_path):
    served = run(transformed, tmp_path, precision="mixed_bfloat16", lr=1e-9, bn_momentum=0.01)
    assert json.loads((tmp_path / EFFECTIVE_FILE).read_text())["precision"] == "mixed_bfloat16"
    (evaluation,) = json.loads((tmp_path / HISTORY).read_text())["evaluations"]
    network = deeplabv3plus("MobileNetV2", arch_of())
    transfer(read_weights(served), network, served)
    batches = evaluation_batches([transformed.pattern], transformed.graph, batch_size=4)
    judged = Validation(with_tensorflow_kernels(network), batches, MINUS_ONE_TO_ONE)
    matrix = judged.confusion_matrix()
    assert np.count_nonzero(matrix.sum(axis=0)) > 1
    np.testing.assert_array_equal(evaluation["iou"], [number(each) for each in iou_per_class(matrix)])
