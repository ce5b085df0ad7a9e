"""Times what Kubeflow adds to the pipeline, by its rules but on this machine: compiling, each step's start and copies.

.venv/bin/python benchmarks/kubeflow_steps.py VOCdevkit/VOC2012 [--set KEY=VALUE ...]

It runs the pipeline once with `--backend kfp-local`. What Kubeflow's path adds to a step is its time in all, less that
of its executor, and less what a Python that does nothing but import the executor takes to start: the entrypoint and its
imports, and the writing of its answer. This is told in processor time, which other work on the machine changes little;
what a step takes by the clock, with the copies from and to the object store, a folder here, is told beside it.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import resource
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from statistics import median

from demo import DEEPLAB, cpu_model, output_of

from kubeflow.entrypoint import Component
from kubeflow.local_backend.records import runs
from kubeflow.package import Package

CONFIG = Path(__file__).parents[1] / "configs" / "demo.yaml"
EXECUTOR_TOOK = re.compile(r"the executor took [0-9.]+ s, and ([0-9.]+) s on a processor")
STEP_TOOK = re.compile(r"the step took ([0-9.]+) s on a processor")


def main() -> None:
    """Prints two Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--config", default=CONFIG)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    overrides = [part for override in options.set for part in ("--set", override)]
    print(
        f"{cpu_model()}, {len(os.sched_getaffinity(0))} CPUs, {platform.system()}, Python {platform.python_version()}, "
        f"load average {os.getloadavg()[1]:.1f} before\n"
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
        seconds, cpu = map(min, zip(*(seconds_of(command) for _ in range(3)), strict=True))
        print(f"`deeplab compile`: {seconds:.1f} s, {cpu:.1f} s of processor time\n")
        package = Package.read(compiled)
        run = [DEEPLAB, "run", options.config, "--backend", "kfp-local", "--data", options.data, "--output", output]
        seconds_of([*run, *overrides])
        (finished,) = runs(output / "object-store")
        print(
            "| step | by the clock, s | processor time, s | executor, s | its imports, s | added, s | of it imports, s "
            "| downloaded, bytes | uploaded, bytes |"
        )
        print("|---|---|---|---|---|---|---|---|---|")
        for name, task in finished.tasks.items():
            log = Path(task.log_file or "").read_text(errors="replace")
            (executor,), (whole,) = (map(float, pattern.findall(log)[-1:]) for pattern in (EXECUTOR_TOOK, STEP_TOOK))
            bare, entrypoint = import_seconds(executor_module(package, name))
            added = whole - executor - bare
            print(
                f"| {name} | {task.seconds:.1f} | {whole:.1f} | {executor:.1f} | {bare:.1f} | {added:.1f} "
                f"| {entrypoint:.1f} | {task.downloaded:,} | {task.uploaded:,} |"
            )
        print(f"\nload average {os.getloadavg()[1]:.1f} after")


def seconds_of(command: list) -> tuple[float, float]:
    """Seconds of a command that must succeed: by the clock, and of processor time."""
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    output_of(command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - started, cpu


def executor_module(package: Package, step: str) -> str:
    """The module of a step's executor."""
    arguments = package.spec["deploymentSpec"]["executors"][f"exec-{step}"]["container"]["args"]
    return Component.model_validate_json(arguments[1]).executor.rpartition(".")[0]


@cache
def import_seconds(module: str) -> tuple[float, float]:
    """Processor time until a fresh Python has imported an executor, and what the entrypoint's imports add to it.

    Both are the median of three, since the step itself ran once, beside whatever else there was.
    """
    code = (
        f"import time, {module}; bare = time.process_time(); import kubeflow.entrypoint;"
        "print(bare, time.process_time() - bare)"
    )
    found = []
    for _ in range(3):
        told = output_of([sys.executable, "-c", code], _KFP_RUNTIME="true")
        found.append(tuple(map(float, told.split()[-2:])))
    return median(bare for bare, _ in found), median(added for _, added in found)


if __name__ == "__main__":
    main()
