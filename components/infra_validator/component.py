"""InfraValidator tries out whether a model can be served."""

# TFX reads annotations as objects, so they are not postponed here.

import logging

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import path_utils

from components.artifacts.infra_validation import VALIDATION_FILE
from components.artifacts.types import BLESSED
from components.infra_validator.limits import Limits
from components.infra_validator.validate import read_pictures, validate
from schema.features import EVAL_SPLIT
from trainer.common import files

LOGGER = logging.getLogger(__name__)

# TFX's names of the files of an `InfraBlessing`.
BLESSED_FILE = "INFRA_BLESSED"
NOT_BLESSED_FILE = "INFRA_NOT_BLESSED"


@component
def InfraValidator(
    model: InputArtifact[standard_artifacts.Model],
    examples: InputArtifact[standard_artifacts.Examples],
    pictures: Parameter[int],
    max_memory_mib: Parameter[int],
    max_seconds: Parameter[int],
    blessing: OutputArtifact[standard_artifacts.InfraBlessing],
) -> None:
    """Runs a model in a fresh process with nothing but TensorFlow, and blesses it if it answers as it should.

    A model that fails is no error: it is not blessed, and so not pushed. TFX's InfraValidator wants Docker, or a
    cluster whose metadata say where it runs, which open-source Kubeflow does not give it.

    Args:
        model: the model that is tried out.
        examples: the images are those of the split `eval`.
        pictures: how many images are taken.
        max_memory_mib: how much memory the process may take.
        max_seconds: how long it may take.
        blessing: the blessing, with an `InfraValidationResult`.

    Raises:
        ValueError: there are no labelled pictures in the split `eval`.
    """
    validation = validate(
        path_utils.serving_model_path(model.uri),
        read_pictures(artifact_utils.get_split_uris([examples], EVAL_SPLIT), pictures),
        Limits(max_seconds, max_memory_mib),
    )
    if not validation.blessed:
        LOGGER.warning("the model is not pushed: %s", validation.reason)
    blessing.set_int_custom_property(BLESSED, int(validation.blessed))
    document = validation.model_dump_json(indent=1).encode()
    files.write_bytes(files.join(blessing.uri, VALIDATION_FILE), document)
    files.write_bytes(files.join(blessing.uri, BLESSED_FILE if validation.blessed else NOT_BLESSED_FILE), b"")
