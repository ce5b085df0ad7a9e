"""tf.Examples of Python's values."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

Value = bytes | int | float | np.ndarray | list[bytes]
"""Of a feature; arrays are of whole numbers."""


def to_tf_example(values: Mapping[str, Value]) -> tf.train.Example:
    """A tf.Example.

    Args:
        values: by the names of features.
    """
    return tf.train.Example(features=tf.train.Features(feature={key: _feature(value) for key, value in values.items()}))


def _feature(value: Value) -> tf.train.Feature:
    if isinstance(value, bytes | list):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value] if isinstance(value, bytes) else value))
    if isinstance(value, float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=np.atleast_1d(value)))
