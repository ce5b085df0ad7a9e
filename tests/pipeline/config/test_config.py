"""The configuration file: what it gives, and what is said of a wrong one."""

import json
from pathlib import Path

import pytest

from pipeline.config.config import Config, ConfigError
from pipeline.config.loading import load_config, with_data

MINIMAL = "name: try\nbase_model: MobileNetV2\n"
CONFIGS = sorted((Path(__file__).parents[3] / "configs").glob("*"))


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "try.yaml"
    path.write_text(MINIMAL)
    return path


def problem(file: Path, text: str | None = None, *, overrides: tuple[str, ...] = ()) -> str:
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_config(file, overrides=overrides)
    return str(error.value)


def test_defaults_are_the_published_recipe(file):
    config = load_config(file)
    assert (config.nn_arch.image_size, config.nn_arch.output_stride, config.nn_arch.num_classes) == (513, 16, 21)
    assert (config.hps.lr, config.hps.batch_size, config.hps.poly_power) == (0.007, 16, 0.9)
    assert config.hps.total_steps(pictures=10_582) == 30_000
    assert config.augmentation.scale == (0.5, 2.0)


@pytest.mark.parametrize("config_file", CONFIGS, ids=lambda path: path.name)
def test_the_shipped_configurations_are_sound(config_file):
    assert isinstance(load_config(config_file), Config)


def test_json_and_the_numbers_of_the_backbones(tmp_path):
    path = tmp_path / "try.json"
    path.write_text(json.dumps({"name": "try", "base_model": 1, "hps": {"lr": 5e-05}}))
    config = load_config(path)
    assert config.base_model == "Xception"
    assert config.hps.lr == 0.00005


def test_yaml_takes_4e_5_for_a_number(file):
    file.write_text(MINIMAL + "hps: {weight_decay: 4e-5}\n")
    assert load_config(file).hps.weight_decay == 4e-5


def test_the_command_line_wins(file, tmp_path):
    file.write_text(MINIMAL + "hps: {steps: 7}\noutput: somewhere\ndata: {root: there}\n")
    config = load_config(
        file,
        overrides=["hps.steps=9", "data.splits.train.list=train_aug", "augmentation.scale=[1, 1]"],
        data=str(tmp_path / "here"),
        output=tmp_path / "out",
    )
    assert config.hps.steps == 9
    assert config.data.splits.train.list == "train_aug"
    assert config.augmentation.scale == (1, 1)
    assert config.data_source.root == str(tmp_path / "here")
    assert config.output_directory == tmp_path / "out"


