"""The commands about a model that was pushed: `evaluate`, `predict`, `try`, `rollback`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast, get_args

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.commands.console import captured_output
from pipeline.commands.options import CommandError, DataFolder, DataRefusedError, JsonOutput, RunInterrupted, warn
from pipeline.config.config import Config
from pipeline.config.loading import load_config
from pipeline.output_locations import OutputLocations
from schema import features
from trainer.common import files
from trainer.settings import OutputStride

if TYPE_CHECKING:
    from components.artifacts.problems import Problem
    from components.segmentation_example_gen.sources.source import Source
    from pipeline.inference.image_arguments import ChosenPicture
    from pipeline.inference.predict import PredictedPicture
    from trainer.model.summary import Part

Item = TypeVar("Item")
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def _known_output_stride(output_stride: int | None) -> int | None:
    if output_stride is not None and output_stride not in get_args(OutputStride):
        raise typer.BadParameter(f"found {output_stride}, it must be 8, 16 or 32")
    return output_stride


def evaluate(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A SavedModel's folder or URI, or a folder of versions of one.")
    ],
    data: DataFolder = None,
    split: Annotated[
        str, typer.Option(metavar="LIST", help="A list of ImageSets/Segmentation; with --config: train or eval.")
    ] = "val",
    config_file: Annotated[
        Path | None,
        typer.Option("--config", metavar="CONFIG", help="Says what the data are, if they are no Pascal VOC devkit."),
    ] = None,
    multi_scale: Annotated[
        bool, typer.Option("--multi-scale", help="Average over the picture's sizes, 0.5 to 1.75.")
    ] = False,
    flip: Annotated[bool, typer.Option("--flip", help="Average over both sides of the picture.")] = False,
    output_stride: Annotated[
        int | None,
        typer.Option(
            metavar="N", callback=_known_output_stride, help="Another one than the model is served with: 8, 16 or 32."
        ),
    ] = None,
    save_pictures: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Draw picture, label, prediction and overlay, side by side, as <id>.png."),
    ] = None,
    json_: JsonOutput = False,
) -> None:
    """Judge a model on labelled pictures by the Evaluator's numbers, without a pipeline."""
    from components.artifacts.problems import DataError
    from components.segmentation_example_gen.dataset import read_dataset
    from pipeline.commands.console import captured_output

    source, split_name = _labelled(data, split, config_file)
    try:
        dataset = read_dataset(source)
    except DataError as error:
        raise DataRefusedError(f"{source.place}: the data cannot be read", error.problems) from error
    pairs = dataset.splits[split_name]
    left_out = [each for each in dataset.problems if each.split == split_name]
    from pipeline.inference.saved_model import ModelError

    try:
        # TensorFlow talks of oneDNN and CUDA as it starts, whatever its log level.
        with captured_output(Path(os.devnull), verbose=False) as terminal:
            from pipeline.commands.tables import print_counts
            from pipeline.inference import evaluate as evaluation
            from pipeline.inference.saved_model import open_model

            opened = open_model(model, features.CONFUSION_SIGNATURE)
            evaluation.check_classes(opened, source.labels)
            judge: evaluation.Judge
            if multi_scale or flip or output_stride:
                judge = evaluation.Rebuilt(
                    opened, multi_scale=multi_scale, flip=flip, output_stride=cast(OutputStride | None, output_stride)
                )
            else:
                judge = evaluation.AsServed(opened)
            judgement = _last(evaluation.evaluate(judge, pairs, source.labels, save_pictures), len(pairs), terminal)
    except ModelError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        if save_pictures is None:
            raise
        raise CommandError(f"{error.filename or save_pictures}: cannot be written ({error.strerror})") from error
    if json_:
        typer.echo(json.dumps(judgement.as_dict(), indent=2))
    else:
        print_counts(Console(highlight=False, soft_wrap=True), judgement.as_dict())
    if problems := [*left_out, *judgement.problems]:
        listed = len(pairs) + len({each.entry for each in left_out})
        raise DataRefusedError(f"{judgement.counts.pictures} of {listed} pictures were judged", problems)


def _labelled(data: str | None, split: str, config_file: Path | None) -> tuple[Source, str]:
    """The data set, and the name of its split, that a model is judged on."""
    from schema.features import EVAL_SPLIT, TRAIN_SPLIT

    if config_file is not None:
        config = load_config(config_file, data=data, warn=warn)
        name = EVAL_SPLIT if split in ("val", EVAL_SPLIT) else split
        if name not in (TRAIN_SPLIT, EVAL_SPLIT):
            raise CommandError(f"--split {split}: with --config it must be {TRAIN_SPLIT} or {EVAL_SPLIT}")
        return config.data_source, name
    if data is None:
        raise CommandError("no data folder: give --data DIR, such as VOCdevkit/VOC2012, or --config CONFIG")
    from components.segmentation_example_gen.sources.source import placed_at
    from components.segmentation_example_gen.sources.voc import VocData

    # What stands in train is not read; it must be there.
    lists = {"train": {"list": split}, "eval": {"list": split}}
    return VocData.model_validate({**placed_at(data), "splits": lists}), EVAL_SPLIT


