"""The graph: which steps there are."""

from __future__ import annotations

from pathlib import Path

from pipeline.config.loading import load_config
from pipeline.pipeline import create_pipeline

DEMO = Path(__file__).parents[2] / "configs" / "demo.yaml"


def steps(tmp_path: Path, *overrides: str) -> dict:
    config = load_config(DEMO, overrides=overrides, data=str(tmp_path), output=tmp_path)
    return {node.id: node for node in create_pipeline(config).components}


def test_masks_are_predicted_where_splits_are_named_and_after_all_else(tmp_path):
    without = steps(tmp_path)
    assert "BulkInferrer" not in without
    found = steps(tmp_path, "bulk_inference.splits=[train, eval]")
    assert set(found) - set(without) == {"BulkInferrer"}
    assert not found["BulkInferrer"].downstream_nodes
    assert found["Report"] in found["BulkInferrer"].upstream_nodes
    assert found["BulkInferrer"].exec_properties["splits"] == '["train", "eval"]'
