"""Times the served SavedModel on this machine's CPU: one picture at a time, beside other formats, and under load.

.venv/bin/python benchmarks/serve.py VOCdevkit/VOC2012 [--model DIR] [--pictures 40] [--rounds 5] [--seconds 60] ...

`--model` is a version that a run has pushed. Without it the network has random weights, and is exported as the Trainer
exports it; its times are as good, but its masks say nothing of how well the formats agree.

- "One picture": one process goes through pictures of the list `val`, each by the bare network, on a canvas that lies in
  memory, and by the signature `serving_default`, from the bytes of the file to those of a mask at the picture's own
  size, in alternating order. So other work on the machine hits both alike. Decoding is timed by itself; the rest is
  what remains: fitting, normalising, resizing logits, the largest class, counting pixels, encoding the mask.
- "Formats": each file that ModelExport makes, a canvas of bytes to class indices, in a process of its own, in turns
  with the others; and in turn with them the SavedModel's `segment` on the same canvases, and the peer's network with
  the largest class of each pixel, as in model_speed.py, on floats. `litert_int8` is calibrated on pictures of the list
  `train`. The share of pixels is that in which a mask agrees with the SavedModel's, without the padding.
- "Load": a process with TensorFlow alone, in which threads call `serving_default` with a picture each, the next one as
  soon as the last is answered. An answer whose pixels do not add up to the picture's is an error. Errors end the
  benchmark.

ONNX and the peer take packages of their own. Both are in .venv after

tools/make-venv requirements/peers.txt
$(tools/find-uv) pip install --require-hashes -r requirements/onnx.txt
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import math
import os
import platform
import resource
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import model_speed
from demo import cpu_model
from evaluate import MIB, measured
from examples import write_examples, write_transform_graph
from model_speed import PAGES_KEPT, Worker, take_turns, worker_process

WORK = ("picture", "formats", "peer", "load")
SAVED_MODEL = "SavedModel, `segment`"
FORMATS = ("litert_float32", "litert_dynamic", "litert_float16", "litert_int8", "onnx")
LIBRARIES = ("tensorflow", "keras", "onnxruntime", "torch", "segmentation-models-pytorch")
WANTED_RATIO = 1.15
CALIBRATION_PICTURES = 100
"""As ModelExport's default."""
WARM_UP_PICTURES = 3
QUARTERS = 4
CANVASES = "canvases.npz"
"""`pixels` uint8[N, S, S, 3], and `masks` uint8[N, S, S], the SavedModel's, the ignore label where padded."""


@dataclass(frozen=True)
class Job:
    """What a worker does."""

    work: str
    devkit: str
    folder: str
    """For what the workers leave to each other."""
    model: str
    """Folder of the SavedModel."""
    network: str
    size: int
    pictures: int
    rounds: int
    seconds: float
    callers: int
    format: str = ""


def main() -> None:
    """Prints Markdown tables.

    Raises:
        SystemExit: there were errors under load.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("devkit", type=Path)
    parser.add_argument("--model", type=Path, help="a SavedModel that a run has pushed; without it random weights")
    parser.add_argument("--network", default="MobileNetV2", help="the backbone, if the weights are random")
    parser.add_argument("--size", type=int, default=513, help="side of the canvas, pixels, if the weights are random")
    parser.add_argument("--pictures", type=int, default=40, help="at most; of the list val")
    parser.add_argument("--rounds", type=int, default=5, help="turns of one picture and of each format")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the load")
    parser.add_argument("--callers", type=int, default=8, help="threads of the load")
    parser.add_argument("--skip", nargs="+", choices=WORK, default=(), help="leave these out")
    options = parser.parse_args()
    if options.model and not (options.model / "saved_model.pb").is_file():
        parser.error(f"--model {options.model} has no saved_model.pb; wanted is a version's folder")

    print(f"{cpu_model()}, {len(os.sched_getaffinity(0))} CPUs, {platform.system()}, ", end="")
    print(f"Python {platform.python_version()}; {', '.join(map(library, LIBRARIES))}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        job = Job(
            work="prepare",
            devkit=str(options.devkit),
            folder=folder,
            model=str(options.model or Path(folder, "model")),
            network=options.network,
            size=options.size,
            pictures=options.pictures,
            rounds=options.rounds,
            seconds=options.seconds,
            callers=options.callers,
        )
        if not options.model:
            finished(job)
        network = finished(replace(job, work="canvases"))
        weights = "the model's" if options.model else "random"
        print(
            f"{network['base_model']}, {network['size']} x {network['size']} pixels, output stride "
            f"{network['output_stride']}, {weights} weights; {network['pictures']} pictures, {options.rounds} rounds"
        )
        if "picture" not in options.skip:
            print_picture_table(finished(replace(job, work="picture")))
        with_peer = "peer" not in options.skip
        if with_peer or "formats" not in options.skip:
            print_formats_table(job, network, FORMATS if "formats" not in options.skip else (), with_peer)
        if "load" not in options.skip:
            print_load_table(job, finished(replace(job, work="load")))
    print(f"\nload averages at the end: {' '.join(f'{load:.1f}' for load in os.getloadavg())}")


def library(name: str) -> str:
    """A library and its version. LiteRT is TensorFlow's own."""
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"no {name}"


