"""`deeplab predict`: which pictures it takes, what it writes, and what it does about those that cannot be read."""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.artifacts.problems import DataError
from pipeline.inference.image_arguments import ChosenPicture, check_output, choose, choose_examples
from pipeline.inference.predict import predict
from pipeline.inference.saved_model import ModelError, model_directory, open_model
from schema import features
from schema.labels import LABELS_FILE, VOC_PALETTE, Labels
from trainer.common import files
from trainer.common.tensorflow_errors import PictureRefusedError

DEEPLAB = Path(sys.executable).with_name("deeplab")
LABELS = Labels.model_validate({"classes": ["background", {"name": "dark", "color": [1, 2, 3]}, "bright", "never"]})
SIZE = (40, 30)
"""Width and height, pixels."""


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory) -> Path:
    """Versions of a model whose answer is known: the class is 0, 1 or 2 where the picture's red is."""
    import tensorflow as tf

    from trainer.data.encoded_images import picture_sizes

    class Red(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="images")])
        def serve(self, images):
            def one(encoded, size):
                with tf.control_dependencies([size]):
                    mask = tf.io.decode_image(encoded, channels=3, expand_animations=False)[:, :, :1]
                counts = tf.math.bincount(tf.cast(tf.reshape(mask, [-1]), tf.int32), minlength=4, maxlength=4)
                return tf.io.encode_png(tf.ensure_shape(mask, [None, None, 1])), tf.cast(counts, tf.int64)

            mask, counts = tf.map_fn(
                lambda each: one(*each),
                (images, picture_sizes(images)),
                fn_output_signature=(tf.TensorSpec([], tf.string), tf.TensorSpec([4], tf.int64)),
            )
            return {features.MASK: mask, features.CLASS_PIXELS: counts}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def serve_examples(self, examples):
            picture = tf.io.FixedLenFeature([], tf.string)
            return self.serve(tf.io.parse_example(examples, {features.IMAGE_ENCODED: picture})[features.IMAGE_ENCODED])

    folder = tmp_path_factory.mktemp("serving_model")
    red = Red()
    signatures = {features.SERVING_SIGNATURE: red.serve, features.EXAMPLES_SIGNATURE: red.serve_examples}
    tf.saved_model.save(red, str(folder / "9"), signatures=signatures)
    (folder / "9" / LABELS_FILE).parent.mkdir()
    (folder / "9" / LABELS_FILE).write_text(LABELS.model_dump_json())
    return folder


@pytest.fixture(scope="module")
def model(model_folder):
    return open_model(str(model_folder))


def mask_of(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 3, SIZE[::-1], np.uint8)


def picture_of(mask: np.ndarray) -> Image.Image:
    return Image.fromarray(np.stack([mask, mask + 100, mask + 200], axis=-1))


def save(file: Path, seed: int = 0, **options: object) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    picture_of(mask_of(seed)).save(file, **options)
    return file


def deeplab(*arguments: object, cwd: Path, **options: Any) -> subprocess.CompletedProcess:
    command = [DEEPLAB, "predict", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300, **options)


