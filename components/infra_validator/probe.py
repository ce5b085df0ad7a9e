"""Loads a SavedModel and calls its signatures. Run as a program of its own, with nothing of this project importable.

It does what somebody does who has the model's directory and TensorFlow, so it imports nothing else. It knows no
signatures: it is told what to call, and keeps the answers for others to judge.

    python -I probe.py FOLDER

The folder has `REQUEST_FILE` and the pictures, `<index>.image` and `<index>.example`, and gets the other files.
"""

import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

REQUEST_FILE = "request.json"
"""`model`: folder of the SavedModel; `pictures`: how many; `calls`: signature, its input's name and one of `INPUTS`."""
STAGE_FILE = "stage.txt"
"""What is being done, in words."""
REPORT_FILE = "report.json"
"""`problem`: what is wrong with the model, or null; `seconds`: for loading it and for each signature;
`peak_memory_mib`."""
OUTPUTS_FILE = "outputs.npz"
"""By `<signature>/<output>` what was returned; of signatures that take one picture, `<signature>/<output>/<index>`."""

IMAGES, EXAMPLES, PIXELS = "images", "examples", "pixels"
INPUTS = (IMAGES, EXAMPLES, PIXELS)
"""What a signature is given: all encoded pictures, all serialised tf.Examples, or one picture's pixels at a time."""
NOT_NEEDED = ("components", "kubeflow", "pipeline", "schema", "trainer", "tensorflow_transform", "tfx", "tfx_bsl")
"""Packages that whoever serves the model does not have."""


def main(folder: Path) -> None:
    """Does what the request says."""
    for package in NOT_NEEDED:
        sys.modules[package] = None  # type: ignore[assignment]  # importing it is an error from now on
    report: dict[str, Any] = {"problem": None, "seconds": {}}
    try:
        _call_all(folder, report)
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        report["problem"] = f"{(folder / STAGE_FILE).read_text()} failed: {lines[0]}"
    report["peak_memory_mib"] = _peak_memory_mib()
    (folder / REPORT_FILE).write_text(json.dumps(report))


def _call_all(folder: Path, report: dict[str, Any]) -> None:
    (folder / STAGE_FILE).write_text("reading the request")
    request = json.loads((folder / REQUEST_FILE).read_text())
    (folder / STAGE_FILE).write_text("importing TensorFlow")
    import numpy as np
    import tensorflow as tf

    (folder / STAGE_FILE).write_text("loading the model")
    started = time.monotonic()
    model = tf.saved_model.load(request["model"])
    report["seconds"]["load"] = time.monotonic() - started
    missing = [signature for signature, _, _ in request["calls"] if signature not in model.signatures]
    if missing:
        found = ", ".join(sorted(model.signatures)) or "none"
        report["problem"] = f"the model has no signature {', '.join(missing)}; it has {found}"
        return
    # The largest of logits that are no numbers is the first class, so the masks would not tell.
    functions = [model.signatures[signature] for signature, _, _ in request["calls"]]
    weights = {weight.ref(): weight for function in functions for weight in function.variables}.values()
    not_finite = [
        weight.name for weight in weights if weight.dtype.is_floating and not np.isfinite(weight.numpy()).all()
    ]
    if not_finite:
        report["problem"] = f"the model has weights that are no finite numbers: {', '.join(sorted(not_finite)[:3])}"
        return
    indices = range(request["pictures"])
    images = [(folder / f"{index}.image").read_bytes() for index in indices]
    inputs: dict[str, Iterable[Any]] = {
        IMAGES: [tf.constant(images)],
        EXAMPLES: [tf.constant([(folder / f"{index}.example").read_bytes() for index in indices])],
        # As the model's own graph decodes them.
        # One after another, since the limit is the model's and not that of all pictures together.
        PIXELS: (tf.io.decode_image(image, channels=3, expand_animations=False)[tf.newaxis] for image in images),
    }
    outputs: dict[str, np.ndarray] = {}
    for signature, name, given in request["calls"]:
        (folder / STAGE_FILE).write_text(f"calling the signature {signature}")
        started = time.monotonic()
        function = model.signatures[signature]
        for index, value in enumerate(inputs[given]):
            for output, tensor in function(**{name: value}).items():
                key = f"{signature}/{output}/{index}" if given == PIXELS else f"{signature}/{output}"
                array = tensor.numpy()
                # Strings of one length, which need no pickle; masks as small as they can be.
                small = array.astype(bytes if array.dtype == object else np.uint8)
                outputs[key] = small if array.dtype == object or (small == array).all() else array
        report["seconds"][signature] = time.monotonic() - started
    (folder / STAGE_FILE).write_text("writing down the answers")
    np.savez(folder / OUTPUTS_FILE, allow_pickle=False, **outputs)


def _peak_memory_mib() -> float:
    """The most memory that this process has held."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]))
