"""Times what Kubeflow adds to the pipeline, by its rules but on this machine: compiling, each step's start and copies.

.venv/bin/python benchmarks/kubeflow_steps.py VOCdevkit/VOC2012 [--set KEY=VALUE ...]

It runs the pipeline once with `--backend kfp-local`. A step's overhead is its time in all, less that of its executor:
the start of Python, imports, artifacts to and from the object store, which is a folder here.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from demo import DEEPLAB, cpu_model

from kubeflow.local_backend.records import Task, runs
from kubeflow.package import Package

CONFIG = Path(__file__).parents[1] / "configs" / "demo.yaml"
TOOK = re.compile(r"the executor took ([0-9.]+) s")


def main() -> None:
    """Prints two Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--config", default=CONFIG)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    overrides = [part for override in options.set for part in ("--set", override)]
    print(
        f"{cpu_model()}, {len(os.sched_getaffinity(0))} CPUs, {platform.system()}, Python {platform.python_version()}\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        compiled, output = Path(folder, "pipeline.yaml"), Path(folder, "out")
        command = [
            DEEPLAB,
            "compile",
            options.config,
            "--data",
            "s3://bucket/VOC2012",
            "--output",
            compiled,
            *overrides,
        ]
        print(f"`deeplab compile`: {min(seconds_of(command) for _ in range(3)):.1f} s\n")
        package = Package.read(compiled)
        run = [DEEPLAB, "run", options.config, "--backend", "kfp-local", "--data", options.data, "--output", output]
        seconds_of([*run, *overrides])
        (finished,) = runs(output / "object-store")
        print("| step | imports, s | executor, s | in all, s | overhead, s | downloaded, bytes | uploaded, bytes |")
        print("|---|---|---|---|---|---|---|")
        for name, task in finished.tasks.items():
            took = executor_seconds(task)
            print(
                f"| {name} | {import_seconds(package, name):.1f} | {took:.1f} | {task.seconds:.1f} "
                f"| {task.seconds - took:.1f} | {task.downloaded:,} | {task.uploaded:,} |"
            )


def seconds_of(command: list) -> float:
    """Wall-clock seconds of a command that must succeed."""
    started = time.monotonic()
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return time.monotonic() - started


def import_seconds(package: Package, step: str) -> float:
    """Wall-clock seconds until a fresh Python has the entrypoint and the step's executor, the quickest of three."""
    (text,) = re.findall(
        r'"executor":"([^"]+)"', package.spec["deploymentSpec"]["executors"][f"exec-{step}"]["container"]["args"][1]
    )
    code = f"import kubeflow.entrypoint, {text.rpartition('.')[0]}"
    return min(seconds_of([sys.executable, "-c", code]) for _ in range(3))


def executor_seconds(task: Task) -> float:
    """What the entrypoint says of its executor."""
    return float(TOOK.findall(Path(task.log_file or "").read_text(errors="replace"))[-1])


if __name__ == "__main__":
    main()
