"""`deeplab training-job`: the manifest of a training on several nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from kubeflow.training_job import Kind, training_job
from pipeline.commands.options import CommandError, ConfigFile, Overrides
from pipeline.config.loading import load_config


def command(
    config_file: ConfigFile,
    workers: Annotated[int, typer.Option(min=1, help="Pods that train together, each on all of its GPUs.")],
    examples: Annotated[str, typer.Option(metavar="URI", help="The examples that a run has written.")],
    transform_graph: Annotated[str, typer.Option(metavar="URI", help="Transform's graph of the same run.")],
    output: Annotated[str, typer.Option(metavar="URI", help="Where the model goes.")],
    kind: Annotated[
        Kind, typer.Option(help="TFJob for the Training Operator, TrainJob for Kubeflow Trainer.")
    ] = "TFJob",
    name: Annotated[str | None, typer.Option(help="Of the job; otherwise the experiment's.")] = None,
    file: Annotated[
        Path | None, typer.Option("-o", "--file", metavar="FILE", help="Where it is written; otherwise shown.")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Write a Kubernetes manifest that trains on several nodes, on the nodes that kubeflow.steps.Trainer asks for."""
    config = load_config(config_file, overrides=overrides or ())
    text = training_job(
        config, kind, workers=workers, examples=examples, transform_graph=transform_graph, output=output, name=name
    )
    if file is None:
        typer.echo(text, nl=False)
        return
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"-o {file}: it cannot be written ({error.strerror}); give another") from error
    Console(highlight=False, soft_wrap=True).print(escape(f"{kind} in {file}; start it with: kubectl apply -f {file}"))
