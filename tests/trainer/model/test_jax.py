"""The network on another backend of Keras."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from trainer.model.deeplabv3plus import deeplabv3plus
from trainer.model.weights import layers_with_weights
from trainer.settings import NNArch

ARCH = NNArch(image_size=65, mv2_depth_multiplier=0.35, reduction_size=16, concat_channels=24, output_stride=8)

PROGRAM = """
import json, sys
sys.modules["tensorflow"] = None  # as if it were not installed
import numpy as np
import keras
from trainer.model.deeplabv3plus import deeplabv3plus
from trainer.model.folding import folded
from trainer.model.weights import read_weights, transfer
from trainer.settings import NNArch

folder, arch = sys.argv[1], NNArch(**json.loads(sys.argv[2]))
network = deeplabv3plus("MobileNetV2", arch)
transfer(read_weights(f"{folder}/network.weights.h5"), network, "the other backend's")
images = np.load(f"{folder}/images.npy")
np.save(f"{folder}/logits.npy", network(images))
np.save(f"{folder}/folded.npy", folded(network)(images))
network.compile(optimizer=keras.optimizers.SGD(0.01), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
losses = [float(network.train_on_batch(images, np.ones(images.shape[:3], np.int32))) for _ in range(3)]
print(json.dumps({"backend": keras.backend.backend(), "losses": losses}))
"""


@pytest.mark.slow
def test_jax_computes_what_tensorflow_computes_without_tensorflow(tmp_path):
    network = deeplabv3plus("MobileNetV2", ARCH)
    rng = np.random.default_rng(0)
    for layer in layers_with_weights(network).values():
        layer.set_weights([weight + rng.uniform(0, 0.02, weight.shape) for weight in layer.get_weights()])
    images = rng.normal(size=(2, 65, 65, 3)).astype(np.float32)
    # Padding, as around a picture that does not fill the canvas.
    images[1, 40:] = images[1, :, 50:] = 0
    expected = network(images, training=False).numpy()
    network.save_weights(tmp_path / "network.weights.h5")
    np.save(tmp_path / "images.npy", images)

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path, ARCH.model_dump_json()],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["backend"] == "jax"
    assert expected.std() > 0
    for name in ("logits", "folded"):
        logits = np.load(tmp_path / f"{name}.npy")
        assert np.abs(logits - expected).max() < 1e-3 * np.abs(expected).max()
    assert report["losses"][-1] < report["losses"][0], "it learns there as well"
