"""What ExampleValidator finds, in TFDV's own words, and when it stops."""

from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tfx.types import artifact_utils, standard_artifacts

from components.artifacts.anomalies import AnomaliesError, find_anomalies, sentences
from components.curated_schema.schema import schema_for
from components.example_validator.component import ExampleValidator

CAT, DOG = 1, 2


@pytest.fixture(scope="module")
def mixed(statistics_of, masks):
    return statistics_of(masks([CAT, DOG] * 30))


@pytest.fixture(scope="module")
def cats(statistics_of, masks):
    return statistics_of(masks([CAT] * 60))


@pytest.fixture(scope="module")
def unlabelled(statistics_of):
    return statistics_of([None] * 60)


@pytest.fixture
def found(labels):
    """Anomalies in words."""

    def find(statistics, previous=None):
        return sentences(find_anomalies(statistics, previous, schema_for(labels)))

    return find


def test_sound_splits_have_no_anomalies(found, mixed, unlabelled):
    assert found({"train": mixed, "eval": mixed, "test": unlabelled}) == []


def test_a_picture_of_nothing_but_void_is_no_anomaly(found, statistics_of):
    assert found({"eval": statistics_of([np.full((6, 8), 255, np.uint8)])}) == []


def test_labels_are_missed_where_they_must_be(found, unlabelled):
    assert "eval: image/segmentation/class/encoded: Column is completely missing" in found({"eval": unlabelled})


def test_values_outside_the_domain_are_named(found, statistics_of, masks):
    (sentence,) = found({"eval": statistics_of(masks([CAT]), size=(3, 300))})
    assert sentence.startswith("eval: image/aspect_ratio: Unexpectedly low values: 0.01")


def test_a_class_that_no_picture_of_train_has(found, cats):
    (sentence,) = found({"train": cats, "eval": cats})
    assert sentence.startswith("train: image/segmentation/class/names (absent): No picture has ")
    assert "dog" in sentence
    assert "If masks have other values for it, state them in data.labels." in sentence


def test_train_is_held_against_eval(found, mixed, cats):
    (sentence,) = found({"train": mixed, "eval": cats})
    assert sentence.startswith(
        "train: image/segmentation/class/names: The Linfty distance between train and eval is 0.25"
    )


def test_each_split_is_held_against_the_run_before(found, mixed, cats):
    sentence, *others = found({"train": mixed, "eval": mixed}, {"train": mixed, "eval": cats})
    assert not others
    assert sentence.startswith("eval: image/segmentation/class/names: The Linfty distance between this run and the one")


def test_a_handful_of_pictures_is_not_compared(found, mixed, statistics_of, masks):
    assert found({"train": mixed, "eval": statistics_of(masks([CAT] * 10))}) == []


class TestExecutor:
    """The component, on artifacts on disk."""

    @pytest.fixture
    def validate(self, artifact, labels, mixed, cats):
        def run(stop_on_anomalies):
            schema = artifact(standard_artifacts.Schema, "schema")
            Path(schema.uri, "schema.pbtxt").write_text(text_format.MessageToString(schema_for(labels)))
            statistics = artifact(standard_artifacts.ExampleStatistics, "statistics")
            statistics.split_names = artifact_utils.encode_split_names(["train", "eval"])
            statistics.span = 3
            for split, values in (("train", mixed), ("eval", cats)):
                file = Path(artifact_utils.get_split_uri([statistics], split), "FeatureStats.pb")
                file.parent.mkdir()
                file.write_bytes(values.SerializeToString())
            anomalies = artifact(standard_artifacts.ExampleAnomalies, "anomalies")
            ExampleValidator.EXECUTOR_SPEC.executor_class().Do(
                {"statistics": [statistics], "schema": [schema], "previous_statistics": []},
                {"anomalies": [anomalies]},
                {"stop_on_anomalies": stop_on_anomalies},
            )
            return anomalies

        return run

    def test_it_writes_what_tfx_writes(self, validate):
        anomalies = validate(False)
        assert artifact_utils.decode_split_names(anomalies.split_names) == ["train", "eval"]
        assert anomalies.span == 3
        assert anomalies.get_json_value_custom_property("blessed") == {"train": 0, "eval": 1}
        assert Path(anomalies.uri, "Split-eval", "SchemaDiff.pb").is_file()

    def test_it_stops_and_says_what_can_be_done(self, validate):
        with pytest.raises(
            AnomaliesError, match=r"(?s)train: .*schema/schema.pbtxt.*validation.stop_on_anomalies: false"
        ):
            validate(True)