def test_where_a_run_writes_unless_told(file, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    config = load_config(file)
    assert config.output_directory == tmp_path / "runs" / "try"


@pytest.mark.parametrize(
    ("addition", "expected"),
    [
        ("hps: {stepps: 3}", "hps.stepps: unknown key; allowed here: steps, epochs, batch_size"),
        ("colour: red", "colour: unknown key; allowed here: name, seed, base_model"),
        ("hps: {steps: 0}", "hps.steps: found 0; input should be greater than 0"),
        ("hps: {steps: many}", "hps.steps: found 'many'; input should be a valid integer"),
        ("hps: {batch_size: 2.5}", "hps.batch_size: found 2.5;"),
        ("nn_arch: {output_stride: 7}", "nn_arch.output_stride: found 7; input should be 8, 16 or 32"),
        ("nn_arch: {num_classes: 5}", "nn_arch.num_classes is 5, but data.labels names 21 classes"),
        ("nn_arch: {dropout_rate: 1}", "nn_arch.dropout_rate: found 1;"),
        ("augmentation: {scale: [2, 1]}", "scale must be [smallest, largest], found [2.0, 1.0]"),
        ("eval: {min_mean_iou: 50}", "eval.min_mean_iou: found 50; input should be less than or equal to 1"),
        ("data: {splits: {train: {list: ../x}}}", "data.splits.train.list: found '../x'"),
        ("data: {splits: {val: {list: x}}}", "data.splits.val: unknown key; allowed here: train, eval, test"),
        ("data: {splits: {train: {images: x}}}", "data.splits.train.images: unknown key; allowed here: list, masks"),
        ("data: {format: pascal}", "data: format must be voc, folders, coco, coco_panoptic, cityscapes"),
        ("data: {format: coco, mask: 3}", "data.mask: unknown key; allowed here: format, root, pattern"),
        ("data: {format: folders}", "there is nothing to judge on: set data.splits.eval, or data.val_ratio"),
        ("data: {format: folders, splits: {eval: {images: ../x}}}", "data.splits.eval.images: found '../x'"),
        ("data: {val_ratio: 1}", "data.val_ratio: found 1; input should be less than 1"),
        ("data: {max_quarantined: 1}", "data.max_quarantined: found 1; input should be less than 1"),
        ("data: {root: a, pattern: 'b-{SPAN}'}", "root and pattern are both set"),
        ("data: {pattern: a}", "it must have {SPAN} in it, once"),
        ("data: {root: 'a/{SPAN}'}", "a folder with {SPAN} is a pattern"),
        ("data: {window: 2}", "window is for spans, and there is no pattern"),
        ("data: {labels: {classes: [yes, no]}}", "a class is a name or {name: ...}, found True; YAML takes yes"),
        ("data: {pattern: 'gs://b-{SPAN}/x'}", "must be in a folder, not in the bucket's name"),
        ("data: {labels: pascal}", "data.labels: found 'pascal'; it must be cityscapes, coco, coco_panoptic, voc2012"),
        ("data: {labels: gone.json}", "data.labels: found 'gone.json'; there is no such file"),
        ("data: {labels: {classes: [a]}}", "tuple should have at least 2 items after validation"),
        ("data: {labels: {classes: [a, b, a]}}", "data.labels: name 'a' stands twice"),
        ("data: {labels: {classes: [a, {name: b, values: [0]}]}}", "data.labels: value 0 stands twice"),
        ("data: {labels: {classes: [a, {name: b, colour: 3}]}}", "data.labels.classes.1.colour: unknown key"),
        (
            "validation: {stop_on_anomalies: 1}",
            "validation.stop_on_anomalies: found 1; input should be a valid boolean",
        ),
        ("hps: 3", "hps: found 3;"),
        ("hps: {steps: true}", "hps.steps: found True; input should be a valid integer"),
        ("hps: {steps: '100'}", "hps.steps: found '100'; input should be a valid integer"),
        ("hps: {lr: .inf}", "hps.lr: found inf; input should be a finite number"),
        ("output: ''", "output: found ''; a folder's name is wanted"),
        ("augmentation: {scale: [0.9, 1.1]}", "is no whole number of scale_step 0.25 wide"),
        ("augmentation: {copy_paste: 1}\nhps: {batch_size: 1}", "has parts of a single picture; raise the batch size"),
        (
            "augmentation: {copy_paste: 0.5}\nhps: {batch_size: 4, micro_batches: 4}",
            "hps.batch_size 4 in 4 parts",
        ),
        ("train: {loss: [{name: dice, gamma: 1}]}", "gamma is for focal, and dice has none; found 1"),
        ("train: {loss: [{name: lovasz_softmax, stride: 17}]}", "train.loss.0.stride: found 17"),
        (
            "eval: {min_iou: {unicorn: 0.5}}",
            "eval.min_iou: found 'unicorn', which is no class of data.labels; there are",
        ),
        (
            "eval: {min_slice_mean_iou: {class: {unicorn: 0.5}}}",
            "eval.min_slice_mean_iou.class: found 'unicorn'; it must",
        ),
        (
            "eval: {min_slice_mean_iou: {object_size: {tiny: 0.5}}}",
            "found 'tiny'; it must be one of small, medium, large",
        ),
        ("eval: {min_slice_mean_iou: {span: {first: 0.5}}}", "found 'first'; it must be a span's number"),
        ("eval: {min_slice_mean_iou: {weather: {rain: 0.5}}}", "eval.min_slice_mean_iou.weather"),
        ("eval: {min_mean_iou: 57.8}", "eval.min_mean_iou: found 57.8; input should be less than or equal to 1"),
        ("train: {loss: []}", "train.loss: found []"),
        ("train: {loss: [{name: hinge}]}", "train.loss.0.name: found 'hinge'; input should be 'cross_entropy'"),
        ("nn_arch: {encoder_middle_conf: [{op: conv, kernel: 3, input: 0}]}", "branch 0: input 0 is no earlier branch"),
        ("nn_arch: {encoder_middle_conf: [{op: conv, kernel: 2}]}", "kernel of a convolution must be odd, found 2"),
        (
            "nn_arch: {encoder_middle_conf: [{op: pyramid_pooling, kernel: 40}]}",
            "kernel 40 is larger than the features",
        ),
        ("nn_arch: {encoder_middle_conf: [{op: conv, kernel: 3, rate: [0, 1]}]}", "input should be greater than 0"),
        ("nn_arch: {encoder_middle_conf: []}", "must have at least one branch"),
        ("nn_arch: {encoder_middle_conf: psp}", "found 'psp'; it must be aspp, dpc, seed_cityscapes, seed_mobilenetv2"),
        ("nn_arch: {encoder_middle_conf: [{op: conv}]}", "a convolution must have a kernel"),
        ("nn_arch: {encoder_middle_conf: [{op: conv, kernel: 3, grid_size: [1, 1]}]}", "a convolution has none"),
        ("nn_arch: {encoder_middle_conf: [{op: pyramid_pooling}]}", "must have either a kernel or a grid_size"),
        (
            "nn_arch: {encoder_middle_conf: [{op: pyramid_pooling, kernel: 1, rate: [2, 2]}]}",
            "rate is for conv, pyramid_pooling has none; found [2, 2]",
        ),
        (
            "nn_arch: {encoder_middle_conf: [{op: pyramid_pooling, kernel: 4, target_size_factor: [2, 2]}]}",
            "target_size_factor must be [4, 4]",
        ),
        (
            "nn_arch: {encoder_middle_conf: [{op: pyramid_pooling, grid_size: [2, 34]}]}",
            "branch 0: grid_size 34 is larger than the features, which have 33 x 33 pixels",
        ),
        ("nn_arch: {encoder_middle_conf: gone.json}", "encoder_middle_conf: gone.json cannot be read: No such file"),
        ("hps: {steps: 10, epochs: 2}", "hps.steps is 10 and hps.epochs is 2; give one of them"),
        (
            "train: {loss: [{name: focal, gama: 2}]}",
            "train.loss.0.gama: unknown key; allowed here: name, weight, hardest",
        ),
        (
            "nn_arch: {encoder_middle_conf: [{op: conv, kernel: 3, rates: [1, 1]}]}",
            "nn_arch.encoder_middle_conf.0.rates: unknown key; allowed here: op, kernel, rate",
        ),
        (
            "nn_arch: {encoder_middle_conf: [{op: conv, kernel: 3, rate: [1, 0]}]}",
            "nn_arch.encoder_middle_conf.0.rate.1: found 0; input should be greater than 0",
        ),
        (
            "nn_arch: {image_size: 65, encoder_middle_conf: [{op: conv, kernel: 5}]}\ntrain: {output_stride: 32}",
            "branch 0: kernel 5 is larger than the features, which have 3 x 3 pixels",
        ),
        (
            "train: {init_from: ''}",
            "train.init_from: found ''; it must be imagenet, none, a path or a URI",
        ),
        ("train: {init_from: []}", "train.init_from: found []; it must be"),
        ("train: {init_from: [imagenet, none]}", "train.init_from: found ['imagenet', 'none']; it must be"),
        ("train: {init_from: [none, latest_blessed]}", "found ['none', 'latest_blessed']; it must be"),
        (
            "train: {init_from: [latest_pushed, latest_blessed]}",
            "found ['latest_pushed', 'latest_blessed'];",
        ),
        ("train: {init_from: [3]}", "train.init_from.0: found 3; input should be a valid string"),
        (
            "train: {warm_start: {steps: 3, epochs: 1}}",
            "train.warm_start: steps is 3 and epochs is 1;",
        ),
        ("train: {warm_start: {step: 3}}", "train.warm_start.step: unknown key; allowed here: steps, epochs, lr"),
        ("train: {warm_start: true}", "train.warm_start: found True"),
        (
            "export: {formats: [litert_int8, coreml]}",
            "export.formats.1: found 'coreml'; input should be 'litert_float32', 'litert_dynamic', 'litert_float16'",
        ),
        ("export: {formats: [onnx, onnx]}", "export.formats: found ['onnx', 'onnx']; each is wanted once"),
        (
            "bulk_inference: {splits: [eval, eval]}",
            "bulk_inference.splits: found ['eval', 'eval']; each is wanted once",
        ),
        ("bulk_inference: {splits: [val]}", "bulk_inference.splits.0: found 'val'; input should be 'train', 'eval'"),
        (
            "bulk_inference: {splits: [eval, test]}",
            "bulk_inference.splits: found 'test', which data.splits does not have; there are train, eval",
        ),
        ("export: {max_mean_iou_loss: 1.5}", "export.max_mean_iou_loss: found 1.5"),
        ("eval: {output_stride: 4}", "eval.output_stride: found 4; input should be 8, 16 or 32"),
    ],
)
def test_wrong_values(file, addition, expected):
    message = problem(file, MINIMAL + addition + "\n")
    assert message.startswith(str(file))
    assert expected in message


def test_a_design_from_a_file(file, tmp_path):
    """In the form, and with the meaning, of TF DeepLab's files: rates are for output stride 16."""
    design = tmp_path / "design.json"
    design.write_text('[{"kernel": 3, "rate": [1, 6], "op": "conv", "input": -1}]')
    arch = load_config(file, overrides=[f"nn_arch.encoder_middle_conf={design}", "nn_arch.output_stride=8"]).nn_arch
    assert arch.effective_rate(arch.branches[0]) == (2, 12)
    for text, expected in (
        ("[", "is not JSON"),
        ('"aspp"', "holds 'aspp', wanted is a list of branches"),
        ('[{"op": "conv", "kernel": 3, "rates": 2}]', "nn_arch.encoder_middle_conf.0.rates: unknown key"),
    ):
        design.write_text(text)
        assert expected in problem(file, overrides=(f"nn_arch.encoder_middle_conf={design}",))


def test_output_strides_of_training_and_evaluation(file):
    def strides(*overrides):
        settings = load_config(file, overrides=overrides).trainer_settings()
        return settings.training_arch.output_stride, settings.exported_arch.output_stride

    assert strides() == (16, 16)
    assert strides("eval.output_stride=8") == (16, 8)
    assert strides("train.output_stride=32") == (32, 32)
    assert strides("nn_arch.output_stride=8", "train.output_stride=16", "eval.output_stride=8") == (16, 8)


def test_what_is_exported_sees_what_was_trained(file):
    """Rates that were rounded for a coarse training stride are those that the weights belong to."""
    settings = load_config(
        file, overrides=["nn_arch.encoder_middle_conf=dpc", "nn_arch.output_stride=8", "train.output_stride=32"]
    ).trainer_settings()
    settings = settings.model_copy(update={"eval_output_stride": 8})
    trained, exported = settings.training_arch, settings.exported_arch
    for coarse, fine in zip(trained.branches, exported.branches, strict=True):
        assert exported.effective_rate(fine) == tuple(4 * rate for rate in trained.effective_rate(coarse))


def test_a_width_without_imagenet_weights(file):
    message = problem(file, MINIMAL + "nn_arch: {mv2_depth_multiplier: 0.6}\n")
    assert "nn_arch.mv2_depth_multiplier is 0.6, for which there are no ImageNet weights" in message
    assert load_config(file, overrides=["train.init_from=none"]).nn_arch.mv2_depth_multiplier == 0.6


def test_a_split_s_masks_alone(file):
    splits = load_config(file, overrides=["data.splits.train.masks=Other"]).data.splits
    assert (splits.train.list, splits.train.masks, splits.eval.list) == ("train", "Other", "val")


def test_wrong_backbone(file):
    message = problem(file, "name: try\nbase_model: VGG16\n")
    assert "base_model: found 'VGG16'; input should be 'MobileNetV2', 'Xception', 'ResNet50'" in message


def test_every_mistake_is_told_at_once(file):
    message = problem(file, "name: a/b\nbase_model: 7\nhps: {lr: -1}\n")
    assert [line.split(": ")[1] for line in message.splitlines()] == ["name", "base_model", "hps.lr"]


def test_missing_keys(file):
    assert "base_model: missing" in problem(file, "name: try\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1", "cannot be read"),
        ("name: 2020-13-45", "cannot be read: month must be in 1..12"),
        ("- 1\n- 2\n", "holds list, wanted keys and values"),
        ("", "holds NoneType"),
        ("name: a\nname: b\n", "key 'name' stands twice"),
    ],
)
def test_files_that_hold_no_configuration(file, text, expected):
    assert expected in problem(file, text)


