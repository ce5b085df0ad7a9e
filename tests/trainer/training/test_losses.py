"""Each loss against a straightforward NumPy version, and what is ignored has no gradient."""

import numpy as np
import pytest
import tensorflow as tf

from schema.labels import IGNORE_LABEL
from trainer.settings import LossTerm
from trainer.training import losses

CLASSES = 5
CLASS_WEIGHTS = np.array([0.5, 1.0, 2.0, 0.0, 3.0])


@pytest.fixture
def labels():
    labels = np.random.default_rng(0).integers(0, CLASSES - 1, (2, 6, 7))
    labels[:, :2] = IGNORE_LABEL
    labels[0, 3, 3] = IGNORE_LABEL
    return labels


@pytest.fixture
def logits():
    return np.random.default_rng(1).normal(0, 2, size=(2, 6, 7, CLASSES)).astype(np.float32)


def flat(labels, logits):
    """Labels and probabilities of the pixels that count."""
    valid = labels.ravel() != IGNORE_LABEL
    exponents = np.exp(logits.astype(np.float64))
    probabilities = (exponents / exponents.sum(-1, keepdims=True)).reshape(-1, CLASSES)
    return labels.ravel()[valid], probabilities[valid]


def numpy_pixel_losses(labels, logits):
    label, probability = flat(labels, logits)
    return label, -np.log(probability[np.arange(len(label)), label])


def numpy_cross_entropy(labels, logits):
    return numpy_pixel_losses(labels, logits)[1].mean()


def numpy_balanced(labels, logits):
    label, pixel_losses = numpy_pixel_losses(labels, logits)
    return np.average(pixel_losses, weights=CLASS_WEIGHTS[label])


def numpy_ohem(labels, logits):
    _, pixel_losses = numpy_pixel_losses(labels, logits)
    return np.sort(pixel_losses)[::-1][: int(np.ceil(0.3 * len(pixel_losses)))].mean()


def numpy_focal(labels, logits):
    label, probability = flat(labels, logits)
    mine = probability[np.arange(len(label)), label]
    return np.mean((1 - mine) ** 2 * -np.log(mine))


def numpy_dice(labels, logits):
    label, probability = flat(labels, logits)
    result = []
    for index in np.unique(label):
        truth = label == index
        result.append(1 - 2 * probability[truth, index].sum() / (probability[:, index].sum() + truth.sum()))
    return np.mean(result)


def numpy_lovasz(labels, logits):
    """The Jaccard loss of growing sets of the worst pixels, by the definition of the Lovasz extension."""
    label, probability = flat(labels, logits)
    result = []
    for index in np.unique(label):
        truth = label == index
        errors = np.abs(truth - probability[:, index])
        order = np.argsort(-errors)
        loss, before = 0.0, 0.0
        for count in range(1, len(order) + 1):
            wrong = set(order[:count])
            missed = sum(1 for pixel in wrong if truth[pixel])
            false = count - missed
            jaccard_loss = 1 - (truth.sum() - missed) / (truth.sum() + false)
            loss += errors[order[count - 1]] * (jaccard_loss - before)
            before = jaccard_loss
        result.append(loss)
    return np.mean(result)


