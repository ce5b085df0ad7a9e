"""Times the demo on this machine: a first run, the same run again from the cache, and the checks that must be quick.

.venv/bin/python benchmarks/demo.py
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

DEEPLAB = Path(sys.executable).with_name("deeplab")
CONFIG = Path(__file__).parents[1] / "configs" / "demo.yaml"


def main() -> None:
    """Prints a Markdown table."""
    print(
        f"{cpu_model()}, {len(os.sched_getaffinity(0))} CPUs, {platform.system()}, Python {platform.python_version()}\n"
    )
    print("| command | seconds | largest process, MiB |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "VOCdevkit", "VOC2012")
        run = ["run", CONFIG, "--data", data, "--output", Path(folder, "out")]
        for name, command, expected in (
            ("`deeplab make-data`", ["make-data", folder], 0),
            ("`deeplab run`, first", run, 0),
            ("`deeplab run` again, all from the cache", run, 0),
            ("`deeplab check` with the data", ["check", CONFIG, "--data", data], 0),
            ("`deeplab check` on a missing file", ["check", Path(folder, "gone.yaml")], 2),
            ("`deeplab --help`", ["--help"], 0),
        ):
            seconds, mebibytes, output = measured([DEEPLAB, *command], expected)
            print(f"| {name} | {seconds:.1f} | {mebibytes:.0f} |", flush=True)
            if name.endswith("first"):
                result = [line.strip() for line in output.splitlines() if line.startswith(("mean IoU", "blessed"))]
    print(f"\nThe first run's result: {'; '.join(' '.join(line.split()) for line in result)}")


def measured(command: list, expected: int) -> tuple[float, float, str]:
    """Wall-clock seconds, peak resident memory of the largest process in MiB, and what was printed.

    Raises:
        RuntimeError: the command did not end with the expected code.
    """
    # A process of its own waits for the command, so that the memory of earlier commands is not counted.
    code = (
        "import resource, subprocess, sys, time; started = time.monotonic();"
        "done = subprocess.run(sys.argv[1:], stderr=subprocess.STDOUT); seconds = time.monotonic() - started;"
        "print('measured', done.returncode, seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code, *map(str, command)], capture_output=True, text=True, check=True)
    output, _, figures = done.stdout.rpartition("measured ")
    code, seconds, peak = figures.split()
    if int(code) != expected:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {code}, not {expected}:\n{output}")
    return float(seconds), int(peak) / 1024, output


def output_of(command: list, cwd: Path | None = None, **environment: str) -> str:
    """What a process has printed, without its log.

    Args:
        command: program and arguments.
        cwd: where it is run.
        environment: variables that it is given besides ours.

    Raises:
        RuntimeError: it failed; the message has all that it said.
    """
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def cpu_model() -> str:
    """The processor's name, where Linux tells it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    main()