def test_not_json(tmp_path):
    path = tmp_path / "try.json"
    assert f"{path}, line 1: not JSON" in problem(path, "{'a': 1}")


def test_no_file(tmp_path):
    assert "there is no such configuration file" in problem(tmp_path / "gone.yaml")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("hps.steps", "wanted key=value"),
        ("=3", "wanted key=value"),
        ("hps.steps=[", "the value is not YAML"),
        ("name.first=x", "--set name.first=x: name is no section"),
        ("hps.typo=3", "hps.typo: unknown key"),
    ],
)
def test_wrong_overrides(file, override, expected):
    assert expected in problem(file, overrides=(override,))


def test_weights_that_are_not_there(file):
    message = problem(file, overrides=("train.init_from=gone.weights.h5",))
    assert "train.init_from: found 'gone.weights.h5', and there is no such file or folder" in message


@pytest.mark.parametrize(
    ("given", "places"),
    [
        ("none", ("none",)),
        ("latest_blessed", ("latest_blessed", "imagenet")),
        ("[latest_pushed]", ("latest_pushed", "imagenet")),
        ("[latest_pushed, latest_blessed, none]", ("latest_pushed", "latest_blessed", "none")),
        ("[latest_blessed, 's3://bucket/weights.h5']", ("latest_blessed", "s3://bucket/weights.h5")),
    ],
)
def test_places_to_start_from(file, given, places):
    config = load_config(file, overrides=[f"train.init_from={given}"])
    assert config.train.init_from == places
    assert config.trainer_settings().train.init_from == places
    assert with_data(config, "elsewhere").train == config.train


