"""Times the way from TFRecords to batches on this machine, stage by stage, and PyTorch's DataLoader in the same run.

tools/make-venv requirements/peers.txt
.venv/bin/python benchmarks/input_speed.py VOCdevkit/VOC2012 [--size 513] [--batch 16] [--only ours] [--step]

The pictures of the list `train` are written to TFRecords, and Transform makes its graph of them. Each line of the table
does what the line before it does and more, but for decoding alone, which reads nothing. The peer reads the same JPEGs
and the same one-channel PNGs from files, scales by 0.5 to 2, pads and crops to the size, flips and normalises, with
albumentations and OpenCV, in one worker process for each CPU.

The sides take turns, and each turn begins with batches that are not counted, so that what was fetched ahead is used up.
Beside images/s by the clock, which other work on the machine lowers, stands what the CPU time of all threads and
workers would allow if these CPUs did nothing else.

`--step` times the augmentation's share of a training step of MobileNetV2 on a CPU instead.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from demo import cpu_model

CPUS = len(os.sched_getaffinity(0))
BACKBONE = "MobileNetV2"
NOT_COUNTED = 8
"""Batches at the beginning of a turn."""
PICTURES, MASKS = "pictures", "masks"
"""Folders of the files that the peer reads."""
PEER = "peer: DataLoader, albumentations, OpenCV"


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("devkit", type=Path)
    parser.add_argument("--size", type=int, default=513, help="side of the canvas, pixels")
    parser.add_argument("--batch", type=int, default=16, help="images")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each line")
    parser.add_argument("--batches", type=int, default=40, help="that a turn counts")
    parser.add_argument("--only", choices=("ours", "peer"), help="leave the other side out")
    parser.add_argument("--step", action="store_true", help="the augmentation's share of a training step")
    options = parser.parse_args()
    print(f"{cpu_model()}, {CPUS} CPUs, {platform.system()}, Python {platform.python_version()}")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    if options.step:
        print_step(options.size, options.batch, options.rounds)
        return
    sides = [options.only] if options.only else ["ours", "peer"]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        prepare(options.devkit, options.size, Path(folder))
        workers = [stack.enter_context(started(side, folder, options.size, options.batch)) for side in sides]
        print("; ".join(worker.libraries for worker in workers))
        print(
            f"{options.size} pixels, batches of {options.batch}, {options.rounds} turns: medians (lowest to highest)\n"
        )
        measured: dict[str, list[tuple[float, float]]] = {}
        for _ in range(options.rounds):
            for worker in workers:
                for line in worker.lines:
                    measured.setdefault(line, []).append(worker.measure(line, options.batches))
    print("| | images/s | by CPU time | CPU, ms/image | more than above |")
    print("|---|---|---|---|---|")
    before = 0.0
    for line, figures in measured.items():
        rates = [rate for rate, _ in figures]
        cost = statistics.median(cost for _, cost in figures)
        more = "" if line in (PEER, *ALONE) or not before else f"{cost - before:+.2f}"
        spread = f"{statistics.median(rates):.0f} ({min(rates):.0f} to {max(rates):.0f})"
        print(f"| {line} | {spread} | {CPUS * 1000 / cost:.0f} | {cost:.2f} | {more} |")
        before = 0.0 if line in ALONE else cost
    print(f"\nload averages at the end: {' '.join(f'{load:.1f}' for load in os.getloadavg())}")


def prepare(devkit: Path, size: int, folder: Path) -> None:
    """Writes TFRecords, Transform's graph, and the peer's files.

    A process of its own does it: TFX and Beam are to be in no process that is timed.
    """
    subprocess.run([sys.executable, __file__, "--prepare", str(devkit), str(size), str(folder)], check=True)


def prepare_here(devkit: str, size: int, folder: Path) -> None:
    """What `prepare` does."""
    import apache_beam as beam
    import tensorflow as tf
    import tensorflow_transform as tft
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io
    from tfx_bsl.public import tfxio

    from components.curated_schema.schema import schema_for
    from components.segmentation_example_gen import executor
    from components.segmentation_example_gen.sources.voc import VocData
    from schema import features
    from schema.labels import VOC2012
    from trainer.data.preprocessing import preprocessing_fn

    for name in ("examples", PICTURES, MASKS):
        (folder / name).mkdir()
    pairs = VocData().list_split(devkit, "train").pairs
    for shard in executor.split_into_shards(pairs, "train", str(folder / "examples")):
        if problems := list(executor.write_shard(shard, VOC2012)):
            raise RuntimeError(f"{devkit}: {problems}")
    pattern = str(folder / "examples" / "*")
    for record in tf.data.TFRecordDataset(tf.io.gfile.glob(pattern)):
        feature = tf.train.Example.FromString(record.numpy()).features.feature
        name = feature[features.IMAGE_SOURCE_ID].bytes_list.value[0].decode()
        for place, key, suffix in ((PICTURES, features.IMAGE_ENCODED, ".jpg"), (MASKS, features.LABEL_ENCODED, ".png")):
            (folder / place / f"{name}{suffix}").write_bytes(feature[key].bytes_list.value[0])

    schema = schema_for(VOC2012)
    settings = {"settings": {"base_model": BACKBONE, "image_size": size}}
    source = tfxio.TFExampleRecord(pattern, telemetry_descriptors=["benchmark"], schema=schema)
    graph = folder / "transform_graph"
    with (
        beam.Pipeline(runner="FnApiRunner") as pipeline,
        tft_beam.Context(temp_dir=str(folder / "tmp")),
    ):
        raw = (pipeline | source.BeamSource(), source.TensorAdapterConfig())
        function = raw | tft_beam.AnalyzeDataset(lambda inputs: preprocessing_fn(inputs, settings))
        _ = function | tft_beam.WriteTransformFn(str(graph))
    metadata_io.write_metadata(
        dataset_metadata.DatasetMetadata(schema), str(graph / tft.TFTransformOutput.RAW_METADATA_DIR)
    )


ALONE = ("decode alone, from memory",)
"""Lines that are not part of the way."""


def our_lines(folder: Path, size: int, batch: int) -> dict[str, Callable[[], Iterator]]:
    """Each line's batches."""
    import tensorflow as tf
    import tensorflow_transform as tft

    from schema import features
    from trainer.data import preprocessing
    from trainer.data.augmentation import augment
    from trainer.data.input import training_batches, training_records
    from trainer.model.backbones import BACKBONES
    from trainer.serving.tensorflow_kernels import in_one_loop
    from trainer.settings import Augmentation, Train

    patterns = [str(folder / "examples" / "*")]
    graph = tft.TFTransformOutput(str(folder / "transform_graph"))
    order = {"shuffle_buffer": Train().shuffle_buffer, "seed": 0}
    encoded = (features.IMAGE_ENCODED, features.LABEL_ENCODED)
    specification = {key: tf.io.FixedLenFeature([], tf.string) for key in encoded}
    columns = preprocessing.packed_columns(size)

    def parse(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        parsed = tf.io.parse_example(serialized, specification)
        return parsed[features.IMAGE_ENCODED], parsed[features.LABEL_ENCODED]

    def each(function: Callable, signature: Any) -> Callable:
        return lambda image, label: tf.map_fn(
            lambda pair: function(*pair), (image, label), fn_output_signature=signature
        )

    def decoded(image: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
        # Of what is decoded nothing but the sizes is kept.
        return tf.shape(preprocessing.decode_image(image))[0] + tf.shape(preprocessing.decode_label(label))[0]

    def fitted(image: tf.Tensor, label: tf.Tensor) -> tuple:
        canvas, content_size = preprocessing.image_canvas(preprocessing.decode_image(image), size, columns)
        return canvas, content_size, preprocessing.label_canvas(preprocessing.decode_label(label), size, columns)

    canvases = (
        tf.TensorSpec([size, columns, 3], tf.uint8),
        tf.TensorSpec([2], tf.int64),
        tf.TensorSpec([size, columns], tf.uint8),
    )
    layer = graph.transform_features_layer()

    def transformed(*keys: str) -> Callable:
        def transform(image: tf.Tensor, label: tf.Tensor) -> list[tf.Tensor]:
            outputs = layer({features.IMAGE_ENCODED: image[:, None], features.LABEL_ENCODED: label[:, None]})
            return [outputs[key] for key in keys]

        return transform

    def records() -> tf.data.Dataset:
        return training_records(patterns, **order).batch(batch, drop_remainder=True)

    def mapped(dataset: tf.data.Dataset, *functions: Callable) -> tf.data.Dataset:
        def all_of_them(*arguments: tf.Tensor) -> Any:
            for function in functions:
                result = function(*arguments)
                arguments = result if isinstance(result, tuple) else (result,)
            return result

        return dataset.map(all_of_them, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    bytes_of_batch = (features.PACKED_IMAGE, features.PACKED_LABEL, features.CONTENT_SIZE)
    packed = transformed(*bytes_of_batch)
    whole = partial(training_batches, patterns, graph, batch_size=batch, **order)
    normalisation = BACKBONES[BACKBONE].normalisation
    augmented = in_one_loop(partial(augment, size=size, settings=Augmentation(), normalisation=normalisation))
    in_memory = list(training_records(patterns, **order).take(1000).batch(batch).map(parse))
    pictures = tf.data.Dataset.from_tensor_slices(tuple(tf.concat(part, 0) for part in zip(*in_memory, strict=True)))
    return {
        ALONE[0]: lambda: (
            pictures.cache().repeat().batch(batch).map(each(decoded, tf.int32), num_parallel_calls=tf.data.AUTOTUNE)
        ),
        "read and shuffle": lambda: records().prefetch(tf.data.AUTOTUNE),
        "and parse": lambda: mapped(records(), parse),
        "and decode": lambda: mapped(records(), parse, each(decoded, tf.int32)),
        "and fit into the canvas": lambda: mapped(records(), parse, each(fitted, canvases)),
        "the same by Transform's graph": lambda: mapped(records(), parse, lambda *pair: tuple(packed(*pair))),
        "and unpack: **batches of bytes**": whole,
        "and augment, on the CPU": lambda: (
            whole()
            .map(lambda inputs, label: augmented(inputs[0], label, *inputs[1:]), num_parallel_calls=1)
            .prefetch(tf.data.AUTOTUNE)
        ),
    }


def peer_lines(folder: Path, size: int, batch: int) -> dict[str, Callable[[], Iterator]]:
    """The peer's batches."""
    import albumentations
    import cv2
    import torch
    from albumentations.pytorch import ToTensorV2

    from schema.labels import IGNORE_LABEL
    from trainer.model.backbones import BACKBONES

    normalisation = BACKBONES[BACKBONE].normalisation
    change = albumentations.Compose(
        [
            albumentations.RandomScale(scale_limit=(-0.5, 1.0), p=1),
            albumentations.PadIfNeeded(
                size, size, border_mode=cv2.BORDER_CONSTANT, fill=normalisation.mean, fill_mask=IGNORE_LABEL
            ),
            albumentations.RandomCrop(size, size),
            albumentations.HorizontalFlip(p=0.5),
            albumentations.Normalize(
                mean=[value / 255 for value in normalisation.mean], std=[value / 255 for value in normalisation.scale]
            ),
            ToTensorV2(),
        ]
    )

    class Pictures(torch.utils.data.Dataset):
        """Files of a folder, changed."""

        def __init__(self):
            self.names = sorted(file.stem for file in (folder / PICTURES).iterdir())

        def __len__(self) -> int:
            return len(self.names)

        def __getitem__(self, index: int) -> tuple:
            name = self.names[index]
            image = cv2.cvtColor(cv2.imread(str(folder / PICTURES / f"{name}.jpg")), cv2.COLOR_BGR2RGB)
            mask = cv2.imread(str(folder / MASKS / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
            changed = change(image=image, mask=mask)
            return changed["image"], changed["mask"].long()

    pictures = Pictures()
    # Without end, so that no turn meets the pause between two epochs.
    sampler = torch.utils.data.RandomSampler(pictures, replacement=True, num_samples=2**31)
    loader = torch.utils.data.DataLoader(
        pictures, batch_size=batch, sampler=sampler, num_workers=CPUS, worker_init_fn=lambda _: cv2.setNumThreads(0)
    )
    batches = iter(loader)
    return {PEER: lambda: batches}


def work(side: str, folder: str, size: int, batch: int) -> None:
    """Answers on standard output: first what there is to measure, then figures for each line that is read."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints must not be taken for an answer
    lines, libraries = {
        "ours": (our_lines, ("tensorflow", "tensorflow-transform", "keras")),
        "peer": (peer_lines, ("torch", "albumentations", "opencv-python-headless")),
    }[side]
    made = lines(Path(folder), size, batch)
    versions = ", ".join(f"{library} {version(library)}" for library in libraries)
    print(json.dumps({"lines": list(made), "libraries": versions}), file=answers, flush=True)
    for question in sys.stdin:
        line, count = json.loads(question)
        batches = iter(made[line]())
        for _ in range(NOT_COUNTED):
            next(batches)
        cpu, clock = cpu_seconds(), time.perf_counter()
        for _ in range(count):
            next(batches)
        seconds = time.perf_counter() - clock
        cost = cpu_seconds() - cpu
        print(json.dumps([count * batch / seconds, 1000 * cost / (count * batch)]), file=answers, flush=True)


def cpu_seconds() -> float:
    """CPU time of this process and those that it has started and that still run."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    ticks = 0
    for process in children:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def started(side: str, folder: str, size: int, batch: int) -> Iterator[Worker]:
    """A process that measures one side's lines."""
    command = [sys.executable, __file__, "--worker", side, folder, str(size), str(batch)]
    environment = os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1"}
    # As in model_speed.py: pages that are given back and faulted in anew would cost both sides more than their work.
    environment |= {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**35)}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Worker(process)
    finally:
        process.stdin.close()
        process.kill()
        process.wait()


class Worker:
    """The process that runs `work`, seen from this one."""

    def __init__(self, process: subprocess.Popen):
        self._process = process
        facts = self._answer()
        self.lines: list[str] = facts["lines"]
        self.libraries: str = facts["libraries"]

    def measure(self, line: str, batches: int) -> tuple[float, float]:
        """Images per second by the clock, and milliseconds of CPU time per image."""
        print(json.dumps([line, batches]), file=self._process.stdin, flush=True)
        rate, cost = self._answer()
        return rate, cost

    def _answer(self) -> Any:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker ended with {self._process.wait()}")
        return json.loads(line)


def print_step(size: int, batch: int, rounds: int) -> None:
    """Prints how long training steps take with and without the augmentation."""
    import numpy as np
    import tensorflow as tf

    from trainer.data.augmentation import DRAWS
    from trainer.model.backbones import BACKBONES
    from trainer.model.deeplabv3plus import deeplabv3plus
    from trainer.serving.tensorflow_kernels import in_one_loop, with_tensorflow_kernels
    from trainer.settings import Augmentation, Hps, NNArch
    from trainer.training.losses import cross_entropy
    from trainer.training.train_step import AugmentedTraining, optimizer

    random = np.random.default_rng(0)
    canvas = tf.constant(random.integers(0, 256, (batch, size, size, 3), np.uint8))
    label = tf.constant(random.integers(0, 21, (batch, size, size), np.uint8))
    content = tf.constant([[size, size * 3 // 4]] * batch, tf.int64)
    draws = tf.constant(random.random((batch, DRAWS), np.float32))
    everything = Augmentation(rotation=10, brightness=0.2, contrast=0.2, saturation=0.2, hue=10)
    steps, augmentations = {}, {}
    network = with_tensorflow_kernels(deeplabv3plus(BACKBONE, NNArch(image_size=size), Hps()))
    for name, settings in (("as by default", Augmentation()), ("all of it", everything)):
        training = AugmentedTraining(network, settings, BACKBONES[BACKBONE].normalisation, compiled=in_one_loop)
        training.compile(optimizer=optimizer(Hps(), 30_000), loss=cross_entropy, jit_compile=False)
        training.optimizer.build(training.trainable_variables)
        step = tf.function(training.train_step)
        steps[name] = partial(step, ((canvas, content, draws), label))
        augmentations[name] = partial(tf.function(training._augment), canvas, label, content, draws)

    def timed(function: Callable) -> tuple[float, float]:
        clock, cpu = time.perf_counter(), time.process_time()
        function()
        return 1000 * (time.perf_counter() - clock) / batch, 1000 * (time.process_time() - cpu) / batch

    print(f"\n{BACKBONE}, {size} pixels, batches of {batch}; ms/image, medians of {rounds}, by the clock / CPU time\n")
    print("| augmentation | training step | augmentation | share |\n|---|---|---|---|")
    for name in steps:
        steps[name](), augmentations[name]()
        pairs = [(timed(steps[name]), timed(augmentations[name])) for _ in range(rounds)]
        step, alone = ([statistics.median(pair[side][kind] for pair in pairs) for kind in (0, 1)] for side in (0, 1))
        share = " / ".join(f"{100 * part / all_of_it:.1f} %" for part, all_of_it in zip(alone, step, strict=True))
        print(f"| {name} | {step[0]:.0f} / {step[1]:.0f} | {alone[0]:.1f} / {alone[1]:.1f} | {share} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
    elif sys.argv[1:2] == ["--prepare"]:
        prepare_here(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
    else:
        main()
