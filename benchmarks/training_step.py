"""Times the training step on this machine: what is around it, what it waits for, what its augmentation costs.

.venv/bin/python benchmarks/training_step.py VOCdevkit/VOC2012 [--size 257] [--batch 8] [--steps 60] [--skip memory] ...

Every figure is of the Trainer's own code. One process trains with everything on, input, metrics, TensorBoard,
evaluations and checkpoints, by a training function that takes the time of each batch's arrival and of each step. So the
shares are those of one and the same training, however busy the machine is. The first step, in which TensorFlow traces,
is left out. An evaluation is work of its own and no cost of the framework around the step; so it is not in the shares.

Then the same process runs the same compiled step on one batch that lies in memory, and, in turn with it, the step
without augmentation, on a batch that was augmented before.

Other processes disturb the time of all threads on the CPU less than the time on the wall; on a GPU it says nothing.

Memory is the largest of a process that trains a very small network for one pass over the examples, and over ten times
as many: links to the same files. Both are more than the shuffle buffer holds.

TensorFlow takes the GPU that it finds; `--device cpu` keeps it off.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from demo import cpu_model, measured, output_of

WORK = ("step", "memory")
SMALLEST_SIZE = 33
MEMORY_BATCH = 32
PARTS = ("wait", "step", "evaluations", "checkpoints", "bare", "plain", "augmentation")
"""What the time is taken of."""
COPIES = (3, 30)
"""How many times the examples are there, for memory."""


@dataclass(frozen=True)
class Job:
    """What a worker does."""

    work: str
    examples: str
    """Pattern of the files to train on."""
    evaluated: str
    """Pattern of the files to evaluate on."""
    graph: str
    """Folder of Transform's graph."""
    network: str
    size: int
    batch: int
    steps: int
    rounds: int = 0

    @property
    def eval_pictures(self) -> int:
        """Of one evaluation."""
        return min(4 * self.batch, 64)


