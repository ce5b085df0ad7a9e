"""The command as a person uses it, in processes of its own."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

DEEPLAB = Path(sys.executable).with_name("deeplab")
CONFIG = Path(__file__).parents[2] / "configs" / "demo.yaml"


def deeplab(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess:
    return subprocess.run([DEEPLAB, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, timeout=120)


def test_help_and_version():
    shown = deeplab("--help")
    assert shown.returncode == 0
    for command in ("run", "check", "make-data"):
        assert command in shown.stdout
    assert deeplab("--version").stdout.startswith("deeplab 0.")


def test_help_imports_no_tensorflow():
    code = (
        "import sys; from pipeline.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'tensorflow', 'keras', 'tfx', 'apache_beam', 'numpy'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_make_data_and_check(tmp_path):
    made = deeplab("make-data", tmp_path, "--train", 4, "--val", 2)
    root = tmp_path / "VOCdevkit" / "VOC2012"
    assert made.returncode == 0
    assert str(root) in made.stdout
    checked = deeplab("check", CONFIG, "--data", root)
    assert checked.returncode == 0, checked.stderr
    assert "4 train, 2 eval pictures, 0 not sound" in checked.stdout


def test_check_names_everything_that_is_wrong(devkit_copy):
    for number in (1, 2):
        file = devkit_copy / "JPEGImages" / f"2012_00000{number}.jpg"
        file.write_bytes(file.read_bytes()[:-300])
    checked = deeplab("check", CONFIG, "--data", devkit_copy)
    assert checked.returncode == 1
    assert "2012_000001.jpg: cannot be decoded" in checked.stderr
    assert "2012_000002.jpg: cannot be decoded" in checked.stderr
    assert "Traceback" not in checked.stderr


def test_check_warns_of_pictures_in_both_splits(devkit_copy):
    checked = deeplab("check", CONFIG, "--data", devkit_copy, "--set", "data.splits.train.list=trainval")
    assert checked.returncode == 0
    assert "2 pictures are in both splits, such as 2012_000007" in checked.stdout


@pytest.mark.parametrize("command", ["run", "check"])
def test_wrong_input_is_refused_before_anything_is_done(command, tmp_path, devkit_copy):
    """Without waiting for TensorFlow, without a traceback, and without an output folder."""
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: x\nbase_model: MobileNetV2\nhps: {stepps: 3}\n")
    output = tmp_path / "out"
    (devkit_copy / "ImageSets" / "Segmentation" / "train.txt").write_text("../../secret\n")
    for arguments, expected in (
        (["gone.yaml"], "there is no such configuration file"),
        ([broken], "hps.stepps: unknown key"),
        ([CONFIG, "--data", tmp_path / "gone"], "there is no such data folder"),
        ([CONFIG, "--data", tmp_path], "not a Pascal VOC devkit"),
        ([CONFIG, "--data", devkit_copy], "not the name of a picture inside the data folder"),
    ):
        extra = ["--output", output] if command == "run" else []
        started = time.monotonic()
        refused = deeplab(command, *arguments, *extra, cwd=tmp_path)
        assert refused.returncode in (1, 2)
        assert expected in refused.stderr
        assert "Traceback" not in refused.stderr
        assert time.monotonic() - started < 10
    assert not output.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_folder_that_may_not_be_written(devkit_root, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    refused = deeplab("run", CONFIG, "--data", devkit_root, "--output", locked / "out")
    assert refused.returncode == 1
    assert f"the output folder {locked / 'out'} cannot be written" in refused.stderr


def test_an_output_folder_that_is_a_file(devkit_root, tmp_path):
    (tmp_path / "out").write_text("")
    refused = deeplab("run", CONFIG, "--data", devkit_root, "--output", tmp_path / "out")
    assert refused.returncode == 1
    assert f"the output folder {tmp_path / 'out'} cannot be written" in refused.stderr


def test_two_runs_in_one_folder(devkit_root, tmp_path):
    import fcntl

    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused = deeplab("run", CONFIG, "--data", devkit_root, "--output", tmp_path)
    assert refused.returncode == 1
    assert "another run is at work" in refused.stderr
