"""Limits of a process, with small programs."""

import subprocess
import sys
import time

import pytest

from components.infra_validator.limits import LimitedProcess, LimitError, Limits

AMPLE = Limits(60, 1000)


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-c", code]


def test_a_process_that_keeps_to_them(tmp_path):
    with LimitedProcess(python("print('done', flush=True); import time; time.sleep(0.3)"), AMPLE, tmp_path) as process:
        assert process.wait() is None
    assert process.output == "done\n"
    assert 3 < process.peak_memory_mib < 100


def test_one_that_hangs_is_ended_with_its_children(tmp_path):
    code = "import subprocess; child = subprocess.Popen(['sleep', '98765']); print(child.pid, flush=True); child.wait()"
    started = time.monotonic()
    with (
        pytest.raises(LimitError, match=r"it took more than the 1.5 s of infra_validation.max_seconds"),
        LimitedProcess(python(code), Limits(1.5, 1000), tmp_path) as process,
    ):
        process.wait()
    assert time.monotonic() - started < 30
    child = int(process.output)
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(child)], capture_output=True, text=True).stdout.strip()
    assert state == "" or state.startswith("Z")


def test_one_that_eats_memory_is_ended(tmp_path):
    code = "kept = []\nwhile True: kept.append(b'x' * 1_000_000)"
    with (
        pytest.raises(LimitError, match=r"MiB of memory, more than the 200 MiB of infra_validation.max_memory_mib"),
        LimitedProcess(python(code), Limits(60, 200), tmp_path) as process,
    ):
        process.wait()
    assert process.peak_memory_mib > 200


def test_memory_that_was_given_back_counts(tmp_path):
    code = "kept = b'x' * 400_000_000\ndel kept\nimport time; time.sleep(60)"
    with pytest.raises(LimitError), LimitedProcess(python(code), Limits(60, 200), tmp_path) as process:
        process.wait()


@pytest.mark.parametrize(
    ("code", "told"), [("import os; os.abort()", "signal SIGABRT"), ("raise SystemExit(3)", "exit code 3")]
)
def test_one_that_ends_badly(tmp_path, code, told):
    with LimitedProcess(python(code), AMPLE, tmp_path) as process:
        assert process.wait() == told
