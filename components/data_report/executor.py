"""DataReport's executor: statistics and problems to a page."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from components.artifacts.anomalies import find_anomalies
from components.artifacts.names import PAGE_FILE
from components.artifacts.problems import read_problems
from components.artifacts.statistics import read_schema, read_statistics
from components.data_report.page import data_page
from schema.labels import Labels
from trainer.common import files

STATISTICS = "statistics"
SCHEMA = "schema"
PREVIOUS_STATISTICS = "previous_statistics"
PROBLEMS = "problems"
LABELS = "labels_json"
REPORT = "report"


class Executor(base_executor.BaseExecutor):
    """Writes `<report>/index.html`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Draws the page."""
        self._log_startup(input_dict, output_dict, exec_properties)
        statistics = read_statistics(input_dict[STATISTICS]) or {}
        previous = read_statistics(input_dict.get(PREVIOUS_STATISTICS))
        page = data_page(
            statistics=statistics,
            previous=previous,
            anomalies=find_anomalies(statistics, previous, read_schema(input_dict[SCHEMA])),
            labels=Labels.model_validate_json(exec_properties[LABELS]),
            problems=read_problems(artifact_utils.get_single_uri(input_dict[PROBLEMS])),
        )
        place = files.join(artifact_utils.get_single_uri(output_dict[REPORT]), PAGE_FILE)
        files.write_bytes(place, page.encode())
