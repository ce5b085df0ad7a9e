"""Times the Evaluator on this machine, beside the bare network.

.venv/bin/python benchmarks/evaluate.py VOCdevkit/VOC2012 [--size 513] [--pictures 300 1219]

The network is MobileNetV2 with random weights, exported as the Trainer exports it. Each line is a process of its own:

- "Evaluator" is our executor on TFRecords with so many pictures, those of the eval split over and over. What a further
  picture takes is the difference between the larger and the smaller number, so that nothing of the start is in it.
- "bare" is the network inside the same SavedModel, on canvases that lie in memory, one by one as the signature runs it.
- "counts" are the confusion matrix and the boundary counts alone, at the label's own size.
- "logits" is TensorFlow Model Analysis as its examples use it, on the same TFRecords and the same network: predictions
  are what the model says, here logits on the canvas, labels are a feature, and a metric gets to see both. It counts no
  boundaries, and needs labels of one size as plain numbers in the examples, which ours are not.

CPU time is that of all threads of the process. Memory is the process's largest.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import resource
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from demo import cpu_model, output_of
from examples import write_examples, write_transform_graph

BARE_PICTURES = 60
MIB = 2**20


def main() -> None:
    """Prints Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("devkit", type=Path)
    parser.add_argument("--size", type=int, default=513, help="side of the canvas, pixels")
    parser.add_argument("--pictures", type=int, nargs=2, default=(300, 1219), metavar="N")
    parser.add_argument(
        "--logits-pictures", type=int, nargs="*", default=(20, 60), metavar="N", help="none leaves that table out"
    )
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work, folder, pictures = options.worker
        print(json.dumps(WORKERS[work](Path(folder), int(pictures))))
        return
    print(f"{cpu_model()}, {len(os.sched_getaffinity(0))} CPUs, {platform.system()}, ", end="")
    print(f"Python {platform.python_version()}, TensorFlow {version('tensorflow')}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run("prepare", folder, options.size, options.devkit)
        few, many = sorted(options.pictures)
        bare = [run("bare", folder, BARE_PICTURES)]
        small, large = run("evaluator", folder, few), run("evaluator", folder, many)
        bare.append(run("bare", folder, BARE_PICTURES))
        counts = run("counts", folder, BARE_PICTURES)
        print_tables(bare, small, large, counts)
        if options.logits_pictures:
            few, many = sorted(options.logits_pictures)
            print_costs("logits as predictions", run("logits", folder, few), run("logits", folder, many))


def run(work: str, folder: Path, pictures: int, devkit: Path | None = None) -> dict[str, Any]:
    """Has a fresh process do a part, and returns what it measured."""
    environment = {"PYTHONPATH": str(Path(__file__).parents[1])}
    if devkit is not None:
        environment["DEVKIT"] = str(devkit)
    command = [sys.executable, __file__, folder, "--worker", work, folder, pictures]
    return json.loads(output_of(command, **environment).splitlines()[-1])


def print_costs(name: str, small: dict, large: dict) -> tuple[float, float]:
    """Prints what evaluations take, and returns the seconds of a further picture by the clock and of the CPUs."""
    print(f"\n| {name} | pictures | by the clock, s | CPU time, s | largest memory, MiB |")
    print("|---|---|---|---|---|")
    for line in (small, large):
        print(f"| | {line['pictures']} | {line['seconds']:.1f} | {line['cpu']:.1f} | {line['memory']:.0f} |")
    more = large["pictures"] - small["pictures"]
    clock, cpu = ((large[key] - small[key]) / more for key in ("seconds", "cpu"))
    start = small["seconds"] - small["pictures"] * clock
    print(f"\na further picture: {1000 * clock:.1f} ms by the clock, {1000 * cpu:.1f} ms of CPU time; ", end="")
    print(f"start-up, loading the model included: {start:.1f} s", flush=True)
    return clock, cpu


def print_tables(bare: list[dict], small: dict, large: dict, counts: dict) -> None:
    """Prints what the Evaluator takes."""
    clock, cpu = print_costs("Evaluator", small, large)
    bare_clock, bare_cpu = (sum(line[key] for line in bare) / len(bare) for key in ("seconds", "cpu"))
    print("\n| per picture, ms | by the clock | CPU time |")
    print("|---|---|---|")
    print(f"| bare network | {1000 * bare_clock:.1f} | {1000 * bare_cpu:.1f} |")
    print(f"| Evaluator, a further picture | {1000 * clock:.1f} | {1000 * cpu:.1f} |")
    print(
        f"| confusion matrix and boundary counts alone | {1000 * counts['seconds']:.1f} | {1000 * counts['cpu']:.1f} |"
    )
    print(f"\nEvaluator / bare: {clock / bare_clock:.2f} by the clock, {cpu / bare_cpu:.2f} by CPU time; ", end="")
    print(
        f"counts / bare: {counts['seconds'] / bare_clock:.1%} by the clock, {counts['cpu'] / bare_cpu:.1%} by CPU time",
        flush=True,
    )


def prepare(folder: Path, size: int) -> dict:
    """Writes the eval split's records, and an untrained model."""
    import tensorflow_transform as tft

    from schema.labels import VOC2012
    from trainer.model.backbones import BACKBONES
    from trainer.model.deeplabv3plus import deeplabv3plus
    from trainer.serving import signatures
    from trainer.settings import NNArch

    pattern = write_examples(Path(os.environ["DEVKIT"]), "eval", folder / "examples")
    graph = write_transform_graph(pattern, folder / "graph", size)
    network = deeplabv3plus("MobileNetV2", NNArch(image_size=size))
    normalisation = BACKBONES["MobileNetV2"].normalisation
    transform = tft.TFTransformOutput(graph)
    signatures.save(network, transform, normalisation, VOC2012, str(folder / "model" / "Format-Serving"))
    return {}


def records(folder: Path, pictures: int) -> list[bytes]:
    """So many records, the same ones over and over."""
    import tensorflow as tf

    files = [str(file) for file in sorted((folder / "examples").iterdir())]
    return list(itertools.islice(itertools.cycle(r.numpy() for r in tf.data.TFRecordDataset(files)), pictures))


def write_split(folder: Path, pictures: int) -> Any:
    """The records as an Examples artifact."""
    import tensorflow as tf
    from tfx.types import artifact_utils, standard_artifacts

    examples = standard_artifacts.Examples()
    examples.uri = str(folder / f"examples-{pictures}")
    examples.split_names = artifact_utils.encode_split_names(["eval"])
    split = Path(examples.uri, "Split-eval")
    split.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(split / "data")) as writer:
        for record in records(folder, pictures):
            writer.write(record)
    return examples


