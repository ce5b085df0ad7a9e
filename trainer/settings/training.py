"""`train`: the loss, what training starts from and how it runs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, Strict, model_validator

from schema.section import Integer, Number, Positive, Section
from trainer.settings.hyperparameters import Hps
from trainer.settings.network import OutputStride

LOSS_OPTIONS = {"ohem_cross_entropy": "hardest", "focal": "gamma", "lovasz_softmax": "stride"}
"""The one option of each loss that has one."""


class LossTerm(Section):
    """One loss of a weighted sum."""

    name: Literal["cross_entropy", "balanced_cross_entropy", "ohem_cross_entropy", "focal", "dice", "lovasz_softmax"]
    """Which."""
    weight: Annotated[Number, Field(gt=0)] = 1.0
    """In the sum."""
    hardest: Annotated[Number, Field(gt=0, le=1)] = 0.25
    """For `ohem_cross_entropy`: share of the pixels that is kept."""
    gamma: Annotated[Number, Field(ge=0)] = 2.0
    """For `focal`."""
    stride: Annotated[Positive, Field(le=16)] = 1
    """For `lovasz_softmax`, which sorts the pixels, class by class: with 2, it looks at every second pixel of every
    second row."""

    @model_validator(mode="after")
    def _has_what_is_given(self) -> LossTerm:
        for loss, option in LOSS_OPTIONS.items():
            if self.name != loss and getattr(self, option) != type(self).model_fields[option].default:
                raise ValueError(f"{option} is for {loss}, and {self.name} has none; found {getattr(self, option)}")
        return self


IMAGENET = "imagenet"
NAMED_WEIGHTS = (IMAGENET, "none")
"""Values of `train.init_from` that are no place of a file."""
LATEST_BLESSED = "latest_blessed"
LATEST_PUSHED = "latest_pushed"
EARLIER_MODELS = (LATEST_BLESSED, LATEST_PUSHED)
"""Values of `train.init_from` that stand for a model of an earlier run, which may be missing."""


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _with_an_end(places: tuple[str, ...]) -> tuple[str, ...]:
    """The places, the last of which is one that cannot be missing, and no other."""
    if len(places) == 1 and places[0] in EARLIER_MODELS:
        return (*places, IMAGENET)
    is_earlier_model = [place in EARLIER_MODELS for place in places]
    if is_earlier_model != [True] * (len(places) - 1) + [False] or not places[-1]:
        raise ValueError(
            f"it must be {', '.join(NAMED_WEIGHTS)}, a path or a URI, before which {' and '.join(EARLIER_MODELS)} may "
            f"stand in a list, such as [{LATEST_BLESSED}, {IMAGENET}]"
        )
    return places


class WarmStart(Section):
    """What differs in `hps` when training starts from an earlier run's model; what is unset is as there."""

    steps: Positive | None = None
    """Instead of `hps.steps` or `hps.epochs`."""
    epochs: Annotated[Number, Field(gt=0)] | None = None
    """The same; one of the two."""
    lr: Annotated[Number, Field(gt=0)] | None = None
    """Instead of `hps.lr`."""
    warmup_steps: Annotated[Integer, Field(ge=0)] | None = None
    """Instead of `hps.warmup_steps`."""

    @property
    def has_length(self) -> bool:
        """Whether it says how long training is."""
        return self.steps is not None or self.epochs is not None

    @model_validator(mode="after")
    def _one_length(self) -> WarmStart:
        if self.steps is not None and self.epochs is not None:
            raise ValueError(f"steps is {self.steps} and epochs is {self.epochs:g}; give one of them")
        return self

    def applied_to(self, hps: Hps) -> Hps:
        """The hyperparameters of a warm start.

        Args:
            hps: those of other trainings.

        Raises:
            ValueError: they contradict one another.
        """
        changed = self.model_dump(exclude_none=True)
        if self.has_length:
            changed = {"steps": None, "epochs": None} | changed
        return Hps.model_validate(hps.model_dump(exclude_unset=True) | changed)