def _last(items: Iterator[Item], total: int, terminal: Console) -> Item:
    """The last of them, with a bar while they come."""
    from rich.progress import track

    hidden = not terminal.is_terminal
    for item in track(items, "judging", total=total, console=terminal, transient=True, disable=hidden):
        last = item
    return last


def predict(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A pushed SavedModel, or the folder of its versions; path or URI."),
    ],
    output: Annotated[str, typer.Option("-o", "--output", metavar="DIR", help="Where the masks are written.")],
    pictures: Annotated[
        list[str] | None,
        typer.Argument(metavar="PICTURES...", help="Files, folders, patterns in quotes, lists (.txt) of them."),
    ] = None,
    examples: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN",
            help="Instead of PICTURES: TFRecords of tf.Examples, such as 'in/*.tfrecord.gz', by Beam.",
        ),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Where the pictures of a list of ids are, such as VOCdevkit/VOC2012."),
    ] = None,
    overlay: Annotated[bool, typer.Option("--overlay", help="Write <name>_overlay.jpg too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what is in the pictures as JSON.")] = False,
) -> None:
    """Write the masks that a pushed model predicts, each at its picture's size: palette PNGs of the picture's name.

    With --examples they are written to TFRecords. A picture that cannot be read stops no other. It is told at the end,
    and the exit status is 1.
    """
    from components.artifacts.problems import DataError
    from pipeline.inference.saved_model import ModelError

    if bool(pictures) == bool(examples):
        raise typer.BadParameter("give either PICTURES or --examples PATTERN")
    if examples and (overlay or images is not None):
        option = "--overlay" if overlay else "--images"
        raise typer.BadParameter(f"{option} is for PICTURES; --examples reads and writes TFRecords alone")
    failures: list[Problem] = []
    try:
        if examples:
            outcome = _predict_examples(model, examples, output)
        else:
            outcome = _predict_pictures(model, pictures or [], images, output, failures, with_overlay=overlay)
    except ModelError as error:
        raise CommandError(str(error)) from error
    except DataError as error:
        raise DataRefusedError("nothing was predicted", error.problems) from error
    except OSError as error:
        place = error.filename or output
        message = f"{place} cannot be written ({error.strerror or error}); give another -o"
        raise CommandError(_with_lines(message, failures)) from error
    except KeyboardInterrupt:
        kept = "no mask is written" if examples else "the masks that are written are kept"
        raise RunInterrupted(_with_lines(f"interrupted; {kept}", failures)) from None
    if as_json:
        failed = [{"picture": failure.where, "reason": failure.what} for failure in outcome.failures]
        typer.echo(json.dumps({**outcome.report, "failures": failed}, indent=2))
    else:
        typer.echo(f"{output}: {outcome.sentence}")
    if outcome.failures:
        # All of them: whoever asked for a thousand masks wants to know which are missing.
        raise CommandError("\n".join([f"{outcome.refusal}:", *map(str, outcome.failures)]))


def _with_lines(message: str, failures: Sequence[Problem]) -> str:
    """Why it came to no end, and what had failed by then."""
    return "\n".join([f"{message}; before that:", *map(str, failures)]) if failures else message


@dataclass(frozen=True)
class _Outcome:
    """What `predict` has come to."""

    sentence: str
    report: dict[str, Any]
    """For JSON, without the failures."""
    failures: Sequence[Problem]
    refusal: str
    """How many failures there are, in words."""


def _predict_examples(model: str, pattern: str, output: str) -> _Outcome:
    from pipeline.commands.console import captured_output
    from pipeline.inference.image_arguments import choose_examples
    from pipeline.inference.saved_model import model_directory

    model_directory(model)
    paths = choose_examples(pattern, output)
    # TensorFlow talks of oneDNN and CUDA as it starts, whatever its log level.
    with captured_output(Path(os.devnull), verbose=False) as terminal, terminal.status("predicting"):
        from pipeline.inference.predict_examples import predict_examples

        done = predict_examples(model, paths, output)
    masks, seconds = done.inference.predicted, round(done.seconds, 3)
    return _Outcome(
        sentence=f"masks of {masks} pictures of {len(paths)} files by {done.model}, {seconds:.2f} s in all",
        report={"model": done.model, "examples": paths, "masks": masks, "seconds": seconds},
        failures=done.inference.problems,
        refusal=f"{len(done.inference.problems)} records or files have no masks",
    )


