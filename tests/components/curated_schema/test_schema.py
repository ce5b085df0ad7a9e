"""The schema fits the classes, and the component brings it to a file."""

from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.types import standard_artifacts

from components.curated_schema.component import CuratedSchema
from components.curated_schema.schema import schema_for
from schema import features
from schema.features import UNLABELLED
from schema.labels import VOC2012


@pytest.fixture
def by_name(labels):
    return {feature.name: feature for feature in schema_for(labels).feature}


def test_there_is_a_count_and_a_feature_per_class(by_name, labels):
    assert by_name[features.LABEL_PIXELS].shape.dim[0].size == 3
    for name in labels.names:
        assert by_name[features.label_pixels_of(name)].presence.min_fraction == 0
        assert not by_name[features.label_pixels_of(name)].HasField("shape")


def test_only_the_names_of_the_classes_are_names_of_classes(labels):
    domains = {domain.name: domain.value for domain in schema_for(labels).string_domain}
    assert domains[features.LABEL_CLASSES] == ["background", "cat", "dog"]


def test_splits_without_masks_want_no_label_features(by_name):
    left_out = {name for name, feature in by_name.items() if UNLABELLED in feature.not_in_environment}
    assert left_out == {name for name in by_name if name.startswith("image/segmentation/")}


def test_every_feature_that_is_written_is_in_the_schema(by_name):
    keys = {
        value
        for key, value in vars(features).items()
        if key.startswith(("IMAGE_", "LABEL_")) and value.startswith("image/")
    }
    assert keys <= by_name.keys()


def test_the_component_is_given_the_contents(artifact):
    """So the cache sees them, which it does not of a path."""
    text = text_format.MessageToString(schema_for(VOC2012))
    component = CuratedSchema(schema_text=text)
    assert component.exec_properties == {"schema_text": text}
    output = artifact(standard_artifacts.Schema, "schema")
    component.executor_spec.executor_class().Do({}, {"schema": [output]}, component.exec_properties)
    written = Path(output.uri, "schema.pbtxt").read_text()
    assert text_format.Parse(written, schema_pb2.Schema()) == schema_for(VOC2012)
