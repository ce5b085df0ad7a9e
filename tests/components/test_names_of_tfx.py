"""Names that are stated here are TFX's. Importing them from TFX takes seconds, which steps need not wait for."""

from tfx.components.example_gen import utils
from tfx.components.example_validator import executor as tfx_validator
from tfx.components.schema_gen import executor as tfx_schema_gen
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.types import standard_component_specs as names

from components.curated_schema import executor as schema_executor
from components.example_validator import executor as validator
from components.pusher import executor as pusher
from components.segmentation_example_gen import driver, executor


def test_files():
    assert schema_executor.SCHEMA_FILE == tfx_schema_gen.DEFAULT_FILE_NAME
    assert validator.STATISTICS_FILE == stats_artifact_utils.BINARY_PB_BASENAME
    assert validator.ANOMALIES_FILE == tfx_validator.DEFAULT_FILE_NAME


def test_properties_of_artifacts():
    assert driver.FINGERPRINT == utils.FINGERPRINT_PROPERTY_NAME
    assert driver.SPAN == utils.SPAN_PROPERTY_NAME
    assert executor.PAYLOAD_FORMAT == utils.PAYLOAD_FORMAT_PROPERTY_NAME
    assert executor.FILE_FORMAT == utils.FILE_FORMAT_PROPERTY_NAME
    assert validator.BLESSED == tfx_validator.ARTIFACT_PROPERTY_BLESSED_KEY


def test_what_the_pusher_is_given():
    assert pusher.MODEL == names.MODEL_KEY
    assert pusher.BLESSING == names.MODEL_BLESSING_KEY
    assert pusher.DESTINATION == names.PUSH_DESTINATION_KEY
    assert pusher.PUSHED_MODEL == names.PUSHED_MODEL_KEY