def test_a_path_after_earlier_models_must_be_there_and_is_made_absolute(file, tmp_path, monkeypatch):
    message = problem(file, overrides=("train.init_from=[latest_blessed, gone.h5]",))
    assert "train.init_from: found 'gone.h5', and there is no such file or folder" in message
    monkeypatch.chdir(tmp_path)
    Path("weights.h5").touch()
    config = load_config(file, overrides=["train.init_from=[latest_blessed, weights.h5]"])
    assert config.trainer_settings().train.init_from == ("latest_blessed", str(tmp_path / "weights.h5"))


def test_no_data_folder(file):
    with pytest.raises(ConfigError, match="give --data DIR"):
        _ = load_config(file).data_source


def test_data_on_the_command_line_wins_over_spans_and_may_be_spans(file):
    file.write_text(MINIMAL + "data: {pattern: 'there/span-{SPAN}'}\n")
    given = load_config(file, data="here").data
    assert (Path(given.root), given.pattern) == (Path("here").absolute(), None)
    given = load_config(file, data="s3://bucket/{SPAN}/voc").data
    assert (given.root, given.pattern) == (None, "s3://bucket/{SPAN}/voc")


def test_the_number_of_classes_follows_the_labels(file, tmp_path):
    assert load_config(file, overrides=["data.labels={classes: [background, road]}"]).nn_arch.num_classes == 2
    assert load_config(file, overrides=["data.format=cityscapes"]).nn_arch.num_classes == 19
    labels = tmp_path / "labels.yaml"
    labels.write_text("classes: [a, {name: b, color: [1, 2, 3]}, c]\n")
    config = load_config(file, overrides=[f"data.labels={labels}", "nn_arch.image_size=65"])
    assert (config.nn_arch.num_classes, config.nn_arch.image_size) == (3, 65)
    assert config.trainer_settings().labels.names == ("a", "b", "c")
