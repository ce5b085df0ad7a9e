"""The Evaluator's executor: runs the models, lets TFMA compute and judge, and writes down the verdict."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import apache_beam as beam
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.evaluators.metrics_plots_and_validations_evaluator import (
    MetricsPlotsAndValidationsEvaluator,
)
from tensorflow_model_analysis.extractors.slice_key_extractor import SliceKeyExtractor
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.utils.config_util import update_eval_config_with_defaults
from tfx import types
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils
from tfx.utils import json_utils, path_utils, proto_utils

from components.artifacts.evaluation import EVALUATION_FILE, PICTURES_FILE, Evaluation
from components.artifacts.names import LAST_PUSHED
from components.evaluator.counting import SCORES, CountPixels, Models
from components.evaluator.inputs import EarlierVersionError, check_examples, check_model
from components.evaluator.verdict import evaluation_of
from schema.labels import read_labels
from trainer.common import files

LOGGER = logging.getLogger(__name__)

# The keys of TFX's Evaluator, whose specification this executor goes by. What TFX calls them by is not imported: it
# takes seconds.
EXAMPLES = "examples"
MODEL = "model"
BASELINE_MODEL = "baseline_model"
EVALUATION = "evaluation"
BLESSING = "blessing"
EVAL_CONFIG = "eval_config"
EXAMPLE_SPLITS = "example_splits"
COMPONENT_ID = "current_component_id"
# TFX's names of a blessing's custom properties and files, by which its resolvers and ours find blessed models.
BLESSED = "blessed"
CURRENT_MODEL = "current_model"
CURRENT_MODEL_ID = "current_model_id"
BASELINE_URI = "baseline_model"
BASELINE_ID = "baseline_model_id"
BLESSED_FILE = "BLESSED"
NOT_BLESSED_FILE = "NOT_BLESSED"


class Executor(base_beam_executor.BaseBeamExecutor):
    """Judges a model, and compares it with the last good one on the same pictures.

    TFX's own hands the pictures through TFMA. Here the models are run first, and TFMA gets the counts.
    """

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Judges the model.

        Raises:
            CannotEvaluateError: model, data and configuration do not fit together; nothing is blessed.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        eval_config = config_pb2.EvalConfig()
        proto_utils.json_to_proto(exec_properties[EVAL_CONFIG], eval_config)
        class_names = _class_names(eval_config)
        model = artifact_utils.get_single_instance(input_dict[MODEL])
        baseline, not_compared = comparable_baseline(input_dict)
        candidate_folder = path_utils.serving_model_path(model.uri)
        baseline_folder = baseline and path_utils.serving_model_path(baseline.uri)
        check_model(candidate_folder, "the new model", class_names)
        if baseline_folder:
            try:
                check_model(baseline_folder, "the model to compare with", class_names)
            except EarlierVersionError as error:
                # It would stay the last good model for ever if nothing could be blessed beside it.
                LOGGER.warning("eval: the new model is compared with none: %s", error)
                baseline, baseline_folder = None, None
                not_compared = "the last good model was made by an earlier version and cannot be judged"
        patterns = []
        for split in json_utils.loads(exec_properties[EXAMPLE_SPLITS]):
            for folder in artifact_utils.get_split_uris(input_dict[EXAMPLES], split):
                check_examples([str(file) for file in Path(folder).iterdir()], split, class_names)
                patterns.append(files.join(folder, "*"))

        with_baseline = baseline is not None
        used = update_eval_config_with_defaults(eval_config, has_baseline=with_baseline, rubber_stamp=True)
        models = Models(candidate_folder, baseline_folder, tuple(spec.name for spec in used.model_specs))
        output = artifact_utils.get_single_uri(output_dict[EVALUATION])
        with self._make_beam_pipeline() as pipeline:
            _evaluate(pipeline, patterns, models, class_names, used, output)
        _sort_lines(files.join(output, PICTURES_FILE))
        evaluation = evaluation_of(
            output,
            asked=eval_config,
            eval_config=used,
            class_names=class_names,
            candidate_uri=model.uri,
            baseline_uri=None if baseline is None else baseline.get_string_custom_property(LAST_PUSHED) or baseline.uri,
            not_compared=not_compared,
        )
        files.write_bytes(files.join(output, EVALUATION_FILE), evaluation.model_dump_json(indent=1).encode())
        blessing = artifact_utils.get_single_instance(output_dict[BLESSING])
        _bless(blessing, evaluation, model, baseline, exec_properties.get(COMPONENT_ID))


def comparable_baseline(input_dict: dict[str, list[types.Artifact]]) -> tuple[types.Artifact | None, str | None]:
    """The model to compare with, or why there is none.

    A model for other classes is none: confusion matrices of other classes cannot be put side by side, and mean IoUs
    over other classes say nothing of which model is better.
    """
    if BASELINE_MODEL not in input_dict:
        return None, "eval.baseline is none"
    given = input_dict[BASELINE_MODEL]
    if not given:
        return None, "there was no good model before"
    (baseline,) = given
    before, now = (
        read_labels(path_utils.serving_model_path(artifact_utils.get_single_uri(models)))
        for models in (given, input_dict[MODEL])
    )
    # Models that do not say what they are for are taken to be comparable.
    if before is None or now is None or before.names == now.names:
        return baseline, None
    reason = f"the last good model is for {len(before.classes)} other classes"
    LOGGER.warning("eval: %s, so the new one is compared with none", reason)
    return None, reason


def _class_names(eval_config: config_pb2.EvalConfig) -> tuple[str, ...]:
    """As the one metric of the configuration, SegmentationMetrics, is told them."""
    return tuple(json.loads(eval_config.metrics_specs[0].metrics[0].config)["class_names"])


def _evaluate(
    pipeline: beam.Pipeline,
    patterns: list[str],
    models: Models,
    class_names: tuple[str, ...],
    eval_config: config_pb2.EvalConfig,
    output: str,
) -> None:
    """Writes TFMA's results and the scores of each picture."""
    extracts = (
        pipeline
        | "Patterns" >> beam.Create(patterns)
        | "Read" >> beam.io.ReadAllFromTFRecord()
        | "CountPixels" >> CountPixels(models, class_names)
    )
    _ = (
        extracts
        | "Scores" >> beam.Map(lambda extract: extract[SCORES])
        | "WriteScores" >> beam.io.WriteToText(files.join(output, PICTURES_FILE), num_shards=1, shard_name_template="")
    )
    _ = (
        extracts
        | "Counts" >> beam.Map(lambda extract: {key: extract[key] for key in extract if key != SCORES})
        | "Evaluate"
        >> tfma.ExtractAndEvaluate(
            extractors=[SliceKeyExtractor(eval_config=eval_config, materialize=False)],
            evaluators=[MetricsPlotsAndValidationsEvaluator(eval_config=eval_config)],
        )
        | "Write" >> tfma.WriteResults(writers=tfma.default_writers(output_path=output, eval_config=eval_config))
    )


def _sort_lines(place: str) -> None:
    """Beam writes in no order; lines begin with the id."""
    lines = sorted(files.read_bytes(place).splitlines())
    files.write_bytes(place, b"".join(line + b"\n" for line in lines))


def _bless(
    blessing: types.Artifact,
    evaluation: Evaluation,
    model: types.Artifact,
    baseline: types.Artifact | None,
    component_id: str | None,
) -> None:
    """Says on the artifact what was decided, as TFX's Evaluator says it."""
    blessing.set_int_custom_property(BLESSED, int(evaluation.blessed))
    blessing.set_string_custom_property(CURRENT_MODEL, model.uri)
    blessing.set_int_custom_property(CURRENT_MODEL_ID, model.id)
    if baseline is not None:
        blessing.set_string_custom_property(BASELINE_URI, baseline.uri)
        blessing.set_int_custom_property(BASELINE_ID, baseline.id)
    if component_id:
        blessing.set_string_custom_property("component_id", component_id)
    files.write_bytes(files.join(blessing.uri, BLESSED_FILE if evaluation.blessed else NOT_BLESSED_FILE), b"")
