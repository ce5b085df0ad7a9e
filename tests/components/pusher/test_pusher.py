"""The Pusher's executor, into a folder. Into buckets: tests/components/test_files.py."""

from pathlib import Path

import pytest
from tfx.proto import pusher_pb2
from tfx.types import standard_artifacts
from tfx.utils import proto_utils

from components.pusher.executor import Executor


@pytest.fixture
def push(artifact, tmp_path):
    def run(blessed: int):
        model = artifact(standard_artifacts.Model, "model")
        for file in ("saved_model.pb", "variables/data"):
            Path(model.uri, "Format-Serving", file).parent.mkdir(parents=True, exist_ok=True)
            Path(model.uri, "Format-Serving", file).write_text(file)
        blessing = artifact(standard_artifacts.ModelBlessing, "blessing")
        blessing.set_int_custom_property("blessed", blessed)
        pushed = artifact(standard_artifacts.PushedModel, "pushed")
        filesystem = pusher_pb2.PushDestination.Filesystem(base_directory=str(tmp_path / "served"))
        destination = proto_utils.proto_to_json(pusher_pb2.PushDestination(filesystem=filesystem))
        Executor().Do(
            {"model": [model], "model_blessing": [blessing]},
            {"pushed_model": [pushed]},
            {"push_destination": destination},
        )
        return pushed

    return run


def test_a_blessed_model_is_served_as_a_new_version(push, tmp_path):
    pushed = push(blessed=1)
    (version,) = (tmp_path / "served").iterdir()
    assert int(version.name) > 0
    assert (version / "saved_model.pb").is_file() and (version / "variables" / "data").is_file()
    assert pushed.get_int_custom_property("pushed") == 1
    assert pushed.get_string_custom_property("pushed_destination") == str(version)
    assert pushed.get_string_custom_property("pushed_version") == version.name


def test_a_copy_stays_among_the_artifacts(push):
    assert Path(push(blessed=1).uri, "variables", "data").is_file()


def test_a_model_that_is_not_blessed_is_not_served(push, tmp_path):
    pushed = push(blessed=0)
    assert pushed.get_int_custom_property("pushed") == 0
    assert not pushed.has_custom_property("pushed_destination")
    assert not (tmp_path / "served").exists()