CASES = {
    "cross_entropy": (losses.cross_entropy, numpy_cross_entropy),
    "balanced": (lambda y, x: losses.balanced_cross_entropy(y, x, CLASS_WEIGHTS), numpy_balanced),
    "ohem": (lambda y, x: losses.ohem_cross_entropy(y, x, 0.3), numpy_ohem),
    "focal": (losses.focal, numpy_focal),
    "dice": (losses.dice, numpy_dice),
    "lovasz": (losses.lovasz_softmax, numpy_lovasz),
    "lovasz_of_every_second": (
        lambda y, x: losses.lovasz_softmax(y, x, stride=2),
        lambda y, x: numpy_lovasz(y[:, ::2, ::2], x[:, ::2, ::2]),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_against_numpy(name, labels, logits):
    ours, reference = CASES[name]
    assert float(ours(labels, logits)) == pytest.approx(reference(labels, logits), rel=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_what_is_ignored_has_no_gradient(name, labels, logits):
    ours, _ = CASES[name]
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        loss = ours(labels, variable)
    gradient = np.abs(tape.gradient(loss, variable).numpy()).sum(-1)
    assert np.isfinite(gradient).all()
    assert np.all(gradient[labels == IGNORE_LABEL] == 0)
    # Mining leaves pixels out and a class may weigh nothing, but much of what counts has a gradient.
    stride = 2 if name == "lovasz_of_every_second" else 1
    looked_at = np.s_[:, ::stride, ::stride]
    assert (gradient[looked_at][labels[looked_at] != IGNORE_LABEL] > 0).mean() > 0.25


@pytest.mark.parametrize("name", CASES)
def test_padding_changes_nothing(name, labels, logits):
    ours, _ = CASES[name]
    padded_labels = np.pad(labels, [(0, 0), (0, 5), (0, 9)], constant_values=IGNORE_LABEL)
    padded_logits = np.pad(logits, [(0, 0), (0, 5), (0, 9), (0, 0)], constant_values=7.0)
    assert float(ours(padded_labels, padded_logits)) == pytest.approx(float(ours(labels, logits)), rel=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_a_batch_of_void_alone_is_0_and_has_no_gradient(name, labels, logits):
    ours, _ = CASES[name]
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        loss = ours(np.full_like(labels, IGNORE_LABEL), variable)
    assert float(loss) == 0
    gradient = tape.gradient(loss, variable)
    assert gradient is None or np.all(gradient.numpy() == 0)


@pytest.mark.parametrize("name", CASES)
def test_a_sure_and_right_prediction_costs_nothing(name, labels):
    ours, _ = CASES[name]
    sure = 50.0 * np.eye(CLASSES, dtype=np.float32)[np.where(labels == IGNORE_LABEL, 0, labels)]
    assert float(ours(labels, sure)) == pytest.approx(0, abs=1e-5)


def test_lovasz_of_a_small_object_among_a_million_pixels():
    random = np.random.default_rng(2)
    foreground = np.zeros(2_000_000, np.float32)
    foreground[random.choice(foreground.size, 200_000, replace=False)] = 1
    probability = tf.Variable(random.uniform(0, 1, foreground.size).astype(np.float32))
    with tf.GradientTape() as tape:
        loss = losses._lovasz_of_class(tf.constant(foreground), probability)
    gradient = tape.gradient(loss, probability).numpy()

    errors = np.abs(foreground - probability.numpy()).astype(np.float64)
    order = np.argsort(-errors)
    label = foreground[order].astype(np.float64)
    jaccard_loss = 1 - (label.sum() - np.cumsum(label)) / (label.sum() + np.cumsum(1 - label))
    expected = np.zeros(foreground.size)
    expected[order] = np.diff(jaccard_loss, prepend=0) * np.where(label == 1, -1, 1)
    assert float(loss) == pytest.approx((errors * np.abs(expected)).sum(), rel=1e-4)
    # Pixels of equal error change places.
    background = foreground == 0
    assert gradient[background].sum() == pytest.approx(expected[background].sum(), rel=1e-4)
    np.testing.assert_allclose(np.sort(gradient), np.sort(expected), rtol=1e-2)


def test_median_frequency_weights():
    np.testing.assert_allclose(losses.median_frequency_weights(np.array([400, 100, 0, 50])), [0.25, 1, 0, 2])
    assert np.all(losses.median_frequency_weights(np.zeros(3, int)) == 0)


def test_weighted_sum(labels, logits):
    terms = [
        LossTerm(name="focal", weight=2, gamma=1.5),
        LossTerm(name="balanced_cross_entropy"),
        LossTerm(name="ohem_cross_entropy", weight=0.5, hardest=0.3),
    ]
    pixels = np.array([400, 100, 0, 50, 20])
    expected = (
        2 * float(losses.focal(labels, logits, gamma=1.5))
        + float(losses.balanced_cross_entropy(labels, logits, losses.median_frequency_weights(pixels)))
        + 0.5 * numpy_ohem(labels, logits)
    )
    assert float(losses.weighted_sum(terms, pixels)(labels, logits)) == pytest.approx(expected, rel=1e-4)
