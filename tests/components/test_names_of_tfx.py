"""Names that are stated here are TFX's. Importing them from TFX takes seconds, which steps need not wait for."""

from tfx.components.evaluator import constants as tfx_evaluator
from tfx.components.example_gen import utils
from tfx.components.example_validator import executor as tfx_validator
from tfx.components.infra_validator import executor as tfx_infra_validator
from tfx.components.schema_gen import executor as tfx_schema_gen
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.types import standard_component_specs as names

from components.artifacts import anomalies, statistics
from components.artifacts.names import FINGERPRINT
from components.artifacts.types import BLESSED
from components.bulk_inferrer.component import BulkInferrer
from components.curated_schema import component as curated_schema
from components.evaluator import executor as evaluator
from components.example_validator import component as validator
from components.infra_validator import component as infra_validator
from components.pusher.component import Pusher
from components.segmentation_example_gen import driver, executor


def test_files():
    assert curated_schema.SCHEMA_FILE == tfx_schema_gen.DEFAULT_FILE_NAME
    assert statistics.STATISTICS_FILE == stats_artifact_utils.BINARY_PB_BASENAME
    assert anomalies.ANOMALIES_FILE == tfx_validator.DEFAULT_FILE_NAME


def test_properties_of_artifacts():
    assert FINGERPRINT == utils.FINGERPRINT_PROPERTY_NAME
    assert driver.SPAN == utils.SPAN_PROPERTY_NAME
    assert executor.PAYLOAD_FORMAT == utils.PAYLOAD_FORMAT_PROPERTY_NAME
    assert executor.FILE_FORMAT == utils.FILE_FORMAT_PROPERTY_NAME
    assert validator.BLESSED == tfx_validator.ARTIFACT_PROPERTY_BLESSED_KEY


def test_the_pusher_s_channels():
    assert {names.MODEL_KEY, names.MODEL_BLESSING_KEY, names.INFRA_BLESSING_KEY} <= Pusher.SPEC_CLASS.INPUTS.keys()
    assert Pusher.SPEC_CLASS.OUTPUTS.keys() == {names.PUSHED_MODEL_KEY}


def test_the_bulk_inferrer_s_channels():
    assert BulkInferrer.SPEC_CLASS.INPUTS.keys() == {
        names.EXAMPLES_KEY,
        names.MODEL_KEY,
        names.MODEL_BLESSING_KEY,
        names.INFRA_BLESSING_KEY,
    }
    assert BulkInferrer.SPEC_CLASS.OUTPUTS.keys() == {names.INFERENCE_RESULT_KEY}


def test_what_the_evaluator_is_given():
    assert evaluator.EXAMPLES == names.EXAMPLES_KEY
    assert evaluator.MODEL == names.MODEL_KEY
    assert evaluator.BASELINE_MODEL == names.BASELINE_MODEL_KEY
    assert evaluator.EVALUATION == names.EVALUATION_KEY
    assert evaluator.BLESSING == names.BLESSING_KEY
    assert evaluator.EVAL_CONFIG == names.EVAL_CONFIG_KEY
    assert evaluator.EXAMPLE_SPLITS == names.EXAMPLE_SPLITS_KEY


def test_what_a_blessing_says():
    assert evaluator.BLESSED == tfx_evaluator.ARTIFACT_PROPERTY_BLESSED_KEY
    assert evaluator.CURRENT_MODEL == tfx_evaluator.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY
    assert evaluator.CURRENT_MODEL_ID == tfx_evaluator.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY
    assert evaluator.BASELINE_URI == tfx_evaluator.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY
    assert evaluator.BASELINE_ID == tfx_evaluator.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY
    assert evaluator.BLESSED_FILE == tfx_evaluator.BLESSED_FILE_NAME
    assert evaluator.NOT_BLESSED_FILE == tfx_evaluator.NOT_BLESSED_FILE_NAME


def test_the_infra_validator():
    validator_spec = infra_validator.InfraValidator.SPEC_CLASS
    assert validator_spec.INPUTS.keys() == {names.MODEL_KEY, names.EXAMPLES_KEY}
    assert validator_spec.OUTPUTS.keys() == {names.BLESSING_KEY}
    assert BLESSED == tfx_infra_validator._BLESSED_KEY
    assert infra_validator.BLESSED_FILE == tfx_infra_validator._BLESSED_FILENAME
    assert infra_validator.NOT_BLESSED_FILE == tfx_infra_validator._NOT_BLESSED_FILENAME
