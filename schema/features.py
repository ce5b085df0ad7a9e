"""Names that the rooms share: the keys of the TFRecords, of Transform's outputs and of the signatures.

The TFRecord keys are the ones that TF DeepLab and the TF Model Garden read and write, so that files can be exchanged.
"""

# TFRecord features.
IMAGE_ENCODED = "image/encoded"  # bytes: the JPEG or PNG, as it was on disk if it was 8-bit, upright and RGB or grey
IMAGE_FILENAME = "image/filename"  # bytes
IMAGE_FORMAT = "image/format"  # bytes: "jpeg" or "png"
IMAGE_HEIGHT = "image/height"  # int64, pixels
IMAGE_WIDTH = "image/width"  # int64, pixels
IMAGE_ASPECT_RATIO = "image/aspect_ratio"  # float: width / height
IMAGE_CHANNELS = "image/channels"  # int64
IMAGE_SOURCE_ID = "image/source_id"  # bytes: the id that stands in the list file, or the file's name without suffix
SPAN = "data/span"  # int64: the span that the picture came with; data without spans have none
LABEL_ENCODED = "image/segmentation/class/encoded"  # bytes: one-channel PNG of class indices, 255 = void
LABEL_FORMAT = "image/segmentation/class/format"  # bytes: "png"
LABEL_PIXELS = "image/segmentation/class/pixels"  # int64[num_classes]: pixels of each class
LABEL_VOID_PIXELS = "image/segmentation/class/void_pixels"  # int64
LABEL_VOID_SHARE = "image/segmentation/class/void_share"  # float, 0 to 1: void pixels / all pixels
LABEL_CLASSES = "image/segmentation/class/names"  # bytes, any number of them: names of the classes in the picture
LABEL_CLASS_COUNT = "image/segmentation/class/count"  # int64: number of classes in the picture


def label_pixels_of(class_name: str) -> str:
    """The feature with the pixels of one class, int64, which only pictures with that class have.

    Statistics of `LABEL_PIXELS` would mix the classes; each of these has its own.
    """
    return f"{LABEL_PIXELS}/{class_name}"


# Outputs of Transform.
IMAGE = "image"  # float32[N, S, S, 3], normalised, 0 where padded: what serving and evaluation read
# What training reads, eight bytes to a number; `trainer.data.preprocessing.unpacked` gives uint8.
PACKED_IMAGE = "packed_image"  # of uint8[N, S, S, 3], RGB
PACKED_LABEL = "packed_label"  # of uint8[N, S, S], class indices, IGNORE_LABEL where void or padded
TRAIN_PICTURES = "train_pictures"  # int64[N]: number of pictures in the whole training split
TRAIN_CLASS_PIXELS = "train_class_pixels"  # int64[N, num_classes]: pixels of each class in the whole training split
CONTENT_SIZE = "content_size"  # int64[N, 2]: height and width of the picture inside the canvas, pixels

# Splits, by the names that TFX's own components use.
TRAIN_SPLIT = "train"
EVAL_SPLIT = "eval"
TEST_SPLIT = "test"  # without labels, there to be predicted

# Signatures of the SavedModel.
SERVING_SIGNATURE = "serving_default"
REST_SIGNATURE = "rest"
SEGMENT_SIGNATURE = "segment"
EXAMPLES_SIGNATURE = "examples"
CONFUSION_SIGNATURE = "confusion"

# Outputs of the signatures.
MASK = "mask"
MASK_BYTES = "mask_bytes"  # that of `REST_SIGNATURE`
CLASS_PIXELS = "class_pixels"
CONFUSION_MATRIX = "confusion_matrix"
BOUNDARY_COUNTS = "boundary_counts"

MAX_PIXELS = 100_000_000
"""Of one picture or mask: some 300 MB once decoded. A small file can claim more than any machine holds."""
MAX_SIDE = 65_535
"""The most that a JPEG can state. A PNG could have rows of millions of pixels, and memory must hold a row at a time."""


LABELLED = "LABELLED"
"""The environment of splits with masks."""


UNLABELLED = "UNLABELLED"
"""The environment of splits without."""