@contextlib.contextmanager
def started(job: Job) -> Iterator[Worker]:
    """A worker that has told its facts, as a process of its own."""
    environment = {"CUDA_VISIBLE_DEVICES": "", "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"}
    if job.work == "format":
        # As the peer has it. One picture and the load have what a server has.
        environment |= PAGES_KEPT
    with worker_process(__file__, job, environment) as worker:
        yield worker


def finished(job: Job) -> dict[str, Any]:
    """What a worker has found out, when it is done."""
    with started(job) as worker:
        return worker.facts


def print_picture_table(rounds: dict[str, list[dict[str, float]]]) -> None:
    """One picture at a time: each round's milliseconds for a picture, by what was called."""

    keys = ("seconds", "cpu")
    lines = {name: [statistics.median(turn[key] for turn in turns) for key in keys] for name, turns in rounds.items()}
    rest = [
        statistics.median(
            served[key] - bare[key] - decoding[key]
            for served, bare, decoding in zip(rounds["served"], rounds["bare"], rounds["decoding"], strict=True)
        )
        for key in keys
    ]
    print("\n| one picture, ms | by the clock | CPU time |\n|---|---|---|")
    for text, (clock, cpu) in (
        ("bare network, on a canvas in memory", lines["bare"]),
        ("`serving_default`, from the JPEG to the mask's PNG", lines["served"]),
        ("- decoding the JPEG", lines["decoding"]),
        ("- the rest around the network", rest),
    ):
        print(f"| {text} | {1000 * clock:.1f} | {1000 * cpu:.1f} |")
    ratios = [
        [served[key] / bare[key] for served, bare in zip(rounds["served"], rounds["bare"], strict=True)] for key in keys
    ]
    by_clock, by_cpu = (f"{statistics.median(r):.3f} ({min(r):.3f} to {max(r):.3f})" for r in ratios)
    print(
        f"\nserved / bare: {by_clock} by the clock, {by_cpu} by CPU time; wanted is at most {WANTED_RATIO}", flush=True
    )


