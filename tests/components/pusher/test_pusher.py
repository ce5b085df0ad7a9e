"""The Pusher, into a folder. Into buckets: tests/trainer/common/test_files.py."""

import errno
import json
from pathlib import Path

import pytest
from made_evaluation import evaluation_of
from tfx.types import artifact_utils, standard_artifacts

from components.artifacts.evaluation import EVALUATION_FILE
from components.artifacts.exports import ExportedModel, write_exports
from components.artifacts.statistics import STATISTICS_FILE
from components.artifacts.types import ExportedModels
from components.pusher.component import Pusher
from components.pusher.model_card import CARD_JSON, CARD_MARKDOWN, CardFacts
from components.pusher.versions import PushError
from schema.labels import Labels
from trainer.common import files
from trainer.common.training_history import EFFECTIVE_FILE

LABELS = Labels.model_validate({"classes": ["background", "cat", "dog"]})


FACTS = CardFacts(
    name="demo",
    deeplab="0.1",
    base_model="MobileNetV2",
    image_size=65,
    output_stride=16,
    data={"format": "voc"},
)


@pytest.fixture
def push(artifact, tmp_path, statistics_of, masks):
    def run(blessed: int, servable: int | None = None, exports=(), **parameters: int):
        model = artifact(standard_artifacts.Model, "model")
        for file in ("saved_model.pb", "variables/data"):
            Path(model.uri, "Format-Serving", file).parent.mkdir(parents=True, exist_ok=True)
            Path(model.uri, "Format-Serving", file).write_text(file)
        blessing = artifact(standard_artifacts.ModelBlessing, "blessing")
        blessing.set_int_custom_property("blessed", blessed)
        infra_blessings = []
        if servable is not None:
            infra_blessings.append(artifact(standard_artifacts.InfraBlessing, "infra_blessing"))
            infra_blessings[0].set_int_custom_property("blessed", servable)
        evaluation = artifact(standard_artifacts.ModelEvaluation, "evaluation")
        Path(evaluation.uri, EVALUATION_FILE).write_text(evaluation_of(LABELS).model_dump_json())
        statistics = artifact(standard_artifacts.ExampleStatistics, "statistics")
        statistics.split_names = artifact_utils.encode_split_names(["train"])
        file = Path(statistics.uri, "Split-train", STATISTICS_FILE)
        file.parent.mkdir()
        file.write_bytes(statistics_of(masks([1, 2, 1])).SerializeToString())
        model_run = artifact(standard_artifacts.ModelRun, "model_run")
        Path(model_run.uri, EFFECTIVE_FILE).write_text('{"steps": 60}')
        pushed = artifact(standard_artifacts.PushedModel, "pushed")
        Pusher.EXECUTOR_SPEC.executor_class().Do(
            {
                "model": [model],
                "model_blessing": [blessing],
                "infra_blessing": infra_blessings,
                "evaluation": [evaluation],
                "statistics": [statistics],
                "model_run": [model_run],
                "exports": list(exports),
            },
            {"pushed_model": [pushed]},
            {"destination": str(tmp_path / "served"), "card_facts": FACTS.model_dump_json(), **parameters},
        )
        return pushed

    return run


def test_the_card_lies_in_the_model(push):
    pushed = push(blessed=1)
    version = Path(pushed.get_string_custom_property("pushed_destination"))
    for folder in (version, Path(pushed.uri)):
        told = json.loads((folder / CARD_JSON).read_text())
        assert told["data"] == {"format": "voc", "pictures": {"train": 3}}
        assert told["evaluation"]["metrics"]["mean_iou"] == 0.7
        assert (folder / CARD_MARKDOWN).read_text().startswith("# demo\n")
        assert not any(file.is_symlink() for file in folder.rglob("*"))


def test_a_blessed_model_is_served_as_a_new_version(push, tmp_path):
    pushed = push(blessed=1)
    version = tmp_path / "served" / json.loads((tmp_path / "served" / "latest.json").read_text())["version"]
    assert int(version.name) > 0
    assert (version / "saved_model.pb").is_file() and (version / "variables" / "data").is_file()
    assert pushed.get_int_custom_property("pushed") == 1
    assert pushed.get_string_custom_property("pushed_destination") == str(version)
    assert pushed.get_string_custom_property("pushed_version") == version.name


def test_a_model_that_is_good_and_can_be_served_is(push):
    assert push(blessed=1, servable=1).get_int_custom_property("pushed") == 1


def test_the_other_formats_that_were_kept_lie_in_the_model(push, artifact):
    exports = artifact(ExportedModels, "exports")
    common = {"image_size": 65, "padding_color": (128, 128, 128)}
    kept = ExportedModel(format="litert_int8", file="model.tflite", **common)
    left_out = ExportedModel(format="onnx", reason="it could not be made", **common)
    write_exports(exports.uri, [kept, left_out])
    for name in ("model.tflite", "metrics.json"):
        Path(exports.uri, "litert_int8", name).parent.mkdir(exist_ok=True)
        Path(exports.uri, "litert_int8", name).write_text(name)
    pushed = push(blessed=1, exports=[exports])
    for folder in (Path(pushed.get_string_custom_property("pushed_destination")), Path(pushed.uri)):
        found = {str(file.relative_to(folder)) for file in folder.glob("assets.extra/exports/*/*")}
        assert [each["format"] for each in json.loads((folder / CARD_JSON).read_text())["exports"]] == [
            "litert_int8",
            "onnx",
        ]
        assert found == {f"assets.extra/exports/litert_int8/{name}" for name in ("model.tflite", "metrics.json")}
        assert not any(file.is_symlink() for file in folder.rglob("*"))


def test_a_copy_that_cannot_be_written_leaves_the_destination_as_it_was(push, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "upload_folder", refuse)
    with pytest.raises(OSError, match="No space left"):
        push(blessed=1)
    assert not (tmp_path / "served").exists()


def test_a_copy_stays_among_the_artifacts(push):
    assert Path(push(blessed=1).uri, "variables", "data").is_file()


@pytest.mark.parametrize("blessings", [{"blessed": 0}, {"blessed": 0, "servable": 1}, {"blessed": 1, "servable": 0}])
def test_a_model_that_is_not_blessed_is_not_served(push, tmp_path, blessings):
    pushed = push(**blessings)
    assert pushed.get_int_custom_property("pushed") == 0
    assert not pushed.has_custom_property("pushed_destination")
    assert not (tmp_path / "served").exists()


def test_versions_are_removed_as_the_configuration_says(push, tmp_path):
    for version in ("1", "2"):
        (tmp_path / "served" / version).mkdir(parents=True)
        (tmp_path / "served" / version / "saved_model.pb").touch()
    pushed = push(blessed=1, keep_versions=2)
    versions = {folder.name for folder in (tmp_path / "served").iterdir() if folder.is_dir()}
    assert versions == {"2", pushed.get_string_custom_property("pushed_version")}


def test_a_folder_that_cannot_be_pushed_into_is_said_in_words(push, tmp_path):
    (tmp_path / "served").touch()
    with pytest.raises(PushError, match=r"served: cannot be pushed into .*\(push\.directory\)"):
        push(blessed=1)
