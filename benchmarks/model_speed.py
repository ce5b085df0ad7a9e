"""Times DeepLabV3+ beside the one of segmentation_models_pytorch (PyTorch) on this machine: training and inference.

tools/make-venv requirements/peers.txt
.venv/bin/python benchmarks/model_speed.py [--networks MobileNetV2] [--work inference] [--only ours] [--size 513] ...

Both sides compute the same network from random weights, in float32, on one batch that already lies on the device:

- a training step is the network, the cross entropy at full resolution without the ignored pixels, all gradients, and an
  update by SGD with momentum and weight decay; nothing is augmented;
- inference is the network without gradients and the largest class of each pixel, at full size.

513 pixels have features of 33 x 33 where the peer's 512 have 32 x 32: 4 to 5 % more multiplications per image. Keras'
ResNet50 has biases that the peer's has not. Threads and the precision of float32 products are each framework's.

Every line of the table has a fresh process for either side. The two take turns, each while the other waits.

The locked packages use a GPU for the peer only. With JAX for CUDA installed besides, `--backend jax` puts both on it;
`--device cpu` keeps both off it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import IO, Any

from demo import cpu_model

SIDES = ("ours", "peer")
WORK = ("training", "inference")
PEER_ENCODERS = {"MobileNetV2": "mobilenet_v2", "ResNet50": "resnet50"}
NUM_CLASSES = 21
IGNORED_SHARE = 0.05
WARM_UP_STEPS = 2
PAGES_KEPT = {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**35)}
"""Else glibc would give every large tensor back and fault its pages in anew, which on a virtual machine costs more than
the arithmetic, and PyTorch more than TensorFlow."""


@dataclass(frozen=True)
class Job:
    """What a worker times; a line of the table has one for either side."""

    side: str
    network: str
    work: str
    size: int
    batch: int
    output_stride: int
    backend: str
    device: str
    plain: bool


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=SIDES, help="leave the other side out")
    parser.add_argument("--networks", nargs="+", choices=PEER_ENCODERS, default=list(PEER_ENCODERS))
    parser.add_argument("--work", nargs="+", choices=WORK, default=WORK)
    parser.add_argument("--size", type=int, default=513, help="side of the images, pixels")
    parser.add_argument("--batch", type=int, default=4, help="images per step; the peer trains on 2 or more")
    parser.add_argument("--output-stride", type=int, choices=(8, 16), default=16)
    parser.add_argument("--backend", choices=("tensorflow", "jax"), default="tensorflow", help="of Keras")
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto", help="auto: the GPU that a framework sees")
    parser.add_argument("--plain", action="store_true", help="ours without folding and TensorFlow's kernels")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")
    parser.add_argument("--seconds", type=float, default=5.0, help="a turn is as many steps as take about this long")
    options = vars(parser.parse_args())
    if options["batch"] == 1 and "training" in options["work"] and options["only"] != "ours":
        parser.error("--batch 1: the peer cannot normalise the one mean that image pooling gives; train on 2 or more")
    only, networks, kinds, rounds, seconds = map(options.pop, ("only", "networks", "work", "rounds", "seconds"))

    cpus = len(os.sched_getaffinity(0))
    print(f"{cpu_model()}, {cpus} CPUs, {platform.system()}, Python {platform.python_version()}\n", flush=True)
    lines = [(network, work) for network in networks for work in kinds]
    for index, (network, work) in enumerate(lines):
        with contextlib.ExitStack() as stack:
            workers = {
                side: stack.enter_context(started(Job(side, network, work, **options)))
                for side in ([only] if only else SIDES)
            }
            if index == 0:
                print_header(workers, options["batch"], options["output_stride"], rounds)
            steps = {side: max(1, round(seconds / worker.time(1))) for side, worker in workers.items()}
            rates: dict[str, list[float]] = {side: [] for side in workers}
            for _ in range(rounds):
                for side, worker in workers.items():
                    rates[side].append(steps[side] * options["batch"] / worker.time(steps[side]))
            print_line(network, work, workers, rates)


def print_header(workers: Mapping[str, Worker], batch: int, output_stride: int, rounds: int) -> None:
    """Says what is compared, and begins the table.

    Raises:
        RuntimeError: one side runs on a GPU, the other does not.
    """
    devices = {side: worker.facts["device"] for side, worker in workers.items()}
    if len({device == "CPU" for device in devices.values()}) > 1:
        raise RuntimeError(f"the sides run on different devices, {devices}; set --device cpu or --backend jax")
    for side, worker in workers.items():
        why = " (it takes multiples of its output stride only)" if side == "peer" else ""
        print("- {}: {libraries}; {device}; {threads}; {size} x {size} pixels{}".format(side, why, **worker.facts))
    print(f"- both: float32, batch {batch}, output stride {output_stride}, {NUM_CLASSES} classes, no augmentation")
    print(f"- images/s: median of {rounds} rounds (lowest to highest); MiB: largest resident memory of the process\n")
    print("| network | | parameters, ours / peer | ours, images/s | peer, images/s | ours / peer | MiB, ours / peer |")
    print("|---|---|---|---|---|---|---|", flush=True)


def print_line(network: str, work: str, workers: Mapping[str, Worker], rates: Mapping[str, list[float]]) -> None:
    """One line of the table; a dash where a side was left out."""

    def each(text: Callable[[str], str]) -> list[str]:
        return [text(side) if side in workers else "-" for side in SIDES]

    medians = {side: statistics.median(rates[side]) for side in rates}
    parameters = each(lambda side: f"{workers[side].facts['parameters']:,}")
    speeds = each(lambda side: f"{medians[side]:.3g} ({min(rates[side]):.3g} to {max(rates[side]):.3g})")
    peaks = each(lambda side: f"{workers[side].peak:.0f}")
    ratio = f"{medians['ours'] / medians['peer']:.2f}" if len(medians) == len(SIDES) else "-"
    cells = (network, work, " / ".join(parameters), *speeds, ratio, " / ".join(peaks))
    print("|", " | ".join(cells), "|", flush=True)


@contextlib.contextmanager
def started(job: Job) -> Iterator[Worker]:
    """A worker that is ready to run, as a process of its own."""
    # Both sides share a GPU, so neither may reserve all of its memory.
    environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    environment |= {"KERAS_BACKEND": job.backend, "TF_CPP_MIN_LOG_LEVEL": "2", **PAGES_KEPT}
    if job.device == "cpu":
        environment |= {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    with worker_process(__file__, job, environment) as worker:
        yield worker


@contextlib.contextmanager
def worker_process(script: str, job: Any, environment: Mapping[str, str]) -> Iterator[Worker]:
    """A process that runs a benchmark's `--worker` on a job, a dataclass, and has told its facts."""
    command = [sys.executable, script, "--worker", json.dumps(asdict(job))]
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            command, env=os.environ | environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        try:
            yield Worker(job, process, log)
        finally:
            process.kill()