def print_formats_table(job: Job, network: dict[str, Any], formats: tuple[str, ...], with_peer: bool) -> None:
    """The files of ModelExport, the SavedModel and the peer, in turns."""
    left_out: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        workers = {SAVED_MODEL: stack.enter_context(started(replace(job, work="format")))}
        for name in formats:
            reason = finished(replace(job, work="convert", format=name))["reason"]
            if reason:
                left_out[name] = reason
            else:
                workers[name] = stack.enter_context(started(replace(job, work="format", format=name)))
        if with_peer:
            reason = why_no_peer(network["base_model"])
            if reason:
                left_out["peer"] = reason
            else:
                worker = stack.enter_context(model_speed.started(peer_job(network)))
                workers[f"peer, {worker.facts['size']} x {worker.facts['size']} floats"] = worker
        turns: dict[str, list[tuple[float, float]]] = {name: [] for name in workers}
        for _ in range(job.rounds):
            for name, worker in workers.items():
                seconds = worker.time(network["pictures"])
                turns[name].append((seconds / network["pictures"], worker.cpu / network["pictures"]))
        print(
            "\n| the network alone, in | ms a picture | CPU, ms | MB | pixels as the SavedModel | largest memory, MiB |"
        )
        print("|---|---|---|---|---|---|")
        for name, worker in workers.items():
            clocks, cpus = ([1000 * figure for figure in figures] for figures in zip(*turns[name], strict=True))
            spread = f"{statistics.median(clocks):.1f} ({min(clocks):.1f} to {max(clocks):.1f})"
            size, agreement = worker.facts.get("bytes"), worker.facts.get("agreement")
            cells = (
                name,
                spread,
                f"{statistics.median(cpus):.1f}",
                "-" if size is None else f"{size / 1e6:.1f}",
                "-" if agreement is None else f"{agreement:.2%}",
                f"{worker.peak:.0f}",
            )
            print("|", " | ".join(cells), "|")
    for name, reason in left_out.items():
        print(f"\n{name} was left out: {reason}")
    sys.stdout.flush()


def why_no_peer(base_model: str) -> str | None:
    """Why the peer cannot be run, and what to do; None if it can."""
    if base_model not in model_speed.PEER_ENCODERS:
        return f"it is compared with {' and '.join(model_speed.PEER_ENCODERS)} only, not with {base_model}"
    if missing := [name for name in ("torch", "segmentation_models_pytorch") if find_spec(name) is None]:
        return (
            f"it needs {' and '.join(missing)}, which this environment lacks; set it up with "
            "`tools/make-venv requirements/peers.txt`"
        )
    return None


def peer_job(network: dict[str, Any]) -> model_speed.Job:
    """The peer's inference on one picture."""
    return model_speed.Job(
        side="peer",
        network=network["base_model"],
        work="inference",
        size=network["size"],
        batch=1,
        output_stride=network["output_stride"],
        backend="tensorflow",
        device="cpu",
        plain=False,
    )


