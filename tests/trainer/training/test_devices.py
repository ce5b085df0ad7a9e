"""What is said of the devices there are."""

from __future__ import annotations

import pytest

from trainer.training.devices import warn_if_slow


@pytest.mark.parametrize(
    ("told", "policy", "warns"),
    [
        ("flags\t: sse2 avx512f avx512_vnni", "mixed_bfloat16", True),
        ("flags\t: sse2 avx512f avx512_vnni", "float32", False),
        ("flags\t: sse2 avx512f amx_bf16", "mixed_bfloat16", False),
        ("Features\t: fp asimd", "mixed_bfloat16", True),
        ("Features\t: fp asimd bf16", "mixed_bfloat16", False),
        ("model name\t: unknown", "mixed_bfloat16", False),
        (None, "mixed_bfloat16", False),
    ],
)
def test_what_a_cpu_cannot_compute_in_is_said_to_be_slow(tmp_path, caplog, told, policy, warns):
    if told is not None:
        (tmp_path / "cpuinfo").write_text(told)
    warn_if_slow(policy, tmp_path / "cpuinfo")
    assert ("float32 is faster" in caplog.text) == warns
