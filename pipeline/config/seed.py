"""The configuration files of tonandr/deeplabv3plus_keras, "the seed", read as ours.

`nn_arch`, `hps` and `base_model` carry the same names and are taken over. What had another meaning is translated, and
what has none here is named in a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

NAME = "seed"
ONLY_IN_THE_SEED = {"raw_data_path", "resource_path", "mode", "model_loading"}
"""Keys of its top level that tell its files from ours."""

NOT_FOLLOWED = {
    "eval_data_mode": "data.splits.eval says what is judged on",
    "eval_result_saving": "pictures are not saved",
    "model_loading": "the seed's models cannot be read; train.init_from says what training starts from",
    "mode": "the command says what is done, and `deeplab run` trains, judges and pushes",
    "resource_type": "the data are Pascal VOC, unless data.format says otherwise",
    "max_queue_size": "input is read in parallel by itself",
    "workers": "input is read in parallel by itself",
    "hps.tr_step": "an epoch is all pictures once",
    "hps.val_step": "all pictures are judged",
    "nn_arch.encoder_middle_conf_city_scrapes": "encoder_middle_conf is; it can name this design seed_cityscapes",
}
AS_HERE = {
    "eval_result_saving": False,
    "model_loading": False,
    "mode": "train",
}
"""Values that ask for what is done anyway."""
HIGH_DROPOUT = 0.5
TO_LITERT = "convert_to_tf_lite"
"""The seed's mode that converts a model it has trained before."""
LITERT = "litert_float32"
PRECISIONS = {"float32": "float32", "float16": "mixed_float16", "bfloat16": "mixed_bfloat16"}
"""By the seed's `hps.dtype`. What it computed in float16 throughout is computed in mixed precision."""

Warn = Callable[[str], None]


def is_seed_config(values: dict[str, Any]) -> bool:
    """Whether a file's contents are in the seed's form."""
    return "name" not in values and bool(ONLY_IN_THE_SEED & values.keys())


def from_seed(values: dict[str, Any], warn: Warn, set_here: Collection[str] = ()) -> dict[str, Any]:
    """Translates a seed file.

    Args:
        values: the file's contents, with what the command line sets in it.
        warn: is told, a sentence each, which keys are not followed and why.
        set_here: keys that the command line sets, with dots between the levels.

    Returns:
        Our keys and values; those that are wrong are left for the configuration to refuse, under the names they have.
    """
    ours = {key: dict(value) if isinstance(value, dict) else value for key, value in values.items()}
    if ours.get("mode") == TO_LITERT:
        del ours["mode"]
        export = ours.setdefault("export", {})
        if isinstance(export, dict):
            export.setdefault("formats", [LITERT])
        warn(f"mode {TO_LITERT!r} turns on export.formats {LITERT}: `deeplab run` trains, judges, converts and pushes")
    for key, reason in NOT_FOLLOWED.items():
        section, _, name = key.rpartition(".")
        holder = ours.get(section) if section else ours
        if isinstance(holder, dict) and name in holder and (value := holder.pop(name)) != AS_HERE.get(key):
            warn(
                f"{key} {value!r} is not followed: {reason}"
                if isinstance(value, str | int | float)
                else f"{key} is not followed: {reason}"
            )
    for key in ("resource_path", "raw_data_path"):
        if key in ours:
            root = str(Path(str(ours.pop(key)), "VOCdevkit", "VOC2012"))
            data = ours.setdefault("data", {})
            if isinstance(data, dict):
                data.setdefault("root", root)
    _devices(ours)
    if isinstance(hps := ours.get("hps"), dict):
        if "dtype" in hps:
            dtype = hps.pop("dtype")
            _train_section(ours).setdefault("precision", PRECISIONS.get(str(dtype), dtype))
        if "val_ratio" in hps:
            _divide(ours, hps.pop("val_ratio"), warn)
        hps.setdefault("optimizer", "adam")
        hps.setdefault("lr_schedule", "inverse_time" if hps.get("decay") else "constant")
        decay = hps.get("weight_decay")
        is_the_seeds = hps["optimizer"] != "adamw" and not {"hps", "hps.weight_decay"} & set(set_here)
        if is_the_seeds and isinstance(decay, float | int) and decay > 0:
            # Keras' L2, which the seed uses, has no half before the square.
            hps["weight_decay"] = 2 * decay
    if isinstance(nn_arch := ours.get("nn_arch"), dict):
        rate = nn_arch.get("dropout_rate")
        if isinstance(rate, float | int) and rate >= HIGH_DROPOUT:
            warn(f"nn_arch.dropout_rate {rate} drops that share of the features; DeepLabV3+ drops 0.1")
    return {"name": NAME, **ours}


def _devices(ours: dict[str, Any]) -> None:
    """The seed's `multi_gpu`: `num_gpus` GPUs, or what would be one there."""
    several, count = ours.pop("multi_gpu", None), ours.pop("num_gpus", None)
    if several is None:
        return
    _train_section(ours).setdefault("num_gpus", count if several else 1)


def _train_section(ours: dict[str, Any]) -> dict[str, Any]:
    section = ours.setdefault("train", {})
    return section if isinstance(section, dict) else {}


def _divide(ours: dict[str, Any], val_ratio: Any, warn: Warn) -> None:
    """The seed's protocol: SBD's pictures and those of `val` together, divided at random."""
    data = ours.setdefault("data", {})
    if not isinstance(data, dict) or data.get("format", "voc") != "voc":
        return
    data.setdefault("val_ratio", val_ratio)
    masks = "SegmentationClassAug"
    data.setdefault("splits", {"train": {"list": "train_aug", "masks": masks}, "eval": {"list": "val", "masks": masks}})
    warn(
        f"hps.val_ratio {val_ratio}: pictures of train_aug and val are divided at random, as in the seed, so most "
        "of the official validation pictures are learnt from; data.val_ratio=null keeps the official splits"
    )
