"""What a graph can tell of encoded pictures before it decodes them: whether they are whole, and how large they are.

TensorFlow's decoder neither says which picture of a batch it could not read, nor minds how much memory one will take.
"""

from __future__ import annotations

import tensorflow as tf

from schema.features import MAX_PIXELS, MAX_SIDE

JPEG_START = b"\xff\xd8\xff"
JPEG_SCAN, JPEG_END = b"\xff\xda", b"\xff\xd9"
"""Markers (ITU T.81, table B.1). In a scan 0xff is followed by 0 or a marker, so there an end is the end."""
MOST_SEGMENTS = 1000
"""Of a JPEG that are skipped one by one. Real ones have a few hundred at most; a hostile one would have millions."""
PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_END = b"IEND"
"""The last chunk's type; its checksum of 4 bytes follows (PNG specification, 11.2.5)."""
PNG_SIZE = 16, 8
"""Where a PNG has width and height, and how many bytes they are: after signature, length and type (11.2.2)."""


def picture_sizes(encoded: tf.Tensor) -> tf.Tensor:
    """The sizes that the headers of JPEGs and PNGs state, without decoding them.

    The graph raises an `InvalidArgumentError` that names the entry, from 0, if one is neither JPEG nor PNG, is cut off,
    or has no pixels, more than `MAX_PIXELS`, or a side longer than `MAX_SIDE`. Damage in the middle is left for the
    decoder to find.

    Args:
        encoded: string[N].

    Returns:
        int32[N, 2], heights and widths.
    """
    return tf.map_fn(
        lambda each: _picture_size(*each),
        (encoded, tf.range(tf.size(encoded))),
        fn_output_signature=tf.TensorSpec([2], tf.int32),
    )


def _picture_size(encoded: tf.Tensor, entry: tf.Tensor) -> tf.Tensor:
    """string[] -> int32[2]."""
    is_jpeg = tf.strings.substr(encoded, 0, len(JPEG_START)) == JPEG_START
    is_png = tf.strings.substr(encoded, 0, len(PNG_START)) == PNG_START
    length = tf.strings.as_string(tf.strings.length(encoded))
    encoded = _required(is_jpeg | is_png, encoded, entry, [length, " bytes that are neither JPEG nor PNG"])
    encoded = _required(
        tf.cond(is_jpeg, lambda: _jpeg_has_end(encoded), lambda: _png_has_end(encoded)),
        encoded,
        entry,
        ["cut off after ", length, " bytes"],
    )
    size = tf.cond(is_jpeg, lambda: tf.image.extract_jpeg_shape(encoded)[:2], lambda: _png_size(encoded))
    size = tf.ensure_shape(size, [2])
    height, width = tf.unstack(tf.strings.as_string(size))
    return _required(
        is_within_limits(size),
        size,
        entry,
        [width, " x ", height, f" pixels, and at most {MAX_PIXELS:,} are read, {MAX_SIDE:,} on a side"],
    )


def is_within_limits(size: tf.Tensor) -> tf.Tensor:
    """Whether a picture has pixels, and not too many, in all and on a side.

    Args:
        size: int32[2], height and width.

    Returns:
        bool[].
    """
    pixels = tf.reduce_prod(tf.cast(size, tf.int64))
    return tf.reduce_all((size > 0) & (size <= MAX_SIDE)) & (pixels <= MAX_PIXELS)


def _required(condition: tf.Tensor, value: tf.Tensor, entry: tf.Tensor, found: list[tf.Tensor | str]) -> tf.Tensor:
    """As `required`, with a message that names the entry."""
    before = ["entry ", tf.strings.as_string(entry), " of the batch: found "]
    return required(condition, value, [*before, *found, "; wanted whole JPEGs or PNGs"])


def required(condition: tf.Tensor, value: tf.Tensor, message: list[tf.Tensor | str]) -> tf.Tensor:
    """The value, which what is to wait for the condition must be computed from.

    The graph raises an `InvalidArgumentError` if the condition does not hold.

    Args:
        condition: bool[].
        value: any.
        message: its parts, string[].
    """
    with tf.control_dependencies([tf.debugging.Assert(condition, [tf.strings.join(message)])]):
        return tf.identity(value)


def _jpeg_has_end(encoded: tf.Tensor) -> tf.Tensor:
    """Whether the end stands behind the first scan.

    Segments before that are skipped one by one, since one may hold a thumbnail with an end of its own. From what is no
    segment, such as bytes that fill a gap, the scan is searched for.
    """
    length = tf.strings.length(encoded)

    def is_segment(at: tf.Tensor) -> tf.Tensor:
        # Markers without a length are the restarts, start and end, and those below; a scan's is where to stop.
        marker = _numbers(encoded, tf.clip_by_value(at, 0, length - 2), 2, tf.uint16)[0]
        return (at + 4 <= length) & (marker >= 0xFFC0) & (marker < 0xFFFF) & ((marker < 0xFFD0) | (marker > 0xFFDA))

    start = tf.while_loop(
        is_segment,
        # A marker of two bytes, and the length of what follows, in two bytes that count themselves.
        lambda at: at + 2 + _numbers(encoded, at + 2, 2, tf.uint16)[0],
        [tf.constant(2)],
        maximum_iterations=MOST_SEGMENTS,
    )[0]
    start = tf.minimum(start, length)
    parts = tf.strings.split(tf.strings.substr(encoded, start, length - start), JPEG_SCAN, maxsplit=1)
    return (tf.size(parts) == 2) & (tf.size(tf.strings.split(parts[-1], JPEG_END, maxsplit=1)) == 2)


def _png_has_end(encoded: tf.Tensor) -> tf.Tensor:
    parts = tf.strings.split(encoded, PNG_END, maxsplit=1)
    return (tf.size(parts) == 2) & (tf.strings.length(parts[-1]) >= 4) & (tf.strings.length(encoded) >= sum(PNG_SIZE))


def _png_size(encoded: tf.Tensor) -> tf.Tensor:
    # Read as signed numbers: what PNG forbids, 2^31 and more, is negative.
    return _numbers(encoded, *PNG_SIZE, tf.int32)[::-1]


def _numbers(encoded: tf.Tensor, at: tf.Tensor | int, length: int, dtype: tf.DType) -> tf.Tensor:
    """The big-endian numbers in some of the bytes, int32[length / their size]."""
    read = tf.io.decode_raw(tf.strings.substr(encoded, at, length), dtype, little_endian=False)
    return tf.cast(read, tf.int32)
