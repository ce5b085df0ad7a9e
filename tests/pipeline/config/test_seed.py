"""The configuration file that the small Keras project publishes, taken as it is."""

import copy
import json
from pathlib import Path

import pytest

from pipeline.config.config import Config, ConfigError
from pipeline.config.loading import load_config

# What its README publishes.
PUBLISHED = json.loads((Path(__file__).parents[2] / "seed_conf.json").read_text())


def load(tmp_path: Path, **changes) -> tuple[Config, list[str]]:
    values = copy.deepcopy(PUBLISHED)
    for key, value in changes.items():
        section, _, name = key.rpartition("__")
        (values[section] if section else values)[name] = value
    file = tmp_path / "seed.json"
    file.write_text(json.dumps(values))
    warnings: list[str] = []
    return load_config(file, warn=warnings.append), warnings


def test_what_means_the_same_is_taken_over(tmp_path):
    config, _ = load(tmp_path)
    assert config.base_model == "Xception"
    assert config.data.root == str(Path("resource/VOCdevkit/VOC2012").absolute())
    hps, nn_arch = config.hps, config.nn_arch
    assert (hps.lr, hps.beta_1, hps.beta_2, hps.epochs, hps.batch_size) == (0.00005, 0.0, 0.99, 64, 6)
    assert (hps.bn_momentum, hps.bn_scale) == (0.9, True)
    assert (nn_arch.output_stride, nn_arch.image_size, nn_arch.dropout_rate) == (16, 512, 0.8)
    assert [branch.op for branch in nn_arch.branches] == [*4 * ["conv"], "pyramid_pooling"]


def test_its_optimiser_is_adam_at_a_constant_rate(tmp_path):
    hps = load(tmp_path)[0].hps
    assert (hps.optimizer, hps.lr_schedule) == ("adam", "constant")
    decaying = load(tmp_path, hps__decay=0.01)[0].hps
    assert (decaying.lr_schedule, decaying.decay) == ("inverse_time", 0.01)


def test_its_weight_decay_is_keras_own(tmp_path):
    """Keras' L2 adds decay * w ** 2 to the loss, ours decay / 2 * w ** 2."""
    assert load(tmp_path)[0].hps.weight_decay == 0.002


def test_what_is_not_followed_is_named(tmp_path):
    _, warnings = load(tmp_path)
    file = tmp_path / "seed.json"
    assert all(warning.startswith(f"{file}: ") for warning in warnings)
    assert [warning.removeprefix(f"{file}: ").split()[0] for warning in warnings] == [
        "eval_data_mode",
        "nn_arch.encoder_middle_conf_city_scrapes",
        "hps.val_ratio",
        "nn_arch.dropout_rate",
    ]


def test_its_conversion_turns_litert_on(tmp_path):
    config, warnings = load(tmp_path, mode="convert_to_tf_lite")
    assert config.export.formats == ("litert_float32",)
    assert any("mode 'convert_to_tf_lite' turns on export.formats litert_float32" in warning for warning in warnings)
    assert load(tmp_path)[0].export.formats == ()


@pytest.mark.parametrize(
    "change",
    [{"mode": "evaluate"}, {"model_loading": True}, {"workers": 4}],
    ids=str,
)
def test_whatever_is_asked_for_and_not_followed_is_named(tmp_path, change):
    ((key, value),) = change.items()
    _, warnings = load(tmp_path, **change)
    assert any(f"{key.replace('__', '.')} {value!r} is not followed: " in warning for warning in warnings)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"colour": "red"}, "colour: unknown key"),
        ({"hps__momentun": 0.9}, "hps.momentun: unknown key"),
        ({"nn_arch__output_stride": 4}, "nn_arch.output_stride: found 4"),
        ({"hps": 3}, "hps: found 3"),
        ({"hps__weight_decay": -0.001}, "hps.weight_decay: found -0.001"),
    ],
    ids=str,
)
def test_wrong_keys_and_values_are_refused(tmp_path, change, expected):
    with pytest.raises(ConfigError) as error:
        load(tmp_path, **change)
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, 1),
        ({"multi_gpu": True, "num_gpus": 2}, 2),
        ({"multi_gpu": True, "num_gpus": None}, None),
        ({"multi_gpu": True, "train": {"num_gpus": 1}}, 1),
    ],
    ids=str,
)
def test_its_gpus(tmp_path, change, expected):
    assert load(tmp_path, **change)[0].train.num_gpus == expected


def test_its_precision(tmp_path):
    assert load(tmp_path)[0].train.precision == "auto"
    assert load(tmp_path, hps__dtype="float16")[0].train.precision == "mixed_float16"
    with pytest.raises(ConfigError, match=r"train\.precision: found 'float8'"):
        load(tmp_path, hps__dtype="float8")


def test_its_learning_rate_falls_on_a_plateau(tmp_path):
    hps = load(tmp_path)[0].hps
    assert (hps.lr_schedule, hps.reduce_lr_factor) == ("constant", 0.99)


def test_names_of_its_later_versions(tmp_path):
    config, _ = load(tmp_path, base_model="efficientnetb0", resource_path="elsewhere")
    assert config.base_model == "EfficientNetB0"
    assert config.data.root == str(Path("elsewhere/VOCdevkit/VOC2012").absolute())


def test_the_command_line_speaks_the_seed_s_language(tmp_path):
    file = tmp_path / "seed.json"
    file.write_text(json.dumps(PUBLISHED))
    overrides = ["hps.decay=0.01", "nn_arch.image_size=129"]
    config = load_config(file, overrides=overrides, data=str(tmp_path / "here"), warn=lambda sentence: None)
    assert (config.hps.lr_schedule, config.hps.decay, config.nn_arch.image_size) == ("inverse_time", 0.01, 129)
    assert config.data.root == str(tmp_path / "here")


@pytest.mark.parametrize("override", ["hps.weight_decay=0.5", "hps={weight_decay: 0.5}"])
def test_a_weight_decay_of_the_command_line_is_ours(tmp_path, override):
    file = tmp_path / "seed.json"
    file.write_text(json.dumps(PUBLISHED))
    assert load_config(file, overrides=[override], warn=lambda sentence: None).hps.weight_decay == 0.5


def test_its_random_split(tmp_path):
    config, _ = load(tmp_path)
    assert config.data.val_ratio == 0.1
    splits = config.data.splits
    assert (splits.train.list, splits.eval.list) == ("train_aug", "val")
    assert splits.train.masks == splits.eval.masks == "SegmentationClassAug"


def test_the_official_split_instead(tmp_path):
    official = {"val_ratio": None, "splits": {"train": {"list": "train"}}}
    config, _ = load(tmp_path, data=official)
    assert config.data.val_ratio is None
    assert (config.data.splits.train.list, config.data.splits.train.masks) == ("train", "SegmentationClass")