def evaluator(folder: Path, pictures: int) -> dict:
    """The Evaluator's executor."""
    from tfx.types import standard_artifacts
    from tfx.utils import json_utils, proto_utils

    from components.evaluator.executor import Executor
    from pipeline.config.sections import Eval
    from pipeline.eval_config import eval_config
    from schema.labels import VOC2012

    examples = write_split(folder, pictures)
    model, evaluation, blessing = (
        kind()
        for kind in (standard_artifacts.Model, standard_artifacts.ModelEvaluation, standard_artifacts.ModelBlessing)
    )
    model.uri = str(folder / "model")
    evaluation.uri, blessing.uri = (str(folder / f"{name}-{pictures}") for name in ("evaluation", "blessing"))
    executor = Executor(Executor.Context(extra_flags=["--runner=FnApiRunner"], tmp_dir=str(folder), unique_id="0"))
    return {
        "pictures": pictures,
        **measured(
            lambda: executor.Do(
                {"examples": [examples], "model": [model]},
                {"evaluation": [evaluation], "blessing": [blessing]},
                {
                    "eval_config": proto_utils.proto_to_json(eval_config(Eval(), VOC2012)),
                    "example_splits": json_utils.dumps(["eval"]),
                },
            )
        ),
    }


def bare(folder: Path, pictures: int) -> dict:
    """The network alone, per picture."""
    import numpy as np
    import tensorflow as tf

    model = tf.saved_model.load(str(folder / "model" / "Format-Serving"))
    logits = model._logits
    size = logits.concrete_functions[0].inputs[0].shape[0]
    canvases = [tf.constant(np.random.default_rng(i).normal(size=(size, size, 3)).astype(np.float32)) for i in range(8)]
    for canvas in canvases[:3]:
        logits(canvas)
    taken = measured(lambda: [logits(canvases[index % len(canvases)]) for index in range(pictures)])
    return {key: taken[key] / pictures for key in ("seconds", "cpu")}


