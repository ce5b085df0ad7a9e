"""The schema of a data set's TFRecords: the curated file, fitted to the classes."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

import schema
from schema import features
from schema.labels import Labels

SCHEMA_FILE = Path(schema.__file__).with_name("schema.pbtxt")


def schema_for(labels: Labels) -> schema_pb2.Schema:
    """The schema of TFRecords with these classes.

    Args:
        labels: the classes; the file says nothing of them.

    Returns:
        `schema/schema.pbtxt` with the number of classes, their names, and a feature for the pixels of each.

    Raises:
        ValueError: the file is no schema, or lacks what is to be filled in.
    """
    fitted = schema_pb2.Schema()
    try:
        text_format.Parse(SCHEMA_FILE.read_text(encoding="utf-8"), fitted)
        (pixels,) = (feature for feature in fitted.feature if feature.name == features.LABEL_PIXELS)
        (names,) = (domain for domain in fitted.string_domain if domain.name == features.LABEL_CLASSES)
        (dimension,) = pixels.shape.dim
    except text_format.ParseError as error:
        raise ValueError(f"{SCHEMA_FILE}: not a Schema of tensorflow_metadata: {error}") from error
    except ValueError as error:
        raise ValueError(
            f"{SCHEMA_FILE}: found none or several, wanted one feature {features.LABEL_PIXELS!r} of one dimension "
            f"and one string_domain {features.LABEL_CLASSES!r}; the classes are filled into them"
        ) from error
    dimension.size = len(labels.classes)
    names.value[:] = labels.names
    for name in labels.names:
        fitted.feature.add(
            name=features.label_pixels_of(name),
            type=schema_pb2.INT,
            # A picture need not have the class.
            presence=schema_pb2.FeaturePresence(min_fraction=0),
            value_count=schema_pb2.ValueCount(max=1),
            int_domain=schema_pb2.IntDomain(min=1),
            not_in_environment=pixels.not_in_environment,
        )
    return fitted