def fill_the_disk() -> None:
    """What this process writes fails as on a full disk, only that the system calls it another number."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def names(chosen) -> list[str]:
    return [picture.name for picture in chosen]


# The pictures that are meant.


def test_files_keep_their_names_and_folders_the_paths_inside_them(tmp_path):
    for file in ("a.jpg", "photos/b.PNG", "photos/2012/c.webp", "photos/notes.txt", "photos/.hidden.jpg"):
        save(tmp_path / file, format="PNG")
    chosen, problems = choose([f"{tmp_path}/a.jpg", f"{tmp_path}/photos"])
    assert names(chosen) == ["a", "2012/c", "b"]
    assert problems == []


def test_a_pattern_stands_for_the_pictures_that_match(tmp_path):
    for file in ("a.jpg", "b.jpg", "sub/c.jpg", "d.doc"):
        save(tmp_path / file, format="PNG")
    assert names(choose([f"{tmp_path}/*"])[0]) == ["a", "b"]
    assert names(choose([f"{tmp_path}/**/*.jpg"])[0]) == ["a", "b", "c"]


def test_a_file_may_have_the_characters_of_a_pattern_in_its_name(tmp_path):
    save(tmp_path / "a[1].png")
    assert names(choose([f"{tmp_path}/a[1].png"])[0]) == ["a[1]"]


def test_a_picture_that_is_meant_twice_is_predicted_once(tmp_path):
    save(tmp_path / "a.png")
    chosen, _ = choose([f"{tmp_path}/a.png", f"{tmp_path}", f"{tmp_path}/../{tmp_path.name}/a.png"])
    assert names(chosen) == ["a"]


def test_paths_in_a_list_start_from_its_folder(tmp_path):
    for file in ("lists/in/a.png", "elsewhere/b.png"):
        save(tmp_path / file)
    (tmp_path / "lists/all.txt").write_text(f"in/a.png\n\n../elsewhere/b.png\n{tmp_path}/lists/in/a.png\ngone.png\n")
    chosen, problems = choose([f"{tmp_path}/lists/all.txt"])
    assert names(chosen) == ["in/a", "b"]
    (problem,) = problems
    assert problem.where == f"{tmp_path}/lists/all.txt, line 5"
    assert f"there is no {tmp_path}/lists/gone.png" in problem.what


@pytest.mark.parametrize("folder", ["VOC2012", "VOC2012/JPEGImages"])
def test_the_ids_of_a_list_are_found_in_a_devkit_or_folder(tmp_path, folder):
    for name in ("2012_000001", "with.dot"):
        save(tmp_path / "VOC2012/JPEGImages" / f"{name}.jpg", format="PNG")
    (tmp_path / "test.txt").write_text("2012_000001\nwith.dot\n2012_000009\n../secret\n")
    chosen, problems = choose([f"{tmp_path}/test.txt"], f"{tmp_path}/{folder}")
    assert names(chosen) == ["2012_000001", "with.dot"]
    assert [problem.where.rpartition(" ")[2] for problem in problems] == ["3", "4"]
    assert "'2012_000009': has no picture in" in problems[0].what
    assert "is not the name of a picture inside" in problems[1].what


def test_an_id_without_a_folder_is_told_how_to_go_on(tmp_path):
    (tmp_path / "test.txt").write_text("2012_000001\n")
    _, (problem,) = choose([f"{tmp_path}/test.txt"])
    assert "say with --images where its picture is" in problem.what


@pytest.mark.parametrize("pair", [("x/a.png", "y/a.png"), ("x/a.png", "x/a.jpg")])
def test_two_pictures_of_one_name_are_refused(tmp_path, pair):
    first, second = (str(save(tmp_path / file, format="PNG")) for file in pair)
    with pytest.raises(DataError, match=f"{second}: has the same name as {first}"):
        choose([first, second])


def test_two_pictures_of_one_name_in_folders_of_one_folder_are_kept_apart(tmp_path):
    for file in ("x/a.png", "y/a.png"):
        save(tmp_path / file)
    assert names(choose([str(tmp_path)])[0]) == ["x/a", "y/a"]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("gone.jpg", "there is no such file or folder"),
        ("*.jpg", "matches no picture"),
        ("empty", "holds no pictures"),
        ("gone.txt", "there is no such list"),
        ("empty.txt", "the list is empty"),
        ("binary.txt", "not a text file in UTF-8"),
    ],
)
def test_an_argument_that_means_no_picture(tmp_path, argument, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=message):
        choose([f"{tmp_path}/{argument}"])


def test_a_folder_of_ids_without_a_list_is_refused(tmp_path):
    save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"is for the ids of lists, and there is no list \(.txt\)"):
        choose([f"{tmp_path}/a.png"], str(tmp_path))


def test_a_name_that_is_not_utf8_is_left_out(tmp_path):
    save(tmp_path / "a.png")
    (tmp_path / os.fsdecode(b"\xff.png")).write_bytes(b"")
    chosen, (problem,) = choose([str(tmp_path)])
    assert names(chosen) == ["a"]
    assert "its name is not UTF-8" in problem.what


@pytest.mark.parametrize("file", ["a.png", "a_overlay.jpg"])
def test_no_picture_is_overwritten(tmp_path, file):
    save(tmp_path / "a.png")
    save(tmp_path / file, format="PNG")
    chosen, _ = choose([str(tmp_path)])
    with pytest.raises(DataError, match=rf"{file}: would be written for .*a.png, but is a picture itself"):
        check_output(chosen, str(tmp_path), [file.removeprefix("a")])
    check_output(chosen, str(tmp_path / "out"), [".png", "_overlay.jpg"])


@pytest.mark.parametrize("mode", ["RGB", "L", None])
def test_a_png_that_is_no_earlier_mask_is_not_replaced(tmp_path, mode):
    save(tmp_path / "photos/a.jpg")
    chosen, _ = choose([str(tmp_path / "photos/a.jpg")])
    target = tmp_path / "a.png"
    Image.new("P", (4, 3)).save(target)
    check_output(chosen, str(tmp_path), [".png"])
    if mode is None:
        target.write_bytes(b"no picture")
    else:
        Image.new(mode, (4, 3)).save(target)
    refused = r"a\.png: would be replaced by what is predicted of .*a\.jpg, but is no such; use another"
    with pytest.raises(DataError, match=refused):
        check_output(chosen, str(tmp_path), [".png"])
    # Nor one in a bucket.
    bucket = f"memory://{tmp_path.name}"
    files.write_bytes(f"{bucket}/a.png", target.read_bytes())
    with pytest.raises(DataError, match=refused):
        check_output(chosen, bucket, [".png"])


def test_a_jpeg_that_is_no_earlier_overlay_is_not_replaced(model, tmp_path):
    chosen = [ChosenPicture(str(save(tmp_path / "a.png")), "a")]
    out = str(tmp_path / "out")
    list(predict(model, chosen, out, with_overlay=True))
    check_output(chosen, out, [".png", "_overlay.jpg"])
    save(tmp_path / "out/a_overlay.jpg")
    with pytest.raises(DataError, match=r"a_overlay\.jpg: would be replaced by what is predicted of .*a\.png"):
        check_output(chosen, out, [".png", "_overlay.jpg"])


def test_a_place_that_cannot_be_read_is_told_with_its_name():
    with pytest.raises(DataError, match=r"^nobody://b/x\.png: cannot be read: .*nobody"):
        choose(["nobody://b/x.png"])


# The model.


def versions(folder: Path, *whole: str) -> Path:
    for version in whole:
        (folder / version).mkdir(parents=True)
        (folder / version / "saved_model.pb").write_bytes(b"")
    return folder


def test_of_versions_the_newest_that_is_whole_is_taken(tmp_path):
    versions(tmp_path, "9", "10", "copy-of-11")
    (tmp_path / "12").mkdir()
    assert model_directory(str(tmp_path)) == str(tmp_path / "10")
    assert model_directory(str(tmp_path / "9")) == str(tmp_path / "9")


def damaged(folder: Path, kind: str) -> None:
    match kind:
        case "no labels":
            (folder / LABELS_FILE).unlink()
        case "broken labels":
            (folder / LABELS_FILE).write_text("{}")
        case "broken graph":
            (folder / "saved_model.pb").write_bytes(b"no graph")
        case "no graph":
            (folder / "saved_model.pb").unlink()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no labels", "has no sound assets.extra/labels.json, which says what its classes mean"),
        ("broken labels", "has no sound assets.extra/labels.json"),
        ("broken graph", "TensorFlow cannot load it"),
        ("no graph", "has neither a saved_model.pb nor versions that have one"),
        ("no folder", "there is no such folder"),
    ],
)
def test_a_folder_that_is_no_such_model(model_folder, tmp_path, kind, message):
    folder = tmp_path / "model"
    if kind != "no folder":
        shutil.copytree(model_folder / "9", folder)
        damaged(folder, kind)
    with pytest.raises(ModelError, match=message) as error:
        open_model(str(folder))
    assert "wanted is a SavedModel that this pipeline has pushed" in str(error.value)


def test_a_model_without_the_signature(model_folder):
    with pytest.raises(ModelError, match="has no signature 'confusion', its signatures: examples, serving_default"):
        open_model(str(model_folder), features.CONFUSION_SIGNATURE)


def test_a_model_serves_any_number_of_pictures(model):
    assert model.labels == LABELS
    assert model.serve([]) == []
    encoded = []
    for seed in (1, 2):
        content = io.BytesIO()
        picture_of(mask_of(seed)).save(content, "PNG")
        encoded.append(content.getvalue())
    for seed, prediction in zip((1, 2), model.serve(encoded), strict=True):
        np.testing.assert_array_equal(prediction.mask, mask_of(seed))
        assert prediction.mask.dtype == np.uint8
        np.testing.assert_array_equal(prediction.class_pixels, np.bincount(mask_of(seed).ravel(), minlength=4))


def test_a_model_says_which_picture_it_cannot_take(model):
    with pytest.raises(PictureRefusedError) as error:
        model.serve([b"no picture"])
    assert str(error.value) == (
        "entry 0 of the batch: found 10 bytes that are neither JPEG nor PNG; wanted whole JPEGs or PNGs"
    )


# What is written.


@pytest.fixture(scope="module")
def predicted(model_folder, tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """A folder of sound and unsound pictures, predicted into `out` with overlays and JSON."""
    place = tmp_path_factory.mktemp("predicted")
    turned = Image.Exif()
    turned[0x0112] = 6
    save(place / "in/plain.png", 1)
    save(place / "in/sub/plain.png", 2)
    save(place / "in/bitmap.bmp", 3)
    save(place / "in/web.webp", 4, lossless=True)
    save(place / "in/scan.tif", 5)
    save(place / "in/turned.png", 6, exif=turned)
    save(place / "in/other-suffix.jpg", 7, format="PNG")
    (place / "in/cut.png").write_bytes((place / "in/plain.png").read_bytes()[:200])
    (place / "in/empty.jpg").write_bytes(b"")
    (place / "in/text.png").write_text("this is no picture")
    Image.new("1", (20_000, 20_000)).save(place / "in/huge.png")
    Image.new("I;16", SIZE).save(place / "in/deep.png")
    return place, deeplab(model_folder, "in", "-o", "out", "--overlay", "--json", cwd=place)


SOUND = ("plain", "sub/plain", "bitmap", "web", "scan", "turned", "other-suffix")
UNSOUND = {
    "cut.png": "cannot be decoded",
    "empty.jpg": "0 bytes, an empty file",
    "text.png": "18 bytes that are no picture",
    "huge.png": "pixels than the 100,000,000 that are read",
    "deep.png": "a picture of 16 bits per channel",
}


@pytest.mark.parametrize(("seed", "name"), enumerate(SOUND, start=1))
def test_each_picture_gets_a_palette_png_of_its_name_and_size(predicted, seed, name):
    expected = mask_of(seed)
    if name == "turned":
        expected = np.rot90(expected, -1)
    image = Image.open(predicted[0] / "out" / f"{name}.png")
    assert image.mode == "P"
    np.testing.assert_array_equal(np.asarray(image), expected)
    palette = np.array(image.getpalette()).reshape(-1, 3)
    np.testing.assert_array_equal(palette[:3], [(0, 0, 0), (1, 2, 3), VOC_PALETTE[2]])


def test_the_overlay_shows_picture_and_classes(model, tmp_path):
    mask = np.repeat(np.array([[0, 2]], np.uint8), 32, axis=0).repeat(32, axis=1)
    picture_of(mask).save(tmp_path / "halves.png")
    (done,) = predict(model, [ChosenPicture(f"{tmp_path}/halves.png", "x")], f"{tmp_path}/out", with_overlay=True)
    assert done.overlay == f"{tmp_path}/out/x_overlay.jpg"
    overlay = np.asarray(Image.open(done.overlay)).astype(int)
    np.testing.assert_allclose(overlay[16, 16], (0, 100, 200), atol=4)
    np.testing.assert_allclose(overlay[16, 48], (np.array([2, 102, 202]) + VOC_PALETTE[2]) / 2, atol=4)


def test_nothing_else_is_written(predicted):
    written = {str(file.relative_to(predicted[0] / "out")) for file in (predicted[0] / "out").rglob("*.*")}
    assert written == {f"{name}{ending}" for name in SOUND for ending in (".png", "_overlay.jpg")}


def test_the_json_tells_what_is_in_the_pictures(predicted, model_folder):
    report = json.loads(predicted[1].stdout)
    assert report["model"] == str(model_folder / "9")
    assert len(report["pictures"]) == len(SOUND)
    entry = next(entry for entry in report["pictures"] if entry["picture"] == "in/plain.png")
    assert (entry["mask"], entry["overlay"]) == ("out/plain.png", "out/plain_overlay.jpg")
    assert (entry["width"], entry["height"]) == SIZE
    assert 0 < entry["seconds"] < 60
    counts = np.bincount(mask_of(1).ravel()) / mask_of(1).size
    assert entry["shares"] == {
        name: pytest.approx(share, abs=1e-6) for name, share in zip(LABELS.names, counts.tolist(), strict=False)
    }


def test_unsound_pictures_stop_no_other_and_are_told_at_the_end(predicted):
    done = predicted[1]
    assert done.returncode == 1
    assert f"5 of {5 + len(SOUND)} pictures have no mask" in done.stderr
    failures = {failure["picture"]: failure["reason"] for failure in json.loads(done.stdout)["failures"]}
    assert failures.keys() == {f"in/{name}" for name in UNSOUND}
    for name, reason in UNSOUND.items():
        assert reason in failures[f"in/{name}"]
        assert f"in/{name}: {failures[f'in/{name}']}" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_json_it_says_how_many_masks_there_are(model_folder, tmp_path):
    save(tmp_path / "a.png")
    done = deeplab(model_folder / "9", "a.png", "-o", "new/out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"new/out: masks of 1 pictures by {model_folder / '9'}, ")
    assert done.stderr == ""
    assert (tmp_path / "new/out/a.png").exists()
    assert not (tmp_path / "new/out/a_overlay.jpg").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone", "a.png", "-o", "out"], "gone: there is no such folder"),
        (["{model}", "gone.png", "-o", "out"], "gone.png: there is no such file or folder"),
        (["{model}", "a.png", "-o", "a.png"], "a.png cannot be written"),
        (["{model}", "a.png", "-o", "."], "a.png: would be written for a.png, but is a picture itself"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_loaded(model_folder, tmp_path, arguments, message):
    save(tmp_path / "a.png")
    done = deeplab(*(argument.format(model=model_folder) for argument in arguments), cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_what_had_failed_before_the_disk_was_full_is_told(model_folder, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_text("this is no picture")
    noise = np.random.default_rng(0).integers(0, 4, (200, 200), np.uint8)
    picture_of(noise).save(tmp_path / "in/b.png")
    done = deeplab(model_folder, "in", "-o", "out", cwd=tmp_path, preexec_fn=fill_the_disk)
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first.startswith("error: ") and "cannot be written (File too large); give another -o; before that:" in first
    assert second.startswith("in/a.png: 18 bytes that are no picture")
    assert not (tmp_path / "out/b.png").exists()


# TFRecords.


def write_examples(file: Path, *seeds: int | None) -> None:
    """A TFRecord file of pictures; None is one that is cut off."""
    import tensorflow as tf

    from components.tf_example import to_tf_example

    file.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(file), "GZIP" if file.suffix == ".gz" else "") as writer:
        for seed in seeds:
            content = io.BytesIO()
            picture_of(mask_of(seed or 0)).save(content, "PNG")
            encoded = content.getvalue()[: None if seed is not None else 50]
            values = {features.IMAGE_ENCODED: encoded, features.IMAGE_SOURCE_ID: f"picture {seed}".encode()}
            writer.write(to_tf_example(values).SerializeToString())


def masks_in(folder: Path) -> dict[str, np.ndarray]:
    """What was written, by the pictures' ids."""
    import tensorflow as tf

    found = {}
    for file in folder.glob("predictions-*.tfrecord.gz"):
        for record in tf.data.TFRecordDataset(str(file), "GZIP").as_numpy_iterator():
            feature = tf.train.Example.FromString(record).features.feature
            (picture_id,) = feature[features.IMAGE_SOURCE_ID].bytes_list.value
            (mask,) = feature[features.LABEL_ENCODED].bytes_list.value
            found[picture_id.decode()] = np.asarray(Image.open(io.BytesIO(mask)))
    return found


