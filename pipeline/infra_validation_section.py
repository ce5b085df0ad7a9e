"""The configuration's section `infra_validation`: what a model may take when it is tried out before it is pushed."""

from __future__ import annotations

from trainer.section import Positive, Section


class InfraValidation(Section):
    """What a model may take when it is tried out, in a fresh process on a CPU, before it is pushed."""

    pictures: Positive = 8
    """How many of the eval split it is tried out on, of different sizes as far as can be."""
    max_memory_mib: Positive = 4096
    """The most memory that the process may hold, MiB; the pictures in it are segmented one after another."""
    max_seconds: Positive = 600
    """The longest that the process may take, with all signatures. If TensorFlow Serving is tried out as well, both hold
    for it anew."""
