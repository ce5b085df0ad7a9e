"""The command as a person uses it, in processes of its own."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

DEEPLAB = Path(sys.executable).with_name("deeplab")
CONFIG = Path(__file__).parents[3] / "configs" / "demo.yaml"
# Of <linux/prctl.h> and <linux/capability.h>.
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1


def deeplab(*arguments: object, cwd: Path | None = None, **options: Any) -> subprocess.CompletedProcess:
    command = [DEEPLAB, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120, **options)


def test_help_and_version():
    shown = deeplab("--help")
    assert shown.returncode == 0
    commands = (
        "run",
        "retrain",
        "check",
        "rollback",
        "report",
        "show-batch",
        "predict",
        "make-data",
        "fetch-data",
        "model",
        "compile",
        "submit",
        "schedule",
    )
    for command in commands:
        assert command in shown.stdout
    assert deeplab("--version").stdout.startswith("deeplab 0.")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["check", "gone.yaml"],
        ["run", "gone.yaml"],
        ["run", str(CONFIG)],
        ["run", str(CONFIG), "--backend", "airflow"],
        ["retrain", str(CONFIG), "--cron", "0 0 * * 9"],
        ["rollback", "gone.yaml"],
        ["rollback", str(CONFIG.parent)],
        ["compile", "gone.yaml"],
        ["submit", "gone.yaml"],
        ["schedule", str(CONFIG), "--cron", "0 0 * * 9"],
        ["show-batch", str(CONFIG), "--output-file", "sheet.gif"],
        ["predict", "gone", str(CONFIG), "-o", "out"],
        ["report", "gone.yaml"],
        ["model", "summary", "gone.yaml"],
        ["model", "summary", str(CONFIG), "--diagram", "network.gif"],
    ],
)
def test_what_runs_nothing_imports_nothing_heavy(arguments):
    code = (
        "import sys; from kubeflow.command import main; sys.argv[0] = 'deeplab'\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'tensorflow', 'keras', 'tfx', 'apache_beam'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", CONFIG, "--backend", "airflow"], 2, "found 'airflow', it must be one of beam, kfp-local"),
        (["retrain", CONFIG, "--cron", "0 0 * * 9"], 2, "day of the week: found '9'"),
        (["retrain", CONFIG, "--cron", "0 0 * * 1", "--time-zone", "Mars"], 1, "--time-zone Mars: there is no such"),
        (["rollback", "gone"], 1, "gone: there is no such configuration, and no such folder of pushed models"),
        (["rollback", CONFIG], 1, "runs/demo/serving_model: there is no version of a pushed model"),
        (["compile", CONFIG, "--data", "/here/VOC2012"], 2, "found '/here/VOC2012', a path that the step Segmentation"),
        (["compile", CONFIG, "--data", "s3://bucket/voc", "-o", "gone/pipeline.yaml"], 1, "it cannot be written"),
    ],
)
def test_what_cannot_be_is_refused_in_words(tmp_path, arguments, code, message):
    done = deeplab(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr


def test_compile_writes_what_kubeflow_takes(tmp_path):
    done = deeplab("compile", CONFIG, "--data", "s3://bucket/voc", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "13 steps in pipeline.yaml" in done.stdout
    assert "WARNING" not in done.stderr
    first, second = yaml.safe_load_all((tmp_path / "pipeline.yaml").read_text())
    assert first["schemaVersion"] == "2.1.0"
    assert "platforms" in second


def test_rolling_back_by_configuration_and_by_folder(tmp_path):
    folder = tmp_path / "runs" / "demo" / "serving_model"
    for version in ("1", "2", "3"):
        (folder / version).mkdir(parents=True)
        (folder / version / "saved_model.pb").write_text(version)
    done = deeplab("rollback", CONFIG, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    place, _, rest = done.stdout.partition(": ")
    assert (Path(place).parent, rest) == (folder, "the contents of version 2, and now the current one\n")
    assert Path(place, "saved_model.pb").read_text() == "2"
    again = deeplab("rollback", folder, "--to", "1")
    assert "the contents of version 1" in again.stdout
    refused = deeplab("rollback", folder, "--to", "7")
    assert refused.returncode == 1
    assert f"{folder}: there is no version 7; there are " in refused.stderr


def test_make_data_and_check(tmp_path):
    made = deeplab("make-data", tmp_path, "--train", 4, "--val", 2)
    root = tmp_path / "VOCdevkit" / "VOC2012"
    assert made.returncode == 0
    assert str(root) in made.stdout
    checked = deeplab("check", CONFIG, "--data", root)
    assert checked.returncode == 0, checked.stderr
    assert "4 train, 2 eval pictures decoded" in checked.stdout
    assert f"{root}: sound" in checked.stdout


def test_check_names_everything_that_is_wrong(devkit_copy, tmp_path):
    for number in (1, 2):
        file = devkit_copy / "JPEGImages" / f"2012_00000{number}.jpg"
        file.write_bytes(file.read_bytes()[:-300])
    checked = deeplab("check", CONFIG, "--data", devkit_copy, cwd=tmp_path)
    assert checked.returncode == 1
    assert "2012_000001.jpg: cannot be decoded" in checked.stderr
    assert "2012_000002.jpg: cannot be decoded" in checked.stderr
    assert "Traceback" not in checked.stderr
    page = tmp_path / "runs" / "demo" / "data-problems" / "index.html"
    assert f"all of them, with pictures: {page}" in checked.stderr
    assert "2012_000002.jpg" in page.read_text()


def test_check_tells_what_a_run_would_leave_out(devkit_copy, tmp_path):
    (devkit_copy / "JPEGImages" / "2012_000001.jpg").write_bytes(b"")
    checked = deeplab("check", CONFIG, "--data", devkit_copy, "--set", "data.max_quarantined=0.5", cwd=tmp_path)
    assert checked.returncode == 0
    assert "2012_000001.jpg: 0 bytes, an empty file" in checked.stdout
    assert "a run would leave these pairs out, as data.max_quarantined 0.5 allows" in checked.stderr


def test_the_faults_of_both_lists_are_told_at_once(devkit_copy):
    for name in ("train", "val"):
        (devkit_copy / "ImageSets" / "Segmentation" / f"{name}.txt").write_text(f"lost_{name}\n")
    checked = deeplab("check", CONFIG, "--data", devkit_copy)
    assert checked.returncode == 1
    assert "'lost_train' has no picture" in checked.stderr
    assert "'lost_val' has no picture" in checked.stderr


def test_make_data_where_it_cannot(tmp_path):
    (tmp_path / "file").write_text("")
    refused = deeplab("make-data", tmp_path / "file")
    assert refused.returncode == 1
    assert "cannot be written" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_folder_with_brackets_in_its_name(tmp_path):
    folder = tmp_path / "v[red]x"
    assert str(folder) in deeplab("make-data", folder, "--train", 1, "--val", 1).stdout


def test_check_warns_of_pictures_in_both_splits(devkit_copy):
    checked = deeplab("check", CONFIG, "--data", devkit_copy, "--set", "data.splits.train.list=trainval")
    assert checked.returncode == 0
    assert "2 pictures are in both splits, such as 2012_000007" in checked.stderr


@pytest.mark.parametrize("command", ["run", "check"])
def test_wrong_input_is_refused_before_anything_is_done(command, tmp_path, devkit_copy):
    """Without a traceback and without an output folder."""
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: x\nbase_model: MobileNetV2\nhps: {stepps: 3}\n")
    output = tmp_path / "out"
    (devkit_copy / "ImageSets" / "Segmentation" / "train.txt").write_text("../../secret\n")
    for arguments, expected in (
        (["gone.yaml"], "there is no such configuration file"),
        ([broken], "hps.stepps: unknown key"),
        ([CONFIG, "--data", tmp_path / "gone"], "there is no such data folder"),
        ([CONFIG, "--data", tmp_path], "a Pascal VOC devkit has JPEGImages"),
        ([CONFIG, "--data", devkit_copy], "not the name of a picture inside the data folder"),
    ):
        extra = ["--output", output] if command == "run" else []
        refused = deeplab(command, *arguments, *extra, cwd=tmp_path)
        assert refused.returncode in (1, 2)
        assert expected in refused.stderr
        assert "Traceback" not in refused.stderr
    assert not output.exists()


def give_up_roots_right_to_write() -> None:
    """So that permissions of files hold for the program that this process is about to become (Linux' capabilities)."""
    if os.geteuid() == 0 and sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0)