def test_tfrecords_become_tfrecords(model_folder, tmp_path):
    write_examples(tmp_path / "in/a.tfrecord", 1, 2)
    write_examples(tmp_path / "in/b.tfrecord.gz", 3)
    (tmp_path / "out").mkdir()
    # Of an earlier time, when there were more files.
    write_examples(tmp_path / "out/predictions-00001-of-00009.tfrecord.gz", 4)
    done = deeplab(model_folder, "--examples", "in/*", "-o", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"out: masks of 3 pictures of 2 files by {model_folder / '9'}, ")
    assert done.stderr == ""
    found = masks_in(tmp_path / "out")
    assert found.keys() == {"picture 1", "picture 2", "picture 3"}
    for seed in (1, 2, 3):
        np.testing.assert_array_equal(found[f"picture {seed}"], mask_of(seed))
    assert Labels.model_validate_json((tmp_path / "out/labels.json").read_bytes()) == LABELS
    others = {path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith("predictions-")}
    assert others == {"labels.json", "problems.jsonl"}


def test_a_record_that_is_refused_stops_no_other_and_is_told_at_the_end(model_folder, tmp_path):
    write_examples(tmp_path / "in.tfrecord", 1, None, 2)
    done = deeplab(model_folder, "--examples", "in.tfrecord", "-o", "out", "--json", cwd=tmp_path)
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert (report["model"], report["examples"], report["masks"]) == (str(model_folder / "9"), ["in.tfrecord"], 2)
    assert 0 < report["seconds"] < 300
    (failure,) = report["failures"]
    assert failure["picture"] == "in.tfrecord, record 2"
    assert failure["reason"] == "picture None: found cut off after 50 bytes; wanted whole JPEGs or PNGs"
    assert "1 records or files have no masks:\nin.tfrecord, record 2: picture None: found cut off" in done.stderr
    assert masks_in(tmp_path / "out").keys() == {"picture 1", "picture 2"}
    (line,) = (tmp_path / "out/problems.jsonl").read_text().splitlines()
    assert json.loads(line)["pair"] == "picture None"