class Worker:
    """A process that tells its facts, and may then `take_turns`, seen from this one.

    Raises:
        RuntimeError: it ended without an answer; the message is what it logged.
    """

    def __init__(self, job: Any, process: subprocess.Popen, log: IO[str]):
        self._job = job
        self._process = process
        self._log = log
        self.facts = self._answer()
        """Of this benchmark: `libraries`, `device`, `threads`, `size` of the images, `parameters`."""
        self.peak = 0.0
        """Largest resident memory so far, MiB."""
        self.cpu = 0.0
        """Seconds of CPU time, of all threads, that the last turn took."""

    def time(self, steps: int) -> float:
        """Seconds that so many steps take."""
        print(steps, file=self._process.stdin, flush=True)
        answer = self._answer()
        self.peak, self.cpu = answer["peak"], answer["cpu"]
        return answer["seconds"]

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            raise RuntimeError(f"{self._job} ended with {self._process.wait()}:\n{self._log.read()}")
        return json.loads(line)


def work_for(job: Job) -> None:
    """Tells what the job's side is, and takes turns."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints must not be taken for an answer
    run, facts = {"ours": ours, "peer": peer}[job.side](job)
    run(WARM_UP_STEPS)
    take_turns(run, facts, answers)


def take_turns(run: Callable[[int], None], facts: dict, answers: IO[str]) -> None:
    """Prints the facts, then reads numbers of steps, runs them, and prints what they took."""
    print(json.dumps(facts), file=answers, flush=True)
    for line in sys.stdin:
        started_at, cpu = time.perf_counter(), time.process_time()
        run(int(line))
        seconds, cpu = time.perf_counter() - started_at, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak}), file=answers, flush=True)


def batch_for(job: Job, size: int) -> tuple[Any, Any]:
    """Random images float32[N, S, S, 3], -1 to 1, and labels int32[N, S, S], some of them ignored."""
    import numpy as np

    from schema.labels import IGNORE_LABEL

    random = np.random.default_rng(0)
    images = random.uniform(-1, 1, (job.batch, size, size, 3)).astype(np.float32)
    labels = random.integers(NUM_CLASSES, size=(job.batch, size, size), dtype=np.int32)
    labels[random.random(labels.shape) < IGNORED_SHARE] = IGNORE_LABEL
    return images, labels


def ours(job: Job) -> tuple[Callable[[int], None], dict]:
    """What runs so many steps of this project's network, and the worker's facts."""
    import keras

    keras.utils.set_random_seed(0)
    network = our_network(job)
    run, facts = {"tensorflow": on_tensorflow, "jax": on_jax}[job.backend](job, network)
    facts["libraries"] = f"keras {version('keras')}, {job.backend} {version(job.backend)}"
    return run, facts | {"size": job.size, "parameters": total(network.trainable_variables)}


def our_network(job: Job) -> Any:
    """Images to logits, compiled as the Trainer compiles it, or as the SavedModel holds it for inference."""
    from trainer.model.deeplabv3plus import deeplabv3plus
    from trainer.model.folding import folded
    from trainer.settings import Hps, NNArch
    from trainer.training.losses import cross_entropy
    from trainer.training.optimizer import optimizer

    hps = Hps()
    nn_arch = NNArch(image_size=job.size, num_classes=NUM_CLASSES, output_stride=job.output_stride)
    network = deeplabv3plus(job.network, nn_arch, hps)
    if job.backend == "tensorflow" and not job.plain:
        from trainer.serving.tensorflow_kernels import with_tensorflow_kernels

        network = with_tensorflow_kernels(network)
    if job.work == "inference" and not job.plain:
        network = folded(network)
    network.compile(optimizer=optimizer(hps, steps=30_000), loss=cross_entropy, jit_compile=job.backend == "jax")
    if job.work == "training":
        network.optimizer.build(network.trainable_variables)
    return network


def on_tensorflow(job: Job, network: Any) -> tuple[Callable[[int], None], dict]:
    """Steps are `tf.function`s without XLA, which is many times slower on a CPU."""
    import tensorflow as tf

    images, labels = map(tf.constant, batch_for(job, job.size))
    train = tf.function(network.train_step, jit_compile=False)
    infer = tf.function(lambda images: tf.argmax(network(images, training=False), axis=-1, output_type=tf.int32))

    def run(steps: int) -> None:
        for _ in range(steps):
            if job.work == "training":
                loss = train((images, labels))["loss"]
            else:
                infer(images).numpy()
        if job.work == "training":
            must_be_finite(float(loss))

    gpus = tf.config.list_physical_devices("GPU")
    threading = tf.config.threading
    pools = threading.get_intra_op_parallelism_threads(), threading.get_inter_op_parallelism_threads()
    return run, {
        "device": tf.config.experimental.get_device_details(gpus[0])["device_name"] if gpus else "CPU",
        "threads": "{} threads in an op, {} between ops (0: as many as CPUs)".format(*pools),
    }


def on_jax(job: Job, network: Any) -> tuple[Callable[[int], None], dict]:
    """Steps are compiled by XLA."""
    import jax

    images, labels = map(jax.device_put, batch_for(job, job.size))
    groups = (network.trainable_variables, network.non_trainable_variables)
    groups += (network.optimizer.variables, network.metrics_variables)
    state = tuple([variable.value for variable in group] for group in groups)
    train = jax.jit(network.train_step, donate_argnums=0)

    @jax.jit
    def infer(trainable: list, non_trainable: list, images: jax.Array) -> jax.Array:
        logits, _ = network.stateless_call(trainable, non_trainable, images, training=False)
        return logits.argmax(axis=-1)

    def run(steps: int) -> None:
        nonlocal state
        for _ in range(steps):
            if job.work == "training":
                logs, state = train(state, (images, labels))
            else:
                infer(*state[:2], images).block_until_ready()
        if job.work == "training":
            jax.block_until_ready(state)
            must_be_finite(float(logs["loss"]))

    device = jax.devices()[0]
    return run, {"device": "CPU" if device.platform == "cpu" else device.device_kind, "threads": "XLA's own threads"}


def peer(job: Job) -> tuple[Callable[[int], None], dict]:
    """What runs so many steps of the peer's network, and the worker's facts."""
    import torch

    from schema.labels import IGNORE_LABEL
    from trainer.settings import Hps

    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True  # TensorFlow and XLA try out cuDNN's algorithms by default
    device = torch.device("cuda" if job.device == "auto" and torch.cuda.is_available() else "cpu")
    size = round(job.size / job.output_stride) * job.output_stride
    images, labels = (torch.from_numpy(array).to(device) for array in batch_for(job, size))
    # The faster layout of either kind of work: on a CPU, PyTorch trains two times slower with channels last.
    layout = torch.contiguous_format if job.work == "training" else torch.channels_last
    images, labels = images.permute(0, 3, 1, 2).contiguous(memory_format=layout), labels.long()
    network = peer_network(job).to(device, memory_format=layout).train(job.work == "training")
    hps = Hps()
    optimizer = torch.optim.SGD(network.parameters(), hps.lr, momentum=hps.momentum, weight_decay=hps.weight_decay)

    def train() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(images), labels, ignore_index=IGNORE_LABEL)
        loss.backward()
        optimizer.step()
        return loss.detach()

    @torch.inference_mode()
    def infer() -> torch.Tensor:
        return network(images).argmax(dim=1)

    def run(steps: int) -> None:
        for _ in range(steps):
            if job.work == "training":
                loss = train()
            else:
                infer().cpu()
        if job.work == "training":
            if device.type == "cuda":
                torch.cuda.synchronize()
            must_be_finite(loss.item())

    libraries = ("segmentation-models-pytorch", "torch")
    return run, {
        "libraries": ", ".join(f"{library} {version(library)}" for library in libraries),
        "device": "CPU" if device.type == "cpu" else torch.cuda.get_device_name(),
        "threads": f"{torch.get_num_threads()} threads in an op, {torch.get_num_interop_threads()} between ops",
        "size": size,
        "parameters": total(network.parameters()),
    }


def peer_network(job: Job) -> Any:
    """Images to logits, with the layers where this project, the paper and Keras' backbones have them."""
    import segmentation_models_pytorch as smp
    from segmentation_models_pytorch.decoders.deeplabv3.decoder import SeparableConv2d
    from torch import nn
    from torchvision.models.resnet import Bottleneck

    from trainer.settings import NNArch

    nn_arch = NNArch(output_stride=job.output_stride)
    network = smp.DeepLabV3Plus(
        PEER_ENCODERS[job.network],
        encoder_weights=None,
        encoder_output_stride=job.output_stride,
        decoder_channels=nn_arch.concat_channels,
        decoder_atrous_rates=[nn_arch.effective_rate(branch)[0] for branch in nn_arch.branches if branch.kernel > 1],
        decoder_aspp_dropout=nn_arch.dropout_rate,
        classes=NUM_CLASSES,
    )
    # One of the two 3x3 convolutions that follow the concatenation stands before the upsampling, where it costs less.
    decoder = network.decoder
    decoder.block2.extend(decoder.aspp[1:])
    decoder.aspp = decoder.aspp[:1]
    for module in list(network.modules()):
        if isinstance(module, SeparableConv2d):
            # It normalises after the pointwise half only.
            module.insert(1, nn.BatchNorm2d(module[0].out_channels))
            module.insert(2, nn.ReLU())
        elif isinstance(module, Bottleneck):
            # torchvision strides in the 3x3 convolution, Keras in the 1x1 before it.
            module.conv1.stride, module.conv2.stride = module.conv2.stride, module.conv1.stride
    return network


def total(parameters: Iterable[Any]) -> int:
    """How many numbers they are."""
    return sum(math.prod(parameter.shape) for parameter in parameters)


def must_be_finite(loss: float) -> None:
    """A run that diverged is not the work that was to be timed."""
    if not math.isfinite(loss):
        raise RuntimeError(f"the loss became {loss}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work_for(Job(**json.loads(sys.argv[2])))
    else:
        main()