def test_an_output_folder_that_may_not_be_written(devkit_root, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if not subprocess.run(["test", "-w", locked], preexec_fn=give_up_roots_right_to_write, check=False).returncode:
        pytest.skip("this process may write everywhere, and cannot give that up")
    arguments = ("run", CONFIG, "--data", devkit_root, "--output", locked / "out")
    refused = deeplab(*arguments, preexec_fn=give_up_roots_right_to_write)
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


def test_the_network_is_told_and_drawn(tmp_path):
    drawing = tmp_path / "network.svg"
    told = deeplab("model", "summary", CONFIG, "--set", "base_model=ResNet50", "--diagram", drawing)
    assert told.returncode == 0, told.stderr
    assert told.stderr == ""
    lines = told.stdout.splitlines()
    assert lines[0] == "DeepLabV3+ on ResNet50"
    assert max(map(len, lines)) <= 100
    rows = [" ".join(line.split()) for line in lines]
    assert "image 81 x 81 x 3" in rows
    # 3 * 3 * 2048 and 2048 * 64 weights, and four numbers of each of 2048 + 64 channels for the normalisations.
    assert "branch 2 separable 3x3, rate 12 high-level 6 x 6 x 64 157,952 0.005" in rows
    assert drawing.read_text().rstrip().endswith("</svg>")


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("network.gif", "found the suffix .gif, it must be one of .svg, .png, .pdf"),
        ("network", "found the suffix (none), it must be one of .svg, .png, .pdf"),
        ("gone/network.svg", "there is no folder gone"),
    ],
)
def test_what_cannot_be_drawn_into_is_refused(file, expected, tmp_path):
    refused = deeplab("model", "summary", CONFIG, "--diagram", file, cwd=tmp_path)
    assert refused.returncode == 1
    assert f"--diagram {file}: {expected}" in refused.stderr
    assert refused.stdout == ""