def test_a_disk_without_room_is_told_in_words(model_folder, tmp_path):
    write_examples(tmp_path / "in.tfrecord", *range(100))
    done = deeplab(model_folder, "--examples", "in.tfrecord", "-o", "out", cwd=tmp_path, preexec_fn=fill_the_disk)
    assert done.returncode == 1
    assert done.stderr == "error: out cannot be written (File too large); give another -o\n"
    assert list((tmp_path / "out").iterdir()) == []


def test_an_interruption_leaves_the_folder_as_it_was(model_folder, tmp_path):
    write_examples(tmp_path / "once.tfrecord", 1)
    # So many that they take far longer than it takes to look whether they are at work.
    (tmp_path / "in.tfrecord").write_bytes((tmp_path / "once.tfrecord").read_bytes() * 100_000)
    write_examples(tmp_path / "out/predictions-00000-of-00001.tfrecord.gz", 4)
    command = [DEEPLAB, "predict", model_folder, "--examples", "in.tfrecord", "-o", "out"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    waited_until = time.monotonic() + 120
    while not list(tmp_path.glob("out/.incoming-*/beam-temp-*/*")):
        assert process.poll() is None and time.monotonic() < waited_until
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=300)
    assert process.returncode == 130
    assert told == "interrupted; no mask is written\n"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["predictions-00000-of-00001.tfrecord.gz"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["-o", "out"], 2, "give either PICTURES or --examples PATTERN"),
        (["a.png", "--examples", "in.tfrecord", "-o", "out"], 2, "give either PICTURES or --examples PATTERN"),
        (["--examples", "in.tfrecord", "--overlay", "-o", "out"], 2, "--overlay is for PICTURES"),
        (["--examples", "in.tfrecord", "--images", "x", "-o", "out"], 2, "--images is for PICTURES"),
        (["--examples", "gone*", "-o", "out"], 1, "gone*: matches no file; wanted are TFRecords"),
        (["--examples", "in.tfrecord", "-o", "in.tfrecord"], 1, "in.tfrecord cannot be written"),
    ],
)
def test_what_does_not_go_with_tfrecords(model_folder, tmp_path, arguments, status, message):
    save(tmp_path / "a.png")
    write_examples(tmp_path / "in.tfrecord", 1)
    done = deeplab(model_folder, *arguments, cwd=tmp_path)
    assert done.returncode == status
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_where_nothing_could_be_predicted_earlier_masks_stay(model_folder, tmp_path):
    write_examples(tmp_path / "in.tfrecord", None)
    write_examples(tmp_path / "out/predictions-00000-of-00001.tfrecord.gz", 4)
    before = (tmp_path / "out/predictions-00000-of-00001.tfrecord.gz").read_bytes()
    done = deeplab(model_folder, "--examples", "in.tfrecord", "-o", "out", cwd=tmp_path)
    assert done.returncode == 1
    assert "record 1: picture None: found cut off" in done.stderr
    (file,) = (tmp_path / "out").iterdir()
    assert file.read_bytes() == before


