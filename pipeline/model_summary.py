"""The parts of the configured network as a table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.config import Config
from pipeline.console import captured_output

if TYPE_CHECKING:
    from trainer.model.summary import Part

WIDTH = 100
"""Columns of the table where there is no terminal to ask."""
NOTE = (
    "GMACs: 10^9 multiply-accumulates of the convolutions and dense layers, for one image; batch normalisation, "
    "activations, pooling and resampling are not counted. Parameters include the statistics of batch normalisation."
)


def model_parts(config: Config) -> list[Part]:
    """Builds the network as it is trained, quietly and without pretrained weights, and returns its parts."""
    # Nothing is computed, and a GPU may be busy with training.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    # TensorFlow talks of oneDNN and CUDA as it starts, whatever its log level.
    with captured_output(Path(os.devnull), verbose=False) as terminal, terminal.status("building the network"):
        from trainer.model.deeplabv3plus import deeplabv3plus
        from trainer.model.summary import summarize

        settings = config.trainer_settings()
        network = deeplabv3plus(settings.base_model, settings.training_arch, settings.hps)
        return summarize(network, settings.base_model)


def print_parts(parts: list[Part]) -> None:
    """Prints them to standard output, with their sum."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    table = Table(box=box.SIMPLE, show_footer=True, show_edge=False, pad_edge=False)
    table.add_column("part", "total", no_wrap=True)
    table.add_column("operation")
    table.add_column("reads", max_width=12)
    table.add_column("output", no_wrap=True)
    parameters = sum(part.parameters for part in parts)
    table.add_column("parameters", f"{parameters:,}", justify="right", no_wrap=True)
    table.add_column("GMACs", gmacs(parts, decimals=3), justify="right", no_wrap=True)
    for part in parts:
        table.add_row(
            part.name,
            ", ".join(part.operations),
            _reads(part),
            size(part),
            f"{part.parameters:,}" if part.parameters else "",
            gmacs([part], decimals=3),
            end_section=part.name in ("high-level", "projection"),
        )
    console.print(escape(title(parts)), "", table, "", NOTE, sep="\n")


def title(parts: list[Part]) -> str:
    """The network's name and its backbone's."""
    operations = {part.name: part.operations for part in parts}
    return f"{'DeepLabV3+' if 'concat' in operations else 'DeepLabV3'} on {operations['backbone'][0]}"


def size(part: Part) -> str:
    """Of a part's output, such as 33 x 33 x 256."""
    return " x ".join(map(str, part.shape))


def gmacs(parts: list[Part], *, decimals: int) -> str:
    """Their sum in 10^9; empty if it is 0, and told to be less than the last digit where it would be rounded to 0."""
    giga = sum(part.multiply_accumulates for part in parts) / 1e9
    least = 10**-decimals
    if not giga:
        return ""
    return f"{giga:.{decimals}f}" if giga >= least else f"<{least}"


def _reads(part: Part) -> str:
    if len(part.inputs) > 2:
        return f"branches {part.inputs[0].removeprefix('branch ')}-{part.inputs[-1].removeprefix('branch ')}"
    return ", ".join(part.inputs)
