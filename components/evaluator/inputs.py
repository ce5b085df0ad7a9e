"""Whether what the Evaluator is given can be judged at all. Looked at before any model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from schema import features
from schema.labels import read_labels
from trainer.common.metrics import BOUNDARY_COUNTS


class CannotEvaluateError(ValueError):
    """Model, data and configuration do not fit together; the message says what was found and what is wanted."""


class EarlierVersionError(CannotEvaluateError):
    """The model does not count what is judged now: an earlier version of this package made it."""


def shapes_of_counts(classes: int) -> dict[str, tuple[int, int]]:
    """What the signature `confusion` returns of a picture, by name."""
    return {features.CONFUSION_MATRIX: (classes, classes), features.BOUNDARY_COUNTS: (classes, len(BOUNDARY_COUNTS))}


def check_model(folder: str, what: str, class_names: Sequence[str]) -> None:
    """Looks for the signature that is run, and at what it returns.

    Args:
        folder: of the SavedModel.
        what: the model is called in messages.
        class_names: that are asked for.

    Raises:
        CannotEvaluateError: it is no model of this pipeline, or one of other classes.
        EarlierVersionError: it does not count all that is judged.
    """
    file = Path(folder, "saved_model.pb")
    try:
        (graph,) = saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs
    except FileNotFoundError as error:
        raise CannotEvaluateError(
            f"{what}: there is no SavedModel in {folder}; was it removed? (eval.baseline: none compares with none)"
        ) from error
    except Exception as error:
        raise CannotEvaluateError(f"{what}: {file} is damaged ({error})") from error
    signature = graph.signature_def.get(features.CONFUSION_SIGNATURE)
    if signature is None:
        found = ", ".join(sorted(name for name in graph.signature_def if not name.startswith("__"))) or "none"
        raise CannotEvaluateError(
            f"{what}: {folder} has no signature {features.CONFUSION_SIGNATURE!r}, by which models are judged, only "
            f"{found}; wanted is a model of this pipeline"
        )
    classes = len(class_names)
    for output, shape in shapes_of_counts(classes).items():
        if output not in signature.outputs:
            raise EarlierVersionError(
                f"{what}: the signature {features.CONFUSION_SIGNATURE!r} of {folder} does not return {output!r}; an "
                "earlier version made it; train it anew"
            )
        found_shape = tuple(dimension.size for dimension in signature.outputs[output].tensor_shape.dim[1:])
        if found_shape != shape:
            raise CannotEvaluateError(
                f"{what}: {folder} is for {found_shape[0]} classes, and {classes} are judged: {', '.join(class_names)}"
            )
    try:
        checkpoint = tf.train.load_checkpoint(f"{folder}/variables/variables")
        for variable in checkpoint.get_variable_to_shape_map():
            checkpoint.get_tensor(variable)
    except (ValueError, tf.errors.OpError) as error:
        raise CannotEvaluateError(f"{what}: the variables of {folder} are missing or damaged ({error})") from error
    labels = read_labels(folder)
    if labels is not None and labels.names != tuple(class_names):
        raise CannotEvaluateError(
            f"{what}: {folder} is for other classes, {', '.join(labels.names)}; wanted are {', '.join(class_names)}"
        )


def check_examples(files: Sequence[str], split: str, class_names: Sequence[str]) -> None:
    """Looks at the first example: does it have labels, and are they of the model's classes?

    Args:
        files: TFRecord files of the split.
        split: its name.
        class_names: of the model.

    Raises:
        CannotEvaluateError: there are no examples, no labels, or those of other classes.
    """
    for record in tf.data.TFRecordDataset(sorted(files)).take(1):
        example = tf.train.Example.FromString(record.numpy()).features.feature
        if features.LABEL_ENCODED not in example:
            raise CannotEvaluateError(f"the split {split!r} has no labels, so nothing can be judged on it")
        found = len(example[features.LABEL_PIXELS].int64_list.value)
        if found != len(class_names):
            raise CannotEvaluateError(
                f"the labels of the split {split!r} are of {found} classes, but the model is for {len(class_names)}"
            )
        return
    raise CannotEvaluateError(f"the split {split!r} has no examples")
