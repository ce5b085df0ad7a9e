"""Data sets to start with: the download of Pascal VOC, generated images, and a sheet of a training batch."""