def counts(folder: Path, pictures: int) -> dict:
    """Confusion matrix and boundary counts, per picture."""
    import tensorflow as tf

    from schema import features
    from schema.labels import IGNORE_LABEL
    from trainer.common.counts import boundary_counts, confusion_matrix
    from trainer.data.preprocessing import decode_label

    parsed = [tf.train.Example.FromString(record).features.feature for record in records(folder, pictures)]
    labels = [tf.cast(decode_label(f[features.LABEL_ENCODED].bytes_list.value[0]), tf.int32) for f in parsed]
    pairs = [(label, tf.roll(tf.where(label == IGNORE_LABEL, 0, label), 3, 1)) for label in labels]
    function = tf.function(
        lambda label, prediction: (confusion_matrix(label, prediction, 21), boundary_counts(label, prediction, 21)),
        [tf.TensorSpec([None, None], tf.int32)] * 2,
    )
    for pair in pairs[:3]:
        function(*pair)
    taken = measured(lambda: [function(*pair) for pair in pairs])
    return {key: taken[key] / pictures for key in ("seconds", "cpu")}


def logits(folder: Path, pictures: int) -> dict:
    """TensorFlow Model Analysis with the network's logits as predictions."""
    import apache_beam as beam
    import numpy as np
    import tensorflow as tf
    import tensorflow_model_analysis as tfma
    from tensorflow_model_analysis.metrics import metric_types
    from tensorflow_model_analysis.proto import config_pb2

    from schema import features
    from schema.labels import IGNORE_LABEL
    from trainer.common.metrics import mean_iou
    from trainer.data.preprocessing import decode_label, label_canvas

    label_key = "label"
    model = tf.saved_model.load(str(folder / "model" / "Format-Serving"))
    size = model._logits.concrete_functions[0].inputs[0].shape[0]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def predict(examples):
        encoded = tf.io.parse_example(examples, {features.IMAGE_ENCODED: tf.io.FixedLenFeature([], tf.string)})
        canvases = model._transform({key: value[:, tf.newaxis] for key, value in encoded.items()})[features.IMAGE]
        return {"logits": tf.map_fn(model._logits, canvases, parallel_iterations=1)}

    module = tf.Module()
    module.model = model
    exported = str(folder / "logits-model")
    tf.saved_model.save(module, exported, signatures={"serving_default": predict})

    examples = str(folder / f"labelled-{pictures}")
    with tf.io.TFRecordWriter(examples) as writer:
        for record in records(folder, pictures):
            example = tf.train.Example.FromString(record)
            encoded = example.features.feature[features.LABEL_ENCODED].bytes_list.value[0]
            canvas = label_canvas(decode_label(encoded), size).numpy().astype(int)
            example.features.feature[label_key].int64_list.value.extend(canvas.ravel())
            writer.write(example.SerializeToString())

    class Confusion(beam.CombineFn):
        def create_accumulator(self):
            return np.zeros((21, 21), np.int64)

        def add_input(self, accumulator, element):
            label, predicted = element.label.ravel(), element.prediction.argmax(-1).ravel()
            valid = label != IGNORE_LABEL
            return accumulator + np.bincount(label[valid] * 21 + predicted[valid], minlength=441).reshape(21, 21)

        def merge_accumulators(self, accumulators):
            return sum(accumulators)

        def extract_output(self, accumulator):
            return {metric_types.MetricKey("mean_iou"): float(mean_iou(accumulator))}

    # The name must be none that Keras has.
    class MeanIoUOfLogits(metric_types.Metric):
        def __init__(self, name="mean_iou"):
            computation = metric_types.MetricComputation([metric_types.MetricKey(name)], None, Confusion())
            super().__init__(lambda **_: [computation], name=name)

    metric_types.register_metric(MeanIoUOfLogits)
    config = config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(label_key=label_key, prediction_key="logits", signature_name="serving_default")
        ],
        slicing_specs=[config_pb2.SlicingSpec()],
    )
    config.metrics_specs.extend(tfma.metrics.specs_from_metrics([MeanIoUOfLogits()], include_example_count=False))
    return {
        "pictures": pictures,
        **measured(
            lambda: tfma.run_model_analysis(
                tfma.default_eval_shared_model(exported, eval_config=config, tags=[tf.saved_model.SERVING]),
                config,
                data_location=examples,
                output_path=str(folder / f"logits-{pictures}"),
                pipeline_options=beam.options.pipeline_options.PipelineOptions(["--runner=FnApiRunner"]),
            )
        ),
    }


def measured(function) -> dict[str, float]:
    """Seconds by the clock and of the CPUs, and the process's largest memory in MiB."""
    began, cpu = time.monotonic(), time.process_time()
    function()
    return {
        "seconds": time.monotonic() - began,
        "cpu": time.process_time() - cpu,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB,
    }


WORKERS = {"prepare": prepare, "evaluator": evaluator, "bare": bare, "counts": counts, "logits": logits}

if __name__ == "__main__":
    main()
