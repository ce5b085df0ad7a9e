"""Losses for segmentation, in pure Keras: from logits, pixels labelled `IGNORE_LABEL` left out.

Every loss takes labels integer[N, H, W] and logits float32[N, H, W, C] and gives one number for the batch. Without any
pixel that counts it is 0.

A batch may be dealt out to several replicas. Every replica then gives the loss of the whole batch, for which it takes
what it needs of the others' shares from `gather`, a function of a tensor that puts those of all replicas together along
the first axis, and whose gradient is summed over them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import keras
import numpy as np
from keras import ops

from schema.labels import IGNORE_LABEL
from trainer.settings import LOSS_OPTIONS, LossTerm


def _alone(values):
    """`gather` where there is one replica."""
    return values


def weighted_sum(terms: Sequence[LossTerm], class_pixels: np.ndarray, gather: Callable = _alone) -> Callable:
    """The loss that a configuration describes.

    Args:
        terms: which losses, with which weights.
        class_pixels: int64[C], pixels of each class in the training split.
        gather: puts the replicas' tensors together.

    Returns:
        A function of labels and logits.
    """
    functions = []
    for term in terms:
        function: Callable = partial(_LOSSES[term.name], gather=gather)
        if term.name == "balanced_cross_entropy":
            function = partial(function, class_weights=median_frequency_weights(class_pixels))
        elif option := LOSS_OPTIONS.get(term.name):
            function = partial(function, **{option: getattr(term, option)})
        functions.append((term.weight, function))

    def loss(labels, logits):
        return sum(weight * function(labels, logits) for weight, function in functions)

    return loss


def cross_entropy(labels, logits, gather: Callable = _alone):
    """Mean over the pixels that count."""
    valid, _ = _valid(labels)
    return _mean(_pixel_cross_entropy(labels, logits), valid, gather)


def balanced_cross_entropy(labels, logits, class_weights: np.ndarray, gather: Callable = _alone):
    """Mean weighted by the label's class.

    Args:
        class_weights: float[C].
    """
    valid, safe = _valid(labels)
    weights = ops.take(ops.convert_to_tensor(class_weights, keras.config.floatx()), safe) * valid
    return _mean(_pixel_cross_entropy(labels, logits), weights, gather)


def median_frequency_weights(class_pixels: np.ndarray) -> np.ndarray:
    """Median frequency balancing (arXiv:1411.4734, section 6.3.2): the median share of a class, over the class's own.

    Args:
        class_pixels: int64[C].

    Returns:
        float64[C]; 0 for a class that has no pixels.
    """
    pixels = np.asarray(class_pixels, np.float64)
    present = pixels > 0
    median = np.median(pixels[present]) if present.any() else 0.0
    return np.divide(median, pixels, out=np.zeros_like(pixels), where=present)


def ohem_cross_entropy(labels, logits, hardest: float = 0.25, gather: Callable = _alone):
    """Online hard example mining (arXiv:1604.03540) on pixels: the mean over those with the largest cross entropy.

    Args:
        hardest: share of the pixels that count which is kept, at least one pixel.
    """
    valid, _ = _valid(labels)
    valid = gather(ops.reshape(valid, (-1,)))
    # Ignored pixels go below every loss, which is never negative.
    losses = ops.where(valid > 0, gather(ops.reshape(_pixel_cross_entropy(labels, logits), (-1,))), -1.0)
    losses = ops.flip(ops.sort(losses), axis=0)
    kept = ops.maximum(ops.ceil(hardest * ops.sum(valid)), 1.0)
    rank = ops.cast(ops.arange(ops.shape(losses)[0], dtype="int32"), keras.config.floatx())
    return _mean(losses, ops.cast(ops.logical_and(rank < kept, losses >= 0), keras.config.floatx()))


def focal(labels, logits, gamma: float = 2.0, gather: Callable = _alone):
    """Focal loss (arXiv:1708.02002): cross entropy times (1 - probability of the label) ** gamma.

    Args:
        gamma: how much less an easy pixel counts; 0 is cross entropy.
    """
    valid, _ = _valid(labels)
    pixel_loss = _pixel_cross_entropy(labels, logits)
    return _mean((1 - ops.exp(-pixel_loss)) ** gamma * pixel_loss, valid, gather)


def dice(labels, logits, gather: Callable = _alone):
    """Soft Dice loss (arXiv:1606.04797) over the batch, mean over the classes that its labels have."""
    probabilities, one_hot = _probabilities_and_one_hot(labels, logits)
    parts = (probabilities * one_hot, probabilities, one_hot)
    overlap, predicted, pixels = _totals([ops.sum(part, axis=0) for part in parts], gather)
    coefficient = 2 * overlap / ops.maximum(predicted + pixels, 1e-6)
    return _mean(1 - coefficient, ops.cast(pixels > 0, keras.config.floatx()))


def lovasz_softmax(labels, logits, stride: int = 1, gather: Callable = _alone):
    """Lovasz-softmax (arXiv:1705.08790, algorithm 1) over the batch, mean over the classes that its labels have.

    Args:
        stride: looks at every so many-th pixel of every so many-th row.
    """
    labels, logits = labels[:, ::stride, ::stride], logits[:, ::stride, ::stride]
    probabilities, one_hot = (gather(part) for part in _probabilities_and_one_hot(labels, logits))
    pixels = ops.sum(one_hot, axis=0)
    losses = []
    for index in range(logits.shape[-1]):
        foreground, probability = one_hot[:, index], probabilities[:, index]
        # Most batches have few of the classes, and sorting is what this loss costs.
        losses.append(
            ops.cond(pixels[index] > 0, partial(_lovasz_of_class, foreground, probability), lambda: ops.zeros(()))
        )
    return _mean(ops.stack(losses), ops.cast(pixels > 0, keras.config.floatx()))


def _lovasz_of_class(foreground, probability):
    """The Lovasz extension of one class's Jaccard loss, at its errors.

    Args:
        foreground: float32[P], 1 where the class is the label.
        probability: float32[P], of the class.
    """
    # Ignored pixels have neither label nor probability, so no error: they come last and change nothing.
    errors = ops.abs(foreground - probability)
    order = ops.argsort(-errors)
    foreground = ops.take(foreground, order)
    # Whole numbers, for float32 counts to 2 ** 24 only.
    label = ops.cast(foreground, "int32")
    total = ops.sum(label)
    intersection, union = (
        ops.cast(pixels, foreground.dtype) for pixels in (total - ops.cumsum(label), total + ops.cumsum(1 - label))
    )
    # How much one pixel more adds to the Jaccard loss, 1 - intersection / union. The difference of two such losses, as
    # the paper has it, is the same number, but among a million pixels less than float32 tells apart near 1.
    steps = ops.where(label > 0, 1 / union, intersection / (union * ops.maximum(union - 1, 1.0)))
    # Brought back to the order of the pixels they are the gradient, so that nothing sorted is differentiated.
    gradient = ops.scatter(ops.expand_dims(order, -1), steps, ops.shape(errors))
    return ops.sum(errors * ops.stop_gradient(gradient))


_LOSSES: dict[str, Callable] = {
    "cross_entropy": cross_entropy,
    "balanced_cross_entropy": balanced_cross_entropy,
    "ohem_cross_entropy": ohem_cross_entropy,
    "focal": focal,
    "dice": dice,
    "lovasz_softmax": lovasz_softmax,
}


def _valid(labels):
    """1 where a pixel counts, float32[N, H, W], and the labels with 0 where it does not."""
    labels = ops.cast(labels, "int32")
    counts = ops.not_equal(labels, IGNORE_LABEL)
    return ops.cast(counts, keras.config.floatx()), ops.where(counts, labels, 0)


def _pixel_cross_entropy(labels, logits):
    """float32[N, H, W]; what stands at ignored pixels has no meaning."""
    _, safe = _valid(labels)
    return ops.sparse_categorical_crossentropy(safe, logits, from_logits=True)


def _probabilities_and_one_hot(labels, logits):
    """Both float32[N * H * W, C], 0 at ignored pixels."""
    valid, safe = _valid(labels)
    classes = logits.shape[-1]
    valid = ops.reshape(valid, (-1, 1))
    probabilities = ops.reshape(ops.softmax(logits), (-1, classes)) * valid
    return probabilities, ops.one_hot(ops.reshape(safe, (-1,)), classes) * valid


def _mean(values, weights, gather: Callable = _alone):
    """Weighted mean; 0 where all weights are 0."""
    total, weight = _totals([ops.sum(values * weights), ops.sum(weights)], gather)
    return total / ops.maximum(weight, 1e-6)


def _totals(sums: list, gather: Callable) -> list:
    """Sums of one shape, over one replica's share of the batch, to sums over the whole batch."""
    return ops.unstack(ops.sum(gather(ops.expand_dims(ops.stack(sums), 0)), axis=0), len(sums))