def main() -> None:
    """Prints Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("devkit", type=Path)
    parser.add_argument("--network", default="MobileNetV2", help="the backbone's name")
    parser.add_argument("--size", type=int, default=257, help="side of the canvas, pixels")
    parser.add_argument("--batch", type=int, default=8, help="pictures per step")
    parser.add_argument("--steps", type=int, default=60, help="of the training with everything on")
    parser.add_argument("--rounds", type=int, default=10, help="turns of the step with and without augmentation")
    parser.add_argument("--skip", choices=WORK, help="leave one of the tables out")
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto", help="auto: the GPU that TensorFlow sees")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work_for(Job(**json.loads(options.worker)))
        return
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

    cpus = len(os.sched_getaffinity(0))
    print(f"{cpu_model()}, {cpus} CPUs, {platform.system()}, Python {platform.python_version()}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.skip != "step":
            train, evaluated, graph = prepared(options.devkit, folder / "step", options.network, options.size)
            job = Job(
                "step",
                train,
                evaluated,
                graph,
                options.network,
                options.size,
                options.batch,
                options.steps,
                options.rounds,
            )
            print_step_table(job, finished(job))
        if options.skip != "memory":
            prepared(options.devkit, folder / "memory", options.network, SMALLEST_SIZE)
            print_memory_table(folder / "memory", options.network)


def prepared(devkit: Path, folder: Path, network: str, size: int) -> tuple[str, str, str]:
    """Patterns of the training and the eval split's TFRecords, and Transform's graph, written by a fresh process."""
    code = (
        "import sys; from pathlib import Path; from examples import write_examples, write_transform_graph;"
        "devkit, folder, network, size = sys.argv[1:]; folder = Path(folder);"
        "pattern = write_examples(Path(devkit), 'train', folder / 'train');"
        "write_examples(Path(devkit), 'eval', folder / 'eval');"
        "write_transform_graph(pattern, folder / 'graph', int(size), network)"
    )
    output_of([sys.executable, "-c", code, devkit.resolve(), folder, network, size], cwd=Path(__file__).parent)
    return str(folder / "train" / "*"), str(folder / "eval" / "*"), str(folder / "graph")


def command_for(job: Job) -> list[str]:
    """What starts the worker."""
    return [sys.executable, __file__, ".", "--worker", json.dumps(asdict(job))]


def finished(job: Job) -> dict[str, Any]:
    """What a worker has found out, when it is done."""
    return json.loads(output_of(command_for(job)).splitlines()[-1])


def print_step_table(job: Job, found: dict[str, Any]) -> None:
    """The step, and what is around it."""
    turns = {name: [Turn(**turn) for turn in found[name]] for name in PARTS}
    print(
        f"TensorFlow {version('tensorflow')}, {found['device']}, {found['precision']}; {job.network}, "
        f"{job.size} x {job.size} pixels, batch {job.batch}\n"
    )
    print("| | ms per step | images/s | share |")
    print("|---|---|---|---|")
    steps = len(turns["step"])
    total = {name: sum(turn.seconds for turn in turns[name]) for name in PARTS}
    whole = found["seconds"] - total["evaluations"]
    around = whole - total["step"] - total["wait"] - total["checkpoints"]
    print(f"| training, {steps} steps | {1000 * whole / steps:.1f} | {steps * job.batch / whole:.2f} | |")
    for name, seconds in (
        ("the compiled step", total["step"]),
        ("waiting for input", total["wait"]),
        ("Keras, progress, TensorBoard", around),
        ("checkpoints", total["checkpoints"]),
    ):
        print(f"| - {name} | {1000 * seconds / steps:.1f} | | {seconds / whole:.1%} |")
    checkpoint = total["checkpoints"] / len(turns["checkpoints"])
    evaluation = turns["evaluations"][-1].seconds
    print(
        f"\nOne checkpoint took {checkpoint:.2f} s; one evaluation of {job.eval_pictures} pictures, with those for "
        f"TensorBoard, {evaluation:.1f} s; `fit` took {found['ending']:.1f} s to end after the last step.\n"
    )
    print(f"| median of {job.rounds} turns | ms per step | images/s | share | CPU ms per step | share |")
    print("|---|---|---|---|---|---|")
    medians = {
        name: [statistics.median(getattr(turn, key) for turn in turns[name]) for key in asdict(Turn())]
        for name in ("bare", "plain", "augmentation")
    }
    for name, what in (
        ("bare", "the compiled step on one batch in memory"),
        ("plain", "the same without augmentation"),
        ("augmentation", "augmentation alone"),
    ):
        seconds, cpu = medians[name]
        of_seconds, of_cpu = (value / bare for value, bare in zip(medians[name], medians["bare"], strict=True))
        print(
            f"| {what} | {1000 * seconds:.1f} | {job.batch / seconds:.2f} | {of_seconds:.1%} | {1000 * cpu:.0f} "
            f"| {of_cpu:.1%} |"
        )
    print(flush=True)


def print_memory_table(folder: Path, network: str) -> None:
    """Peak memory by the number of examples."""
    print("| pictures in the data set, all of them seen | steps | largest resident memory, MiB | pictures/s |")
    print("|---|---|---|---|", flush=True)
    files = sorted((folder / "train").iterdir())
    code = "import sys; sys.path.insert(0, sys.argv[1]); from training_step import count; print(count(sys.argv[2]))"
    pictures = int(output_of([sys.executable, "-c", code, Path(__file__).parent, folder / "train" / "*"]).split()[-1])
    for copies in COPIES:
        linked = folder / f"times_{copies}"
        linked.mkdir()
        for copy in range(copies):
            for file in files:
                (linked / f"{copy:03d}-{file.name}").symlink_to(file)
        steps = math.ceil(copies * pictures / MEMORY_BATCH)
        paths = (str(linked / "*"), str(folder / "eval" / "*"), str(folder / "graph"))
        job = Job("memory", *paths, network, SMALLEST_SIZE, MEMORY_BATCH, steps)
        _, mebibytes, printed = measured(command_for(job), expected=0)
        seconds = json.loads(printed.strip().splitlines()[-1])["seconds"]
        print(
            f"| {copies * pictures:,} | {steps:,} | {mebibytes:.0f} | {steps * MEMORY_BATCH / seconds:.0f} |",
            flush=True,
        )


def count(pattern: str) -> int:
    """Examples in the files of a pattern."""
    import tensorflow as tf

    return sum(1 for _ in tf.data.TFRecordDataset(tf.io.gfile.glob(pattern)))


def work_for(job: Job) -> None:
    """Does the job and prints what it found as JSON."""
    found = {"step": time_step, "memory": train_for_memory}[job.work](job)
    print(json.dumps(found), flush=True)


def settings_for(job: Job) -> Any:
    """Of the Trainer: its defaults, but for what the job says, from random weights."""
    from schema.labels import VOC2012
    from trainer.settings import Augmentation, Hps, NNArch, Train, TrainerSettings

    small = {"mv2_depth_multiplier": 0.35, "reduction_size": 8, "concat_channels": 8} if job.work == "memory" else {}
    return TrainerSettings(
        seed=0,
        base_model=job.network,
        nn_arch=NNArch(image_size=job.size, **small),
        hps=Hps(steps=job.steps, batch_size=job.batch, lr=1e-3),
        augmentation=Augmentation(),
        train=Train(init_from="none", evaluate_every=math.ceil(job.steps / 2), eval_pictures=job.eval_pictures),
        labels=VOC2012,
        eval_output_stride=16,
    )


def trained(job: Job) -> None:
    """Trains as `run_fn` does, with a folder for checkpoints."""
    import tensorflow_transform as tft

    from trainer.run import train
    from trainer.training.checkpoints import TrainingFolder

    graph = tft.TFTransformOutput(job.graph)
    with tempfile.TemporaryDirectory() as folder:
        kept = TrainingFolder(folder, writes=True)
        train(settings_for(job), [job.examples], graph, eval_files=[job.evaluated], folder=kept)


def train_for_memory(job: Job) -> dict[str, Any]:
    """One pass over the examples."""
    began = time.perf_counter()
    trained(job)
    return {"seconds": time.perf_counter() - began}


@dataclass
class Turn:
    """Seconds that something took, and those of all threads of this process on the CPU."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0


