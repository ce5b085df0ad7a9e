"""Names that the rooms share: the keys of the TFRecords, of Transform's outputs and of the signatures.

The TFRecord keys are the ones that TF DeepLab and the TF Model Garden read and write, so that files can be exchanged.
"""

# TFRecord features.
IMAGE_ENCODED = "image/encoded"  # bytes: the JPEG as it was on disk
IMAGE_FILENAME = "image/filename"  # bytes
IMAGE_FORMAT = "image/format"  # bytes: "jpeg"
IMAGE_HEIGHT = "image/height"  # int64, pixels
IMAGE_WIDTH = "image/width"  # int64, pixels
IMAGE_CHANNELS = "image/channels"  # int64
IMAGE_SOURCE_ID = "image/source_id"  # bytes: the id that stands in the list file
LABEL_ENCODED = "image/segmentation/class/encoded"  # bytes: one-channel PNG of class indices, 255 = void
LABEL_FORMAT = "image/segmentation/class/format"  # bytes: "png"
LABEL_PIXELS = "image/segmentation/class/pixels"  # int64[num_classes]: pixels of each class
LABEL_VOID_PIXELS = "image/segmentation/class/void_pixels"  # int64

# Outputs of Transform.
IMAGE = "image"  # float32[N, S, S, 3], normalised, 0 where padded
LABEL = "label"  # int64[N, S, S], class indices, IGNORE_LABEL where void or padded
TRAIN_PICTURES = "train_pictures"  # int64[N]: number of pictures in the whole training split
TRAIN_CLASS_PIXELS = "train_class_pixels"  # int64[N, num_classes]: pixels of each class in the whole training split
CONTENT_SIZE = "content_size"  # int64[N, 2]: height and width of the picture inside the canvas, pixels

# Splits, by the names that TFX's own components use.
TRAIN_SPLIT = "train"
EVAL_SPLIT = "eval"

# Signatures of the SavedModel.
SERVING_SIGNATURE = "serving_default"
SEGMENT_SIGNATURE = "segment"
EXAMPLES_SIGNATURE = "examples"
CONFUSION_SIGNATURE = "confusion"

# Outputs of the signatures.
MASK = "mask"
CLASS_PIXELS = "class_pixels"
CONFUSION_MATRIX = "confusion_matrix"
