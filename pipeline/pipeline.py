"""The graph: from a devkit to a pushed model."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version

from google.protobuf import text_format
from tfx.components.statistics_gen.component import StatisticsGen
from tfx.components.trainer.component import Trainer
from tfx.components.transform.component import Transform
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline

from components.bulk_inferrer.component import BulkInferrer
from components.curated_schema.component import CuratedSchema
from components.curated_schema.schema import schema_for
from components.data_report.component import DataReport
from components.evaluator.component import Evaluator
from components.example_validator.component import ExampleValidator
from components.infra_validator.component import InfraValidator
from components.model_export.component import ModelExport
from components.pusher.component import Pusher
from components.pusher.model_card import CardFacts
from components.report.component import Report
from components.segmentation_example_gen.component import SegmentationExampleGen
from pipeline.code import code_of
from pipeline.config.config import Config, ConfigError
from pipeline.earlier_runs import EarlierRuns, EarlierRunsInMetadata
from pipeline.eval_config import eval_config
from pipeline.output_locations import METADATA_FILE, OutputLocations
from schema import features
from trainer.common import files
from trainer.settings import NAMED_WEIGHTS, RUN_OPTIONS, RUN_OPTIONS_VARIABLE


def create_pipeline(
    config: Config, places: OutputLocations | None = None, history: EarlierRuns | None = None
) -> Pipeline:
    """Builds the graph.

    Args:
        config: the experiment.
        places: where things go; by default the configuration's output folder.
        history: how earlier runs are found; by default by the metadata store.

    Returns:
        A TFX pipeline, ready for a runner.
    """
    places = places or OutputLocations.local(config)
    history = history or EarlierRunsInMetadata()
    example_gen = SegmentationExampleGen(data=config.data_source, problem_folder=places.problems)
    schema_gen = CuratedSchema(schema_text=text_format.MessageToString(schema_for(config.data.labels)))
    # The schema tells that the encoded pictures are pictures, which keeps StatisticsGen from looking into them.
    statistics_gen = StatisticsGen(examples=example_gen.outputs["examples"], schema=schema_gen.outputs["schema"])
    last_statistics = history.last_statistics(statistics_gen.outputs["statistics"])
    # Before the validator, so that the page is there when that one stops the run.
    data_report = DataReport(
        statistics=statistics_gen.outputs["statistics"],
        schema=schema_gen.outputs["schema"],
        problems=example_gen.outputs["problems"],
        previous_statistics=last_statistics,
        labels_json=config.data.labels.model_dump_json(),
    )
    example_validator = ExampleValidator(
        statistics=statistics_gen.outputs["statistics"],
        schema=schema_gen.outputs["schema"],
        previous_statistics=last_statistics,
        stop_on_anomalies=config.validation.stop_on_anomalies,
    )
    example_validator.add_upstream_node(data_report)
    # Not materialised: normalised pictures take thirty times the space of JPEGs. Whoever needs them applies the graph.
    transform = Transform(
        examples=example_gen.outputs["examples"],
        schema=schema_gen.outputs["schema"],
        preprocessing_fn="trainer.data.preprocessing.preprocessing_fn",
        custom_config={"settings": config.transform_settings().model_dump(mode="json")},
        materialize=False,
        disable_statistics=True,
        disable_analyzer_cache=True,
    )
    # Nothing is learnt from data that the validator stops at.
    transform.add_upstream_node(example_validator)
    model_trainer = Trainer(
        examples=example_gen.outputs["examples"],
        transform_graph=transform.outputs["transform_graph"],
        run_fn="trainer.run.run_fn",
        custom_config={
            "settings": config.trainer_settings().model_dump(mode="json", exclude={"train": set(RUN_OPTIONS)}),
            "code": code_of("trainer"),
            "weights": weights_fingerprint(config),
        },
        base_model=(
            history.last_model(example_gen.outputs["examples"], config.train.earlier_models)
            if config.train.earlier_models
            else None
        ),
    )
    evaluator = Evaluator(
        examples=example_gen.outputs["examples"],
        model=model_trainer.outputs["model"],
        baseline_model=(
            None
            if config.eval.baseline == "none"
            else history.baseline_model(model_trainer.outputs["model"], config.eval.baseline)
        ),
        example_splits=[features.EVAL_SPLIT],
        eval_config=eval_config(config.eval, config.data.labels),
    )
    # Beside the Evaluator, not after it: it asks another question, and a changed gate need not ask it again.
    infra_validator = InfraValidator(
        model=model_trainer.outputs["model"],
        examples=example_gen.outputs["examples"],
        pictures=config.infra_validation.pictures,
        max_memory_mib=config.infra_validation.max_memory_mib,
        max_seconds=config.infra_validation.max_seconds,
    )
    model_export, exports = None, None
    if config.export.formats:
        model_export = ModelExport(
            model=model_trainer.outputs["model"],
            examples=example_gen.outputs["examples"],
            formats=json.dumps(config.export.formats),
            max_mean_iou_loss=config.export.max_mean_iou_loss,
            calibration_pictures=config.export.calibration_pictures,
            eval_pictures=config.export.eval_pictures,
        )
        exports = model_export.outputs["exports"]
    pusher = Pusher(
        model=model_trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=infra_validator.outputs["blessing"],
        evaluation=evaluator.outputs["evaluation"],
        statistics=statistics_gen.outputs["statistics"],
        destination=places.pushed_models,
        keep_versions=config.push.keep_versions,
        model_run=model_trainer.outputs["model_run"],
        card_facts=card_facts(config).model_dump_json(),
        exports=exports,
    )
    report = Report(
        examples=example_gen.outputs["examples"],
        statistics=statistics_gen.outputs["statistics"],
        anomalies=example_validator.outputs["anomalies"],
        transform_graph=transform.outputs["transform_graph"],
        model=model_trainer.outputs["model"],
        model_run=model_trainer.outputs["model_run"],
        evaluation=evaluator.outputs["evaluation"],
        infra_blessing=infra_validator.outputs["blessing"],
        # Where it runs and writes says nothing of what comes out, and must not make a run another.
        configuration_json=config.model_dump_json(
            exclude={"kubeflow": True, "output": True, "train": set(RUN_OPTIONS)}
        ),
        labels_json=config.data.labels.model_dump_json(),
        exports=exports,
    )
    # A page that cannot be drawn keeps no good model back.
    report.add_upstream_node(pusher)
    bulk_inferrer = None
    if config.bulk_inference.splits:
        bulk_inferrer = BulkInferrer(
            examples=example_gen.outputs["examples"],
            model=model_trainer.outputs["model"],
            splits=json.dumps(config.bulk_inference.splits),
            model_blessing=evaluator.outputs["blessing"],
            infra_blessing=infra_validator.outputs["blessing"],
        )
        # Masks that cannot be made keep back neither the model nor its page.
        bulk_inferrer.add_upstream_node(report)
    steps = [
        example_gen,
        schema_gen,
        statistics_gen,
        data_report,
        example_validator,
        transform,
        model_trainer,
        evaluator,
        infra_validator,
        *([model_export] if model_export else []),
        pusher,
        report,
        *([bulk_inferrer] if bulk_inferrer else []),
    ]
    for step in steps:
        # Executors do not look at it, but the cache does, which knows a step's code by its name alone otherwise.
        step.executor_spec.add_extra_flags([f"--code={code_of(step.executor_spec.class_path)}"])
    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=places.artifacts,
        components=[*steps, *history.nodes([example_gen, statistics_gen, evaluator, infra_validator, pusher])],
        enable_cache=True,
        metadata_connection_config=sqlite_metadata_connection_config(str(config.output_directory / METADATA_FILE)),
        beam_pipeline_args=list(config.beam.pipeline_args),
    )


def run_options(config: Config, places: OutputLocations) -> dict[str, str]:
    """The variables by which the Trainer is told what changes nothing about the model; see `with_run_options`."""
    options = config.trainer_settings().train.model_dump(mode="json", include=set(RUN_OPTIONS))
    return {RUN_OPTIONS_VARIABLE: json.dumps({"train": options, "checkpoints": places.checkpoints}, sort_keys=True)}


def card_facts(config: Config) -> CardFacts:
    """What a model card tells of the experiment."""
    settings = config.trainer_settings()
    return CardFacts(
        name=config.name,
        deeplab=version("deeplabv3plus-tfx"),
        base_model=config.base_model,
        image_size=config.nn_arch.image_size,
        output_stride=settings.eval_output_stride,
        data={"format": config.data.format, "place": config.data.place},
    )


def weights_fingerprint(config: Config) -> str | None:
    """A hash of the weights that training starts from: the cache must see their contents, not only their name.

    Raises:
        ConfigError: they cannot be read.
    """
    weights = config.trainer_settings().train.weights
    if weights in NAMED_WEIGHTS:
        return None
    try:
        places = files.files_at(weights)
        contents = files.fingerprints(places)
    except OSError as error:
        raise ConfigError(f"train.init_from: {weights} cannot be read: {error.strerror}") from error
    return hashlib.sha256("\n".join(contents[place] for place in places).encode()).hexdigest()