def print_load_table(job: Job, found: dict[str, Any]) -> None:
    """Under load.

    Raises:
        SystemExit: there were errors.
    """
    print(
        f"\n| load, {job.callers} callers, {job.seconds:g} s | images/s | p50, ms | p99, ms | errors | memory after a "
        "quarter, MiB | half | three quarters | at the end | largest |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    resident = " | ".join(f"{mebibytes:.0f}" for mebibytes in found["resident"])
    print(
        f"| {found['answers']} answers | {found['rate']:.2f} | {1000 * found['p50']:.0f} | {1000 * found['p99']:.0f} | "
        f"{len(found['errors'])} | {resident} | {found['peak']:.0f} |",
        flush=True,
    )
    if found["errors"]:
        raise SystemExit(f"{len(found['errors'])} calls failed; the first: {found['errors'][0]}")


def work_for(job: Job) -> None:
    """Prints what the worker has found out; that of a format takes turns then."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints must not be taken for an answer
    if job.work == "format":
        take_turns(*timed_format(job), answers)
    else:
        print(json.dumps(WORKERS[job.work](job)), file=answers, flush=True)


def photographs(devkit: str, name: str, count: int) -> list[bytes]:
    """The files of the first pictures of a list, train or val, JPEG."""
    ids = Path(devkit, "ImageSets", "Segmentation", f"{name}.txt").read_text().split()[:count]
    return [Path(devkit, "JPEGImages", f"{each}.jpg").read_bytes() for each in ids]


def prepare(job: Job) -> dict[str, Any]:
    """Writes an untrained model."""
    import tensorflow_transform as tft

    from schema.labels import VOC2012
    from trainer.model.backbones import BACKBONES
    from trainer.model.deeplabv3plus import deeplabv3plus
    from trainer.serving import signatures
    from trainer.serving.description import ModelDescription
    from trainer.settings import NNArch

    folder = Path(job.folder)
    pattern = write_examples(Path(job.devkit), "eval", folder / "examples")
    graph = tft.TFTransformOutput(write_transform_graph(pattern, folder / "graph", job.size, job.network))
    nn_arch = NNArch(image_size=job.size)
    description = ModelDescription(
        base_model=job.network, nn_arch=nn_arch, deeplab=version("deeplabv3plus-tfx"), settings_sha256="none"
    )
    network = deeplabv3plus(job.network, nn_arch)
    signatures.save(network, graph, BACKBONES[job.network].normalisation, VOC2012, job.model, description)
    return {}


def canvases(job: Job) -> dict[str, Any]:
    """Writes the pictures as the formats take them, with the SavedModel's masks, and tells what the network is."""
    import numpy as np
    import tensorflow as tf

    from schema.features import MASK, SEGMENT_SIGNATURE
    from schema.labels import IGNORE_LABEL
    from trainer.serving.conversion import read_segmenter
    from trainer.serving.description import read_description

    segmenter = read_segmenter(job.model)
    segment = tf.saved_model.load(job.model).signatures[SEGMENT_SIGNATURE]
    pixels, masks = [], []
    for image in photographs(job.devkit, "val", job.pictures):
        canvas = segmenter.canvas(image)
        height, width = canvas.content_size
        mask = np.full((segmenter.size, segmenter.size), IGNORE_LABEL, np.uint8)
        mask[:height, :width] = segment(tf.constant(canvas.pixels[np.newaxis, :height, :width]))[MASK][0]
        pixels.append(canvas.pixels)
        masks.append(mask)
    np.savez(Path(job.folder, CANVASES), pixels=pixels, masks=masks)
    description = read_description(job.model)
    return {
        "base_model": description.base_model,
        "size": segmenter.size,
        "output_stride": description.nn_arch.output_stride,
        "pictures": len(pixels),
    }


def picture(job: Job) -> dict[str, list[dict[str, float]]]:
    """Each round's seconds for a picture, by the clock and of the CPUs."""
    import tensorflow as tf

    from schema.features import SERVING_SIGNATURE
    from trainer.data.augmentation import normalised
    from trainer.data.preprocessing import decode_image, image_canvas
    from trainer.model.backbones import BACKBONES
    from trainer.model.deeplabv3plus import deeplabv3plus
    from trainer.model.folding import folded
    from trainer.model.weights import transfer
    from trainer.serving.signatures import read_network
    from trainer.serving.tensorflow_kernels import with_tensorflow_kernels

    description, weights = read_network(job.model)
    network = deeplabv3plus(description.base_model, description.nn_arch)
    transfer(weights, network, job.model)
    network = folded(with_tensorflow_kernels(network))
    bare = tf.function(lambda canvas: network(canvas, training=False))
    served = tf.saved_model.load(job.model).signatures[SERVING_SIGNATURE]
    decoding = tf.function(decode_image)

    encoded = [tf.constant(image) for image in photographs(job.devkit, "val", job.pictures)]
    normalisation = BACKBONES[description.base_model].normalisation
    in_memory = []
    for image in encoded:
        pixels, content = image_canvas(decode_image(image), network.input_shape[1])
        in_memory.append(normalised(pixels[tf.newaxis], content[tf.newaxis], normalisation))

    # In alternating order, so that neither always finds the caches as the other has left them.
    calls: list[tuple[str, Callable[[], Any]]] = []
    for index, (image, canvas) in enumerate(zip(encoded, in_memory, strict=True)):
        pair = [("bare", lambda canvas=canvas: bare(canvas)), ("served", lambda image=image: served(image[tf.newaxis]))]
        calls += reversed(pair) if index % 2 else pair
    calls += [("decoding", lambda image=image: decoding(image)) for image in encoded]

    rounds: dict[str, list[dict[str, float]]] = {"bare": [], "served": [], "decoding": []}
    for _ in range(1 + job.rounds):
        for taken in rounds.values():
            taken.append({"seconds": 0.0, "cpu": 0.0})
        for name, call in calls:
            for key, value in measured(call).items():
                if key in rounds[name][-1]:
                    rounds[name][-1][key] += value / len(encoded)
    # The first round is where TensorFlow traces and finds its buffers.
    return {name: taken[1:] for name, taken in rounds.items()}


def convert(job: Job) -> dict[str, str | None]:
    """Writes the file of a format, or tells why it cannot."""
    from components.model_export import litert, onnx
    from trainer.serving.conversion import read_segmenter

    kind = onnx if job.format == "onnx" else litert
    segmenter = read_segmenter(job.model)
    calibration = [segmenter.canvas(image) for image in photographs(job.devkit, "train", CALIBRATION_PICTURES)]
    try:
        Path(job.folder, job.format).write_bytes(kind.convert(job.format, segmenter, calibration))
    except onnx.MissingPackagesError as error:
        return {"reason": str(error)}
    return {"reason": None}


def timed_format(job: Job) -> tuple[Callable[[int], None], dict[str, Any]]:
    """What runs a format, or the SavedModel, on so many canvases, with its size and how its masks agree."""
    import numpy as np

    from schema.labels import IGNORE_LABEL

    if job.format:
        from components.model_export import litert, onnx

        contents = Path(job.folder, job.format).read_bytes()
        size = len(contents)
        predict = (onnx if job.format == "onnx" else litert).load(contents)
    else:
        import tensorflow as tf

        from schema.features import MASK, SEGMENT_SIGNATURE

        segment = tf.saved_model.load(job.model).signatures[SEGMENT_SIGNATURE]
        files = [Path(job.model, "saved_model.pb"), *Path(job.model, "variables").iterdir()]
        size = sum(file.stat().st_size for file in files)

        def predict(canvas: np.ndarray) -> np.ndarray:
            return segment(tf.constant(canvas))[MASK].numpy()

    with np.load(Path(job.folder, CANVASES)) as file:
        pixels, masks = file["pixels"], file["masks"]
    same = counted = 0
    for canvas, mask in zip(pixels, masks, strict=True):
        inside = mask != IGNORE_LABEL
        same += int((predict(canvas[np.newaxis])[0] == mask)[inside].sum())
        counted += int(inside.sum())

    def run(steps: int) -> None:
        for index in range(steps):
            predict(pixels[index % len(pixels), np.newaxis])

    return run, {"bytes": size, "agreement": same / counted}


def load(job: Job) -> dict[str, Any]:
    """Threads that call the signature for a while."""
    import io

    import numpy as np
    import tensorflow as tf
    from PIL import Image

    from schema.features import CLASS_PIXELS, SERVING_SIGNATURE

    serve = tf.saved_model.load(job.model).signatures[SERVING_SIGNATURE]
    images = photographs(job.devkit, "val", job.pictures)
    sizes = [math.prod(Image.open(io.BytesIO(image)).size) for image in images]
    for image in images[:WARM_UP_PICTURES]:
        serve(tf.constant([image]))

    turn = itertools.count()
    latencies: list[float] = []
    errors: list[str] = []
    began = time.monotonic()

    def call() -> None:
        while (asked := time.monotonic()) < began + job.seconds:
            index = next(turn) % len(images)
            try:
                pixels = int(serve(tf.constant([images[index]]))[CLASS_PIXELS].numpy().sum())
            # Whatever goes wrong is to be counted, and the other callers go on.
            except Exception as error:
                errors.append(f"{type(error).__name__}: {error}")
                continue
            latencies.append(time.monotonic() - asked)
            if pixels != sizes[index]:
                errors.append(f"picture {index} of the list val has {sizes[index]} pixels, its mask {pixels}")

    threads = [threading.Thread(target=call) for _ in range(job.callers)]
    for thread in threads:
        thread.start()
    resident = []
    for quarter in range(1, QUARTERS + 1):
        time.sleep(max(0.0, began + quarter * job.seconds / QUARTERS - time.monotonic()))
        resident.append(resident_memory())
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - began
    p50, p99 = np.percentile(latencies or [math.nan], [50, 99]).tolist()
    return {
        "answers": len(latencies),
        "rate": len(latencies) / seconds,
        "p50": p50,
        "p99": p99,
        "errors": errors,
        "resident": resident,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def resident_memory() -> float:
    """Of this process, now, MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


WORKERS: dict[str, Callable[[Job], dict]] = {
    "prepare": prepare,
    "canvases": canvases,
    "picture": picture,
    "convert": convert,
    "load": load,
}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work_for(Job(**json.loads(sys.argv[2])))
    else:
        main()
