"""The order of training, and what evaluation reads."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from schema import features
from trainer.data.input import batch_ids, evaluation_batches, training_batches, training_records
from trainer.data.preprocessing import unpacked

PICTURES = 12


@pytest.fixture
def several_files(transformed, tmp_path) -> list[str]:
    """The examples of `transformed` in three files."""
    for index in range(3):
        with tf.io.TFRecordWriter(str(tmp_path / f"data_tfrecord-{index}")) as writer:
            for record in transformed.records[index::3]:
                writer.write(record)
    return [str(tmp_path / "data_tfrecord-*")]


def as_arrays(dataset: tf.data.Dataset, count: int):
    return [tf.nest.map_structure(lambda tensor: tensor.numpy(), batch) for batch in dataset.take(count)]


def assert_same(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one, other)


def settings(batch_size=5, shuffle_buffer=4, seed=7):
    """Batches that lie across epochs, and a buffer that holds no whole epoch."""
    return {"batch_size": batch_size, "shuffle_buffer": shuffle_buffer, "seed": seed}


@pytest.mark.parametrize("first_step", [1, 2, 3, 5])
def test_training_goes_on_where_it_would_have_been(transformed, several_files, first_step):
    """The third batch lies across the first and the second epoch, the fifth across the second and the third."""
    whole = as_arrays(training_batches(several_files, transformed.graph, **settings()), 7)
    # The seed of the process is not that of the order.
    tf.random.set_seed(first_step)
    rest = training_batches(several_files, transformed.graph, **settings(), first_step=first_step)
    assert_same(as_arrays(rest, 7 - first_step), whole[first_step:])


def test_every_worker_goes_on_where_it_would_have_been(transformed, several_files):
    for worker in range(2):
        context = tf.distribute.InputContext(2, worker, 4)
        arguments = {**settings(batch_size=4), "context": context}
        whole = as_arrays(training_batches(several_files, transformed.graph, **arguments), 10)
        rest = training_batches(several_files, transformed.graph, **arguments, first_step=3)
        assert_same(as_arrays(rest, 4), whole[6:])


def test_an_epoch_has_every_picture_once_and_an_order_of_its_own(transformed, several_files):
    ids = [
        batch_ids(several_files, transformed.graph, **settings(batch_size=PICTURES), step=epoch) for epoch in range(3)
    ]
    expected = {
        tf.train.Example.FromString(record).features.feature[features.IMAGE_SOURCE_ID].bytes_list.value[0].decode()
        for record in transformed.records
    }
    for epoch in ids:
        assert len(epoch) == PICTURES
        assert set(epoch) == expected
    assert ids[0] != ids[1] != ids[2] != ids[0]
    assert ids[0] != batch_ids(several_files, transformed.graph, **settings(PICTURES, seed=8), step=0)


def test_the_seed_may_be_any_whole_number(several_files):
    for seed in (0, -1, 2**40):
        records = training_records(several_files, shuffle_buffer=4, seed=seed)
        assert len(list(records.take(3))) == 3


def test_a_batch_s_ids_are_those_of_its_pictures(transformed, several_files):
    by_id = {}
    for (canvases, _), _, ids in evaluation_batches(several_files, transformed.graph, batch_size=PICTURES):
        by_id = {picture_id.decode(): canvas for picture_id, canvas in zip(ids.numpy(), canvases.numpy(), strict=True)}
    batches = as_arrays(training_batches(several_files, transformed.graph, **settings()), 4)
    for step in (0, 3):
        ids = batch_ids(several_files, transformed.graph, **settings(), step=step)
        ((canvases, _, _), _) = batches[step]
        for picture_id, canvas in zip(ids, canvases, strict=True):
            np.testing.assert_array_equal(canvas, by_id[picture_id])


def test_evaluation_reads_every_picture_once_in_the_order_of_the_files(transformed):
    batches = list(evaluation_batches([transformed.pattern], transformed.graph, batch_size=5))
    assert [len(ids) for _, _, ids in batches] == [5, 5, 2]
    parsed = tf.io.parse_example(transformed.records, transformed.graph.raw_feature_spec())
    expected = transformed.graph.transform_raw_features(parsed)
    canvases, sizes, labels, ids = (
        np.concatenate(parts)
        for parts in zip(*([canvas, size, label, ids] for (canvas, size), label, ids in batches), strict=True)
    )
    assert canvases.dtype == labels.dtype == np.uint8
    np.testing.assert_array_equal(canvases, unpacked(expected[features.PACKED_IMAGE], 3))
    np.testing.assert_array_equal(sizes, expected[features.CONTENT_SIZE])
    np.testing.assert_array_equal(labels, unpacked(expected[features.PACKED_LABEL]))
    np.testing.assert_array_equal(ids, parsed[features.IMAGE_SOURCE_ID][:, 0])


def test_evaluation_may_look_at_the_first_pictures_alone(transformed):
    def ids(**chosen) -> list[list[bytes]]:
        batches = evaluation_batches([transformed.pattern], transformed.graph, batch_size=5, **chosen)
        return [batch.numpy().tolist() for _, _, batch in batches]

    first, second, _ = ids()
    assert ids(pictures=7) == [first, second[:2]]