@contextlib.contextmanager
def timed(turns: list[Turn]) -> Iterator[None]:
    """Adds how long its body takes."""
    turn = Turn(time.perf_counter(), time.process_time())
    try:
        yield
    finally:
        turns.append(Turn(time.perf_counter() - turn.seconds, time.process_time() - turn.cpu_seconds))


def time_step(job: Job) -> dict[str, Any]:
    """Trains with the stopwatch in hand, and runs the bare step afterwards."""
    import keras
    import tensorflow as tf

    import trainer.run
    from trainer.training.checkpoints import TrainingFolder
    from trainer.training.progress import ProgressLogger

    spent: dict[str, list[Turn]] = {name: [] for name in PARTS}
    ends: list[float] = []  # of each step and all that is called after it, and of the whole
    training: Any = None
    kept_batch: Any = None

    class Last(keras.callbacks.Callback):
        """Is called after all others."""

        def on_train_batch_end(self, batch, logs=None):
            ends.append(time.perf_counter())

    class TimedTraining(trainer.run.AugmentedTraining):
        """Takes the time of its steps."""

        def fit(self, *arguments, callbacks, **options):
            nonlocal training
            training = self
            callbacks.callbacks.append(Last())
            super().fit(*arguments, callbacks=callbacks, **options)
            ends.append(time.perf_counter())

        def make_train_function(self, force=False):
            super().make_train_function(force)
            # Given a list instead of TensorFlow's iterator, it is the same compiled step.
            self.compiled_step = self.train_function

            def train_function(iterator):
                nonlocal kept_batch
                with timed(spent["wait"]):
                    kept_batch = next(iterator)
                with timed(spent["step"]):
                    return waited(self.compiled_step([kept_batch]))

            self.train_function = train_function

    def waited(logs: dict) -> dict:
        # A GPU has done the step only when what comes out of it can be read.
        return {name: float(value) for name, value in logs.items()}

    @contextlib.contextmanager
    def paused(self, original=ProgressLogger.paused):
        with timed(spent["evaluations"]), original(self):
            yield

    def save(self, *arguments, original=TrainingFolder.save):
        with timed(spent["checkpoints"]):
            original(self, *arguments)

    trainer.run.AugmentedTraining = TimedTraining
    ProgressLogger.paused = paused
    TrainingFolder.save = save
    trained(job)

    (canvases, content_sizes, draws), labels = kept_batch
    augmentation = tf.function(lambda: training._augment(canvases, labels, content_sizes, draws))
    plain_data = augmentation()
    plain_step = tf.function(lambda: keras.Model.train_step(training, plain_data))
    sides = {
        "bare": lambda: waited(training.compiled_step([kept_batch])),
        "plain": lambda: waited(plain_step()),
        "augmentation": lambda: [values.numpy() for values in augmentation()],
    }
    for side in sides.values():
        side()
    for _ in range(job.rounds):
        for name, side in sides.items():
            with timed(spent[name]):
                side()

    gpus = tf.config.list_physical_devices("GPU")
    facts = {
        "device": tf.config.experimental.get_device_details(gpus[0])["device_name"] if gpus else "CPU",
        "precision": training.network.dtype_policy.name,
        "seconds": ends[-2] - ends[0],
        "ending": ends[-1] - ends[-2],
    }
    # The first step is the one that TensorFlow traces.
    del spent["wait"][0], spent["step"][0]
    return facts | {name: [asdict(turn) for turn in turns] for name, turns in spent.items()}


if __name__ == "__main__":
    main()
