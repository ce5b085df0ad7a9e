"""Times the ingestion of a Pascal VOC devkit into TFRecords, beside a plain loop.

.venv/bin/python benchmarks/ingest.py VOCdevkit/VOC2012 [--pairs 12000]

The devkit's pairs of `train` and `val` are linked under new ids until there are as many as wanted; so the files come
from the memory of the operating system rather than from the disk. This project's side is SegmentationExampleGen as the
only node of a pipeline, with the fingerprint of all files before and the checks of all pairs on the way. The plain loop
is of the kind of TF DeepLab's `build_voc2012_data.py`: it reads a picture and a mask, decodes them for their sizes, and
writes their bytes as they are. It checks that the two have one size, and nothing else.

Every line of the table is a fresh process. At a quarter of the pairs and at all of them, to see what grows.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

from demo import cpu_model, measured

PLAIN = "plain loop"
WAYS = {
    "this project, in one process": ["--runner=FnApiRunner"],
    f"this project, {os.cpu_count()} worker processes": [
        "--runner=FnApiRunner",
        "--direct_running_mode=multi_processing",
        f"--direct_num_workers={os.cpu_count()}",
    ],
    PLAIN: [],
}
"""Beam's arguments."""
LISTS = {"train": "train", "eval": "val"}
FOLDERS = (("JPEGImages", ".jpg"), ("SegmentationClass", ".png"))


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("devkit", type=Path)
    parser.add_argument("--pairs", type=int, default=12000)
    parser.add_argument("--way", choices=WAYS, help="only this way")
    parser.add_argument(
        "--output", type=Path, help="ingest the devkit itself to this folder, one way, and time nothing"
    )
    arguments = parser.parse_args()
    if arguments.output:
        ingest(arguments.way, arguments.devkit, arguments.output)
        return

    print(
        f"{cpu_model()}, {len(os.sched_getaffinity(0))} CPUs, {platform.system()}, Python {platform.python_version()}\n"
    )
    print("| | pairs | seconds | of them at work | largest process, MiB | TFRecords / JPEGs and PNGs |")
    print("|---|---|---|---|---|---|")
    for way in [arguments.way] if arguments.way else WAYS:
        for pairs in (arguments.pairs // 4, arguments.pairs):
            with tempfile.TemporaryDirectory() as folder:
                devkit, output = Path(folder, "VOC2012"), Path(folder, "out")
                read = link_devkit(arguments.devkit.resolve(), devkit, pairs)
                command = [sys.executable, __file__, devkit, "--way", way, "--output", output]
                seconds, mebibytes, printed = measured(command, expected=0)
                at_work = float(printed.rpartition("at work: ")[2])
                written = sum(file.stat().st_size for file in output.rglob("data_tfrecord-*"))
            print(
                f"| {way} | {pairs:,} | {seconds:.1f} | {at_work:.1f} | {mebibytes:.0f} | {written / read:.4f} |",
                flush=True,
            )


def link_devkit(source: Path, devkit: Path, pairs: int) -> int:
    """Makes a devkit of links to another one's files, in the same proportion of train and val.

    Returns:
        How many bytes the pictures and masks of all pairs have.
    """
    place = Path("ImageSets", "Segmentation")
    lists = {name: (source / place / f"{name}.txt").read_text().split() for name in LISTS.values()}
    # In the order of the ids, train and val are mixed.
    originals = sorted((original, name) for name, ids in lists.items() for original in ids)
    members: dict[str, list[str]] = {name: [] for name in LISTS.values()}
    for folder, _ in FOLDERS:
        (devkit / folder).mkdir(parents=True)
    (devkit / place).mkdir(parents=True)
    total = 0
    for number in range(pairs):
        original, name = originals[number % len(originals)]
        members[name].append(f"{number:06d}_{original}")
        for folder, suffix in FOLDERS:
            link = devkit / folder / f"{members[name][-1]}{suffix}"
            link.symlink_to(source / folder / f"{original}{suffix}")
            total += link.stat().st_size
    for name, ids in members.items():
        (devkit / place / f"{name}.txt").write_text("\n".join(ids))
    return total


def ingest(way: str, devkit: Path, output: Path) -> None:
    """Ingests one way and prints the seconds it took, without those for this process's imports."""
    seconds = plain_loop(devkit, output) if way == PLAIN else example_gen(devkit, output, WAYS[way])
    print(f"at work: {seconds}")


def example_gen(devkit: Path, output: Path, beam_args: list[str]) -> float:
    """SegmentationExampleGen, as the only node of a pipeline."""
    from tfx.orchestration import metadata
    from tfx.orchestration.beam.beam_dag_runner import BeamDagRunner
    from tfx.orchestration.pipeline import Pipeline

    import pipeline.runs.local  # noqa: F401  Beam's default runner is set there
    from components.segmentation_example_gen.component import SegmentationExampleGen
    from components.segmentation_example_gen.sources import VocData

    started = time.monotonic()
    node = SegmentationExampleGen(data=VocData(root=str(devkit)), problem_folder=str(output / "problems"))
    connection = metadata.sqlite_metadata_connection_config(str(output / "metadata.sqlite"))
    BeamDagRunner().run(
        Pipeline(
            "ingest",
            str(output),
            components=[node],
            metadata_connection_config=connection,
            beam_pipeline_args=beam_args,
        )
    )
    return time.monotonic() - started


def plain_loop(devkit: Path, output: Path) -> float:
    """One pair after another, as they are."""
    import tensorflow as tf

    from schema import features

    def text(value: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    def number(value: int) -> tf.train.Feature:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    started = time.monotonic()
    output.mkdir()
    for split, name in LISTS.items():
        with tf.io.TFRecordWriter(str(output / f"data_tfrecord-{split}")) as writer:
            for picture_id in (devkit / "ImageSets" / "Segmentation" / f"{name}.txt").read_text().split():
                image, mask = ((devkit / folder / f"{picture_id}{suffix}").read_bytes() for folder, suffix in FOLDERS)
                height, width, channels = tf.io.decode_jpeg(image).shape
                if tuple(tf.io.decode_png(mask).shape[:2]) != (height, width):
                    raise ValueError(f"{picture_id}: picture and mask differ in size")
                feature = {
                    features.IMAGE_ENCODED: text(image),
                    features.IMAGE_FILENAME: text(picture_id.encode()),
                    features.IMAGE_FORMAT: text(b"jpeg"),
                    features.IMAGE_HEIGHT: number(height),
                    features.IMAGE_WIDTH: number(width),
                    features.IMAGE_CHANNELS: number(channels),
                    features.LABEL_ENCODED: text(mask),
                    features.LABEL_FORMAT: text(b"png"),
                }
                writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    return time.monotonic() - started


if __name__ == "__main__":
    main()