def test_an_output_that_is_a_link_to_the_pictures_replaces_none(tmp_path):
    save(tmp_path / "photos/a.png")
    (tmp_path / "out").symlink_to("photos")
    chosen, _ = choose([f"{tmp_path}/photos/a.png"])
    with pytest.raises(DataError, match="is a picture itself; use another -o"):
        check_output(chosen, f"{tmp_path}/out", [".png"])


def test_no_tfrecord_that_is_read_is_replaced(tmp_path):
    file = tmp_path / "predictions-00000-of-00001.tfrecord.gz"
    write_examples(file, 1)
    with pytest.raises(DataError, match="would be replaced by the masks of its pictures; use another -o"):
        choose_examples(f"{tmp_path}/*", str(tmp_path))
    assert choose_examples(f"{tmp_path}/*", str(tmp_path / "out")) == [str(file)]


@pytest.mark.parametrize("name", ["labels.json", "problems.jsonl"])
def test_only_an_earlier_predictions_files_are_replaced(tmp_path, name):
    write_examples(tmp_path / "in.tfrecord", 1)
    output = tmp_path / "out"
    output.mkdir()
    (output / name).write_text("mine")
    with pytest.raises(DataError, match=rf"{name}: is no earlier prediction's, and would be replaced; use another -o"):
        choose_examples(f"{tmp_path}/in*", str(output))
    write_examples(output / "predictions-00000-of-00001.tfrecord.gz", 1)
    assert choose_examples(f"{tmp_path}/in*", str(output)) == [str(tmp_path / "in.tfrecord")]


@pytest.mark.parametrize(("pattern", "output"), [("gs://bucket/*", "out"), ("in/*", "s3://bucket/out")])
def test_tfrecords_are_of_this_machine(pattern, output):
    with pytest.raises(DataError, match=r"://bucket/.*: TFRecords are read from this machine and written to it"):
        choose_examples(pattern, output)
