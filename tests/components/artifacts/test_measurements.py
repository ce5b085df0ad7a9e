"""What steps took is measured, and found on what they have made."""

import mmap
import sys

import pytest
from tfx.types import standard_artifacts

from components.artifacts.measurements import Measurement, Watch, mark, measurements_on

SIZE = 2**26


def take_and_give_back() -> None:
    """Pages of the system's own, since the allocator may have some left from before."""
    with mmap.mmap(-1, SIZE) as pages:
        for start in range(0, SIZE, mmap.PAGESIZE):
            pages[start] = 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_memory_that_was_freed_before_is_not_counted():
    take_and_give_back()
    watch = Watch("busy")
    quiet = watch.measured().peak_memory
    take_and_give_back()
    assert watch.measured().peak_memory >= quiet + SIZE // 2
    assert Watch("quiet").measured().peak_memory <= quiet + SIZE // 2


def test_it_is_found_on_the_artifacts_once_for_each_step():
    graph, model, run = standard_artifacts.TransformGraph(), standard_artifacts.Model(), standard_artifacts.ModelRun()
    trainer = Measurement(step="Trainer", run="now", seconds=3.0, peak_memory=2**30)
    mark([model, run], trainer)
    assert measurements_on([graph, model, run]) == [trainer]
