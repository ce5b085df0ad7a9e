"""The graph: from a devkit to a pushed model."""

from __future__ import annotations

import hashlib
import json

from google.protobuf import text_format
from tensorflow_model_analysis.proto import config_pb2
from tfx.components.pusher.component import Pusher
from tfx.components.statistics_gen.component import StatisticsGen
from tfx.components.trainer.component import Trainer
from tfx.components.transform.component import Transform
from tfx.dsl.components.base import executor_spec
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import pusher_pb2

import trainer
from components.curated_schema.component import CuratedSchema
from components.curated_schema.schema import schema_for
from components.data_report.component import DataReport
from components.evaluator.component import Evaluator
from components.example_validator.component import ExampleValidator
from components.pusher import executor as pusher_executor
from components.segmentation_example_gen.component import SegmentationExampleGen
from components.segmentation_metrics import metric
from components.segmentation_metrics.verdict import BASELINE, CANDIDATE
from pipeline.code import code_of
from pipeline.config import Config, ConfigError, Eval
from pipeline.history import History, MetadataHistory
from pipeline.places import Places
from trainer import features, files
from trainer.labels import Labels
from trainer.settings import NAMED_WEIGHTS


def create_pipeline(config: Config, places: Places | None = None, history: History | None = None) -> Pipeline:
    """Builds the graph.

    Args:
        config: the experiment.
        places: where things go; by default the configuration's output folder.
        history: how earlier runs are found; by default by the metadata store.

    Returns:
        A TFX pipeline, ready for a runner.
    """
    places = places or Places.local(config)
    history = history or MetadataHistory()
    code = code_of(trainer)
    example_gen = SegmentationExampleGen(data=config.data_source, problem_folder=places.problems)
    schema_gen = CuratedSchema(schema=text_format.MessageToString(schema_for(config.data.labels)))
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
        preprocessing_fn="trainer.preprocessing.preprocessing_fn",
        custom_config={"settings": config.transform_settings().model_dump(mode="json"), "code": code},
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
            "settings": config.trainer_settings().model_dump(mode="json"),
            "code": code,
            "weights": weights_fingerprint(config),
            "checkpoints": places.checkpoints,
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
        baseline_model=history.baseline_model(model_trainer.outputs["model"]),
        example_splits=[features.EVAL_SPLIT],
        eval_config=eval_config(config.eval, config.data.labels),
    )
    pusher = Pusher(
        model=model_trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=places.pushed_models)
        ),
        custom_executor_spec=executor_spec.ExecutorClassSpec(pusher_executor.Executor),
    )
    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=places.artifacts,
        components=[
            example_gen,
            schema_gen,
            statistics_gen,
            data_report,
            example_validator,
            transform,
            model_trainer,
            evaluator,
            pusher,
            *history.nodes([example_gen, statistics_gen, evaluator, pusher]),
        ],
        enable_cache=True,
        metadata_connection_config=sqlite_metadata_connection_config(str(config.output_directory / "metadata.sqlite")),
        beam_pipeline_args=list(config.beam.pipeline_args),
    )


def eval_config(gate: Eval, labels: Labels) -> config_pb2.EvalConfig:
    """The Evaluator's configuration: mean IoU from the confusion signature, with the gate's thresholds."""
    model_specs = [
        # Naming the type keeps TFMA from loading the model once more to find it out.
        config_pb2.ModelSpec(
            name=name,
            is_baseline=name == BASELINE,
            signature_name=features.CONFUSION_SIGNATURE,
            model_type="tf_generic",
        )
        for name in (CANDIDATE, BASELINE)
    ]
    floor = config_pb2.GenericValueThreshold(lower_bound={"value": gate.min_mean_iou})
    change = config_pb2.GenericChangeThreshold(
        direction=config_pb2.MetricDirection.HIGHER_IS_BETTER, absolute={"value": gate.min_mean_iou_change}
    )
    segmentation = config_pb2.MetricConfig(
        module=metric.__name__,
        class_name=metric.SegmentationMetrics.__name__,
        config=json.dumps({"class_names": labels.names}),
    )
    return config_pb2.EvalConfig(
        model_specs=model_specs,
        slicing_specs=[config_pb2.SlicingSpec()],
        metrics_specs=[
            config_pb2.MetricsSpec(
                metrics=[segmentation],
                thresholds={
                    metric.MEAN_IOU: config_pb2.MetricThreshold(value_threshold=floor, change_threshold=change)
                },
            )
        ],
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