def _predict_pictures(
    model: str,
    arguments: Sequence[str],
    images: str | None,
    output: str,
    failures: list[Problem],
    *,
    with_overlay: bool,
) -> _Outcome:
    """Predicts pictures; what fails is put to the failures, which are there whatever it ends with."""
    from pipeline.inference.image_arguments import check_output, choose
    from pipeline.inference.predict import endings
    from pipeline.inference.saved_model import model_directory

    place = model_directory(model)
    chosen, unusable = choose(arguments, images)
    failures += unusable
    check_output(chosen, output, endings(with_overlay=with_overlay))
    if not files.is_remote(output):
        Path(output).mkdir(parents=True, exist_ok=True)
    done = _predict(place, chosen, output, failures, with_overlay=with_overlay)
    seconds = sum(picture.seconds for picture in done) / max(1, len(done))
    return _Outcome(
        sentence=f"masks of {len(done)} pictures by {place}, {seconds:.2f} s each",
        report={"model": place, "pictures": [asdict(picture) for picture in done]},
        failures=failures,
        refusal=f"{len(failures)} of {len(done) + len(failures)} pictures have no mask",
    )


def _predict(
    place: str, chosen: Sequence[ChosenPicture], output: str, failures: list[Problem], *, with_overlay: bool
) -> list[PredictedPicture]:
    """Loads the model and goes through the pictures with a bar; what fails is put to the failures."""
    from rich.progress import track

    from components.artifacts.problems import Problem
    from pipeline.commands.console import captured_output
    from pipeline.inference import predict
    from pipeline.inference.saved_model import open_model

    done = []
    # TensorFlow talks of oneDNN and CUDA as it starts, whatever its log level.
    with captured_output(Path(os.devnull), verbose=False) as terminal:
        with terminal.status("loading the model"):
            opened = open_model(place)
        predicted = predict.predict(opened, chosen, output, with_overlay=with_overlay)
        shown = track(
            predicted,
            "predicting",
            total=len(chosen),
            console=terminal,
            transient=True,
            disable=not terminal.is_terminal,
        )
        for result in shown:
            if isinstance(result, Problem):
                failures.append(result)
            else:
                done.append(result)
    return done


def try_models(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A pushed SavedModel, or the folder of its versions; path or URI."),
    ],
    other: Annotated[
        str | None, typer.Argument(metavar="MODEL2", help="Another, such as an earlier version, to be compared.")
    ] = None,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Of this machine, to be reached from others; 0.0.0.0 is all it has.")
    ] = LOOPBACK[0],
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="Of the page; 0 is any free one.")] = 7860,
) -> None:
    """Serve a page to this machine: drop a picture, and see what a model says of it, or two side by side."""
    if find_spec("gradio") is None:
        raise CommandError(
            "the page needs Gradio, which is not installed; tools/make-venv requirements/try.txt installs it, or in an "
            "environment of your own pip install 'gradio>=6,<7'"
        )
    from pipeline.commands.console import captured_output
    from pipeline.inference.saved_model import ModelError, open_model
    from pipeline.inference.try_page import listen, serve, url_of, warm_up

    try:
        listening = listen(host, port)
    except OSError as error:
        raise CommandError(
            f"--host {host} --port {port}: the page cannot be served there ({error.strerror or error}); give others"
        ) from error
    if host not in LOOPBACK:
        warn(f"--host {host}: whoever can reach this machine can use the page, which asks for no password")
    with listening:
        try:
            # TensorFlow talks of oneDNN and CUDA as it starts, whatever its log level.
            with captured_output(Path(os.devnull), verbose=False) as terminal, terminal.status("loading"):
                opened = [open_model(place) for place in (model, other) if place is not None]
                for each in opened:
                    warm_up(each)
        except ModelError as error:
            raise CommandError(str(error)) from error
        places = " and ".join(each.place for each in opened)
        typer.echo(f"{url_of(listening)} is the page of {places}; Ctrl-C ends it")
        serve(opened, listening)


def rollback(
    place: Annotated[
        str,
        typer.Argument(metavar="CONFIG_OR_DIR", help="The configuration, or the folder or URI of the pushed models."),
    ],
    to: Annotated[
        str | None, typer.Option("--to", metavar="VERSION", help="The earlier version; otherwise the one before.")
    ] = None,
) -> None:
    """Make an earlier pushed model the current one, by pushing it again as a new version, which servers then take."""
    from components.pusher import versions

    folder = place if files.is_remote(place) or Path(place).is_dir() else _pushed_models(Path(place))
    try:
        version, origin = versions.rollback(folder, to)
    except versions.PushError as error:
        raise CommandError(str(error)) from error
    Console(highlight=False, soft_wrap=True).print(
        escape(f"{files.join(folder, version)}: the contents of version {origin}, and now the current one")
    )


def _pushed_models(config_file: Path) -> str:
    if not config_file.exists():
        raise CommandError(f"{config_file}: there is no such configuration, and no such folder of pushed models")
    return OutputLocations.local(load_config(config_file, warn=warn)).pushed_models


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
