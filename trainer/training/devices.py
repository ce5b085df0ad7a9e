"""One batch for several devices: the GPUs of this machine, or of all the machines that TF_CONFIG names."""

from __future__ import annotations

import ctypes
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from trainer.training.checkpoints import CheckpointError

STEP_TIMEOUT_S = 600
"""How long a worker waits for the others' part of a step. The first one includes that each traces its own."""

LOGGER = logging.getLogger(__name__)
READ_EVERY = 10
"""Steps after which Python reads from a GPU, which then has nothing to do until the next step is started."""
TENSOR_CORES = {(8, 0): "mixed_bfloat16", (7, 0): "mixed_float16"}
"""From which compute capability of NVIDIA's GPUs on there are tensor cores for which precision."""
CPU_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}
"""Linux' names of CPUs' instructions for it; the last is ARM's."""


def strategy(num_gpus: int | None = None) -> tf.distribute.Strategy:
    """How the devices there are share a batch; with one device, TensorFlow's default, which changes nothing.

    It must be called before TensorFlow has computed anything. For several workers it waits for all of them.

    Args:
        num_gpus: of this machine that are used at most; None for all.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if num_gpus is not None:
        if num_gpus > len(gpus):
            found = f"{len(gpus)} of them" if gpus else "none, and trains on the CPU"
            LOGGER.warning("train.num_gpus asks for %d GPUs, but TensorFlow finds %s", num_gpus, found)
        gpus = gpus[:num_gpus]
        tf.config.set_visible_devices(gpus, "GPU")
    cluster = tf.distribute.cluster_resolver.TFConfigClusterResolver().cluster_spec().as_dict()
    if sum(map(len, cluster.values())) > 1:
        options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=STEP_TIMEOUT_S)
        return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    if len(gpus) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def dtype_policy(precision: str) -> str:
    """Keras' name of what layers compute in.

    Args:
        precision: `train.precision`; `auto` takes what the GPUs have tensor cores for.
    """
    if precision != "auto":
        return precision
    gpus = tf.config.get_visible_devices("GPU")
    capabilities = [tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0)) for gpu in gpus]
    weakest = min(capabilities, default=(0, 0))
    return next((policy for capability, policy in TENSOR_CORES.items() if weakest >= capability), keras.config.floatx())


def warn_if_slow(policy: str, cpu_info: Path = Path("/proc/cpuinfo")) -> None:
    """Warns if layers are to compute in what this CPU has no instructions for.

    Args:
        policy: Keras' name of it.
        cpu_info: where Linux says what the CPU can; without it there is no warning.
    """
    if policy != "mixed_bfloat16" or tf.config.get_visible_devices("GPU") or not cpu_info.exists():
        return
    lines = cpu_info.read_text().splitlines()
    flags = {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split()}
    if flags and not flags & CPU_BFLOAT16:
        LOGGER.warning("train.precision is mixed_bfloat16, but this CPU cannot compute in it; float32 is faster here")


def steps_between_reads() -> int:
    """After how many steps what lies on the device may be read; a CPU has done the step anyway."""
    return READ_EVERY if tf.config.get_visible_devices("GPU") else 1


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes the model."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.cluster_spec():
        return True
    first = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return resolver.task_type == first and resolver.task_id == 0


def require_same(strategy: tf.distribute.Strategy, step: int) -> None:
    """Makes sure that all workers go on from the same step.

    Raises:
        CheckpointError: they do not.
    """
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        steps = strategy.gather(strategy.run(lambda: tf.constant([step])), axis=0).numpy()
        if (steps != step).any():
            raise CheckpointError(
                f"the workers have found checkpoints of the steps {', '.join(map(str, steps))}; train.checkpoints must "
                "be a folder or URI that all of them see"
            )


def averaging_of_statistics(network: keras.Model, strategy: tf.distribute.Strategy) -> Callable[[], None]:
    """What makes the statistics of batch normalisation the same on all replicas: their mean.

    Each replica keeps those of its own shares. All workers must call it after the same steps.
    """
    if strategy.num_replicas_in_sync == 1:
        return lambda: None
    statistics = [variable.value for variable in network.non_trainable_variables if variable.dtype.startswith("float")]

    @tf.function
    def average() -> None:
        def on_replica() -> None:
            # Read here, each value is on the replica's device, which several workers go by.
            values = [tf.identity(variable) for variable in statistics]
            means = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, values)
            for variable, mean in zip(statistics, means, strict=True):
                variable.assign(mean)

        strategy.run(on_replica)

    return average


def gather(values: tf.Tensor) -> tf.Tensor:
    """The tensors of all replicas together along the first axis; to be called where a replica computes."""
    context = tf.distribute.get_replica_context()
    return values if context.num_replicas_in_sync == 1 else context.all_gather(values, axis=0)


def sum_over_replicas(gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Each gradient summed over all replicas; to be called where a replica computes."""
    return list(tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, list(gradients)))


def train_function(training: keras.Model, strategy: tf.distribute.Strategy) -> Callable:
    """What `fit` calls for each step. Keras' own reduces the logs in a way that fails with several workers.

    Args:
        training: compiled.
        strategy: in whose scope its variables were made.
    """

    @tf.function
    def step(iterator):
        for _ in range(training.steps_per_execution):
            logs = strategy.run(training.train_step, args=(next(iterator),))
        return {name: strategy.reduce("MEAN", value, axis=None) for name, value in logs.items()}

    return step


# Of malloc.h; see mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_LARGEST = 2**31 - 1


def keep_freed_memory() -> None:
    """Has glibc keep what is freed, for the next step, which needs the same.

    By default it gives large blocks back at once and has each page of them made anew, which costs training on a CPU a
    fifth of its time. Where the C library is another one, nothing is done.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_M_MMAP_MAX, 0)
        library.mallopt(_M_TRIM_THRESHOLD, _LARGEST)