class Train(Section):
    """How training starts and how it reads its data."""

    init_from: Annotated[tuple[str, ...], BeforeValidator(_as_list), AfterValidator(_with_an_end)] = (IMAGENET,)
    """`imagenet` (Keras downloads the backbone's weights), `none`, or where weights lie, path or URI: a `.h5` or
    `.keras` file of the backbone or of the whole network, or a SavedModel that an earlier run has pushed. Or
    `latest_blessed` or `latest_pushed` (on Kubeflow both are the last pushed one), the model of the last run that had
    one. Since there is none at first, these stand in a list before one of the others, such as
    `[latest_blessed, /weights.h5]`, and the first that exists is taken; alone they are followed by `imagenet`."""
    warm_start: WarmStart = WarmStart()
    output_stride: OutputStride | None = None
    """While training. Unset: as in `nn_arch`. The rates of a design written for `nn_arch.output_stride` follow."""
    loss: Annotated[tuple[LossTerm, ...], Field(min_length=1)] = (LossTerm(name="cross_entropy"),)
    """A weighted sum of losses, such as `[{name: cross_entropy}, {name: dice, weight: 0.5}]`. Names: cross_entropy,
    balanced_cross_entropy (classes weighted by their pixels in the training split), ohem_cross_entropy (`hardest`:
    share of the pixels kept), focal (`gamma`), dice, lovasz_softmax (`stride`)."""
    crop_size: Annotated[Integer, Field(ge=33, le=4097)] | None = None
    """Side of the square that training cuts out of each picture after scaling it, pixels. Unset: `nn_arch.image_size`,
    the whole canvas, which evaluation and serving see in any case."""
    shuffle_buffer: Positive = 2048
    """Encoded pictures that are held in memory to draw the next one from."""
    evaluate_every: Positive | None = None
    """Steps between evaluations on the eval split, at the size of the canvas. The model that had the best mean IoU is
    the one that is exported. Unset: ten times in all."""
    eval_pictures: Positive | None = None
    """Pictures of the eval split that such an evaluation looks at, the first ones. Unset: all."""
    early_stopping: Positive | None = None
    """Evaluations in a row without a better mean IoU that end the training."""
    checkpoints: Annotated[str, Field(min_length=1)] | None = None
    """Where training keeps what it needs to go on after it was stopped or killed: a folder that outlives it, such as a
    mounted volume's, or a URI. Unset: `checkpoints` in the output folder or, on Kubeflow, in the pipeline's folder
    under `kubeflow.root`."""
    checkpoint_every: Positive = 500
    """Steps between checkpoints; there is one after each evaluation as well."""
    num_gpus: Annotated[Integer, Field(ge=0)] | None = None
    """GPUs of this machine that share each batch, at most; a warning tells if there are fewer. Unset: all there are.
    Without any, the CPU trains."""
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    """What layers compute in; weights and loss are float32 in any case. `auto`: on GPUs with tensor cores the mixed one
    that they are made for, otherwise float32."""
    jit: Annotated[bool, Strict()] = False
    """Compile the training step with XLA. On CPUs it takes many times as long."""

    @property
    def earlier_models(self) -> tuple[str, ...]:
        """Those of `EARLIER_MODELS` that are looked for, in this order."""
        return self.init_from[:-1]

    @property
    def weights(self) -> str:
        """What training starts from if none of them is there: one of `NAMED_WEIGHTS`, a path or a URI."""
        return self.init_from[-1]


RUN_OPTIONS = ("checkpoints", "checkpoint_every", "num_gpus")
"""Settings of `train` that change how training is run, and not what is trained. They are no part of the cache's key."""
RUN_OPTIONS_VARIABLE = "DEEPLAB_RUN_OPTIONS"
"""The environment variable that holds them as JSON, `train`, and beside them the folder of `checkpoints`."""


def with_run_options(custom_config: Mapping[str, Any]) -> dict[str, Any]:
    """The Trainer's `custom_config` with the options of the run, which come in the environment."""
    options = json.loads(os.environ.get(RUN_OPTIONS_VARIABLE, "{}"))
    settings = dict(custom_config["settings"])
    settings["train"] = {**settings["train"], **options.get("train", {})}
    return {"checkpoints": options.get("checkpoints"), **custom_config, "settings": settings}
