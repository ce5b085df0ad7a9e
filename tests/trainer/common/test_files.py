"""Data in folders and in object stores, which are servers on this machine that speak S3's and Google's HTTP."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import numpy as np
import pytest
from gcp_storage_emulator.server import create_server
from moto.server import ThreadedMotoServer

from components.artifacts.problems import DataError
from components.pusher import versions
from components.segmentation_example_gen.dataset import read_dataset
from components.segmentation_example_gen.pairs import fingerprint, read_pair
from components.segmentation_example_gen.sources import FolderData, VocData
from components.segmentation_example_gen.sources.folders import FolderSplit, FolderSplits
from trainer.common import files

SERVER_LOGS = {"s3": "werkzeug", "gs": "gcp_storage_emulator.server"}
"""They log each request, as `GET /path?query`."""
PICTURE = "JPEGImages/2012_000001.jpg"
MASK = "SegmentationClass/2012_000001.png"


@dataclass
class Bucket:
    """A bucket of its own in one of the stores."""

    uri: str
    requests: list[str] = field(default_factory=list)
    """What its server was asked to send: path and query."""

    @property
    def system(self) -> fsspec.AbstractFileSystem:
        """A client beside the one that is tested."""
        return fsspec.filesystem(self.uri.partition("://")[0], use_listings_cache=False)

    def put(self, key: str, content: bytes) -> None:
        self.system.pipe_file(f"{self.uri}/{key}", content)

    def upload(self, folder: Path, prefix: str) -> str:
        for file in folder.rglob("*"):
            if file.is_file():
                self.put(f"{prefix}/{file.relative_to(folder)}", file.read_bytes())
        return f"{self.uri}/{prefix}"

    def fetched(self) -> list[str]:
        """The files that were read."""
        found = [re.search(r"[^/]+\.(jpg|png|txt)(?=$|\?)", path.replace("%2F", "/")) for path in self.requests]
        return [match[0] for match in found if match]


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    """Environment variables for clients that are made inside; the clients are forgotten afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        for key, value in {"no_proxy": "127.0.0.1", **values}.items():
            patch.setenv(key, value)
        forget_clients()
        yield
    forget_clients()


def forget_clients() -> None:
    files._file_system.cache_clear()
    for protocol in ("s3", "gs"):
        fsspec.get_filesystem_class(protocol).clear_instance_cache()


@contextlib.contextmanager
def s3_at(url: str) -> Iterator[None]:
    with environment(
        AWS_ENDPOINT_URL=url,
        AWS_ACCESS_KEY_ID="key",
        AWS_SECRET_ACCESS_KEY="secret",
        AWS_DEFAULT_REGION="us-east-1",
        AWS_EC2_METADATA_DISABLED="true",
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
    ):
        yield


@contextlib.contextmanager
def gs_at(url: str) -> Iterator[None]:
    # Without credentials, and a machine of Google's to ask for them, the client is anonymous.
    with environment(STORAGE_EMULATOR_HOST=url, NO_GCE_CHECK="true", GOOGLE_APPLICATION_CREDENTIALS=os.devnull):
        yield


CLIENTS = {"s3": s3_at, "gs": gs_at}


@pytest.fixture(scope="module", params=CLIENTS)
def store(request) -> Iterator[str]:
    """The protocol of a store whose server runs and whose client finds it."""
    if request.param == "s3":
        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
    else:
        server = create_server("127.0.0.1", 0, in_memory=True)
        server.start()
        host, port = server._api._httpd.server_address
    with CLIENTS[request.param](f"http://{host}:{port}"):
        yield request.param
    server.stop()


@pytest.fixture
def bucket(store, request) -> Iterator[Bucket]:
    name = re.sub("[^a-z0-9]+", "-", request.node.name)[:60].strip("-")
    made = Bucket(f"{store}://{name}")
    made.system.mkdir(name)
    log = logging.getLogger(SERVER_LOGS[store])
    log.setLevel(logging.INFO)

    def note(record: logging.LogRecord) -> bool:
        made.requests.extend(re.findall(r'"GET (\S+)', record.getMessage()))
        return False

    log.addFilter(note)
    yield made
    log.removeFilter(note)


@pytest.fixture
def remote(bucket, devkit_root) -> VocData:
    """The devkit in a bucket."""
    return VocData(root=bucket.upload(devkit_root, "voc"))


# Data sets in object stores.


def test_a_bucket_has_the_same_pairs_as_the_folder_that_was_uploaded(remote, devkit_root):
    here, there = read_dataset(VocData(root=devkit_root)), read_dataset(remote)
    assert there.problems == []
    assert {name: [pair.id for pair in pairs] for name, pairs in there.splits.items()} == {
        name: [pair.id for pair in pairs] for name, pairs in here.splits.items()
    }
    for pair, pair_here in zip(there.splits["eval"], here.splits["eval"], strict=True):
        sample, sample_here = read_pair(pair, remote.labels), read_pair(pair_here, remote.labels)
        assert sample.picture == sample_here.picture
        np.testing.assert_array_equal(sample.mask, sample_here.mask)


def test_other_contents_of_the_same_size_have_another_fingerprint(remote, bucket, devkit_root):
    before = fingerprint(read_dataset(remote).splits)
    assert fingerprint(read_dataset(remote).splits) == before
    for file in (PICTURE, MASK):
        content = (devkit_root / file).read_bytes()
        bucket.put(f"voc/{file}", content[:-1] + bytes([content[-1] ^ 1]))
        assert fingerprint(read_dataset(remote).splits) != before
        bucket.put(f"voc/{file}", content)
        assert fingerprint(read_dataset(remote).splits) == before


def test_a_fingerprint_reads_lists_but_no_pictures_and_masks(remote, bucket):
    dataset = read_dataset(remote)
    fingerprint(dataset.splits)
    assert bucket.fetched() == ["train.txt", "val.txt"]
    read_pair(dataset.splits["train"][0], remote.labels)
    assert bucket.fetched()[2:] == ["2012_000001.jpg", "2012_000001.png"]


def test_a_mask_that_is_missing_is_named_by_its_uri(remote, bucket):
    bucket.system.rm_file(f"{bucket.uri}/voc/{MASK}")
    (problem,) = read_dataset(remote).problems
    assert str(problem) == (
        f"{bucket.uri}/voc/ImageSets/Segmentation/train.txt, line 1: '2012_000001' has no mask: "
        f"{bucket.uri}/voc/{MASK} is not there"
    )


def test_a_picture_that_is_gone_since_it_was_listed_is_named_by_its_uri(remote, bucket):
    dataset = read_dataset(remote)
    bucket.system.rm_file(f"{bucket.uri}/voc/{PICTURE}")
    with pytest.raises(DataError, match=re.escape(f"{bucket.uri}/voc/{PICTURE}: cannot be ")):
        read_pair(dataset.splits["train"][0], remote.labels)


def test_the_worker_processes_of_check_read_a_bucket_too(remote):
    """They are forks of the process that has listed it."""
    deeplab = Path(sys.executable).with_name("deeplab")
    config = Path(__file__).parents[3] / "configs" / "demo.yaml"
    checked = subprocess.run(
        [deeplab, "check", config, "--data", remote.root], capture_output=True, text=True, timeout=120
    )
    assert checked.returncode == 0, checked.stderr
    assert f"{remote.root}: sound" in checked.stdout


def test_spans_and_a_new_one_while_the_process_lives(bucket, devkit_root):
    data = VocData(pattern=f"{bucket.uri}/span-{{SPAN}}/voc")
    for span in (2, 9):
        bucket.upload(devkit_root, f"span-{span}/voc")
    assert read_dataset(data).spans == (9,)
    bucket.upload(devkit_root, "span-10/voc")
    dataset = read_dataset(data.model_copy(update={"window": 2}))
    assert dataset.spans == (9, 10)
    assert {pair.id.partition("/")[0] for pair in dataset.splits["eval"]} == {"9", "10"}
    assert dataset.splits["eval"][-1].image.startswith(f"{bucket.uri}/span-10/voc/JPEGImages/")


def test_pictures_in_folders_of_folders(bucket, devkit_root):
    for kind, suffix in (("JPEGImages", "jpg"), ("SegmentationClass", "png")):
        for number, file in enumerate(sorted((devkit_root / kind).iterdir())[:4]):
            folder = f"{kind}/street-{number % 2}"
            bucket.put(f"{folder}/{file.stem}.{suffix}", file.read_bytes())
            # As consoles of object stores make folders; and as a Mac leaves files behind.
            bucket.put(f"{folder}/", b"")
            bucket.put(f"{folder}/._{file.name}", b"")
    split = FolderSplit(images="JPEGImages", masks="SegmentationClass")
    dataset = read_dataset(FolderData(root=bucket.uri, splits=FolderSplits(train=split, eval=split)))
    assert dataset.problems == []
    assert [pair.id for pair in dataset.splits["train"]] == [
        "street-0/2012_000001",
        "street-0/2012_000003",
        "street-1/2012_000002",
        "street-1/2012_000004",
    ]


# Models and records in object stores.


def folder_of(tmp_path: Path, **contents: str) -> Path:
    """A folder with some files."""
    for name, content in contents.items():
        file = tmp_path / "folder" / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return tmp_path / "folder"


def test_a_folder_goes_there_and_back(bucket, tmp_path):
    folder = folder_of(tmp_path, saved_model="graph", variables__data="weights")
    files.upload_folder(str(folder), f"{bucket.uri}/model", last="saved_model")
    files.download_folder(f"{bucket.uri}/model", str(tmp_path / "back"))
    assert (tmp_path / "back" / "saved_model").read_text() == "graph"
    assert (tmp_path / "back" / "variables" / "data").read_text() == "weights"
    with pytest.raises(FileNotFoundError):
        files.download_folder(f"{bucket.uri}/gone", str(tmp_path / "nothing"))


def test_a_file_and_a_folder_are_fetched_to_this_machine(bucket, tmp_path):
    folder = folder_of(tmp_path, saved_model="graph", variables__data="weights")
    files.upload_folder(str(folder), f"{bucket.uri}/models/1")
    copy = Path(files.fetched(f"{bucket.uri}/models/1", str(tmp_path / "here")))
    assert copy.is_relative_to(tmp_path / "here")
    assert sorted(files.list_files(str(copy), recursive=True)) == ["saved_model", "variables/data"]
    file = files.fetched(f"{bucket.uri}/models/1/variables/data", str(tmp_path / "here"))
    assert Path(file).read_text() == "weights"
    with pytest.raises(FileNotFoundError):
        files.fetched(f"{bucket.uri}/models/2", str(tmp_path / "here"))


def test_what_is_on_this_machine_is_not_copied(tmp_path):
    assert files.fetched(str(tmp_path), str(tmp_path / "here")) == str(tmp_path)
    assert not (tmp_path / "here").exists()
    with pytest.raises(FileNotFoundError, match="gone"):
        files.fetched(str(tmp_path / "gone"), str(tmp_path / "here"))


def test_the_weights_in_a_bucket_are_read_and_other_contents_are_noticed(bucket, tmp_path):
    from pipeline.config.config import ConfigError
    from pipeline.config.loading import load_config
    from pipeline.pipeline import weights_fingerprint

    config = tmp_path / "config.yaml"
    place = f"{bucket.uri}/models/1"
    config.write_text(f"name: x\nbase_model: MobileNetV2\ntrain: {{init_from: [latest_blessed, '{place}']}}\n")
    with pytest.raises(ConfigError, match=rf"train\.init_from: {place} cannot be read: No such file"):
        weights_fingerprint(load_config(config))
    found = set()
    for content in (b"one", b"two"):
        bucket.put("models/1/variables/data", content)
        found.add(weights_fingerprint(load_config(config)))
    bucket.put("models/1/assets.extra/labels.json", b"classes")
    found.add(weights_fingerprint(load_config(config)))
    assert len(found) == 3
    place = f"{place}/variables/data"
    assert weights_fingerprint(load_config(config, overrides=[f"train.init_from={place}"])) is not None


def test_a_blessed_model_is_pushed_into_a_bucket_and_found_there(bucket, tmp_path):
    from made_evaluation import evaluation_of
    from tfx.types import standard_artifacts

    from components.artifacts.evaluation import EVALUATION_FILE
    from components.pusher.component import Pusher
    from components.pusher.model_card import CARD_JSON, CARD_MARKDOWN, CardFacts
    from kubeflow.run_record.record import last_pushed_model
    from schema.labels import VOC2012
    from trainer.common.training_history import EFFECTIVE_FILE

    assert last_pushed_model(f"{bucket.uri}/models") is None
    folder_of(
        tmp_path,
        **{
            "Format-Serving__saved_model.pb": "graph",
            "Format-Serving__variables__data": "weights",
            EVALUATION_FILE: evaluation_of(VOC2012).model_dump_json(),
            EFFECTIVE_FILE: "{}",
        },
    )
    inputs: dict[str, list] = {}
    for key, kind in (
        ("model", standard_artifacts.Model),
        ("model_blessing", standard_artifacts.ModelBlessing),
        ("evaluation", standard_artifacts.ModelEvaluation),
        ("statistics", standard_artifacts.ExampleStatistics),
        ("model_run", standard_artifacts.ModelRun),
    ):
        inputs[key] = [kind()]
        inputs[key][0].uri = str(tmp_path / "folder")
    inputs["statistics"][0].split_names = "[]"
    facts = CardFacts(name="x", deeplab="0", base_model="MobileNetV2", image_size=65, output_stride=16, data={})
    for blessed in (0, 1):
        inputs["model_blessing"][0].set_int_custom_property("blessed", blessed)
        pushed = standard_artifacts.PushedModel()
        pushed.uri = str(tmp_path / "pushed")
        properties = {"destination": f"{bucket.uri}/models", "card_facts": facts.model_dump_json()}
        Pusher.EXECUTOR_SPEC.executor_class().Do(inputs, {"pushed_model": [pushed]}, properties)
        found = last_pushed_model(f"{bucket.uri}/models")
        assert (pushed.get_string_custom_property("pushed_destination") or None) == found
        assert (found is not None) == bool(blessed)
    assert sorted(files.list_files(found, recursive=True)) == [
        CARD_JSON,
        CARD_MARKDOWN,
        "saved_model.pb",
        "variables/data",
    ]


@pytest.fixture
def model(tmp_path) -> str:
    """A folder with the files of a SavedModel."""
    return str(folder_of(tmp_path, **{"saved_model.pb": "graph", "variables__data": "weights"}))


def test_in_a_bucket_a_version_without_the_file_that_is_written_last_does_not_count(bucket, model):
    place = f"{bucket.uri}/models"
    version = versions.push(model, place)
    bucket.put("models/99999999999/variables/data", b"weights")
    assert versions.current_version(place) == version
    bucket.system.rm(f"{place}/latest.json")
    assert versions.current_version(place) == version
    # But its number is taken.
    assert versions.push(model, place) == "100000000000"


def test_versions_in_a_bucket_are_removed_and_rolled_back(bucket, model):
    place = f"{bucket.uri}/models"
    made = [versions.push(model, place, keep=2) for _ in range(3)]
    assert sorted(files.list_folders(place)) == made[1:]
    new, origin = versions.rollback(place)
    assert origin == made[1]
    assert versions.current_version(place) == new
    assert sorted(files.list_files(f"{place}/{new}", recursive=True)) == ["saved_model.pb", "variables/data"]
    with pytest.raises(versions.PushError, match=f"{place}: there is no version 7; there are {new}, "):
        versions.rollback(place, to="7")


def test_what_killed_pushes_have_left_in_a_bucket_is_cleared_away_after_a_day(bucket, model):
    place = f"{bucket.uri}/models"
    long_ago, just_now = time.time() - 90_000, time.time() - 3_600
    for folder, begun in ((1, long_ago), (2, just_now)):
        bucket.put(f"models/{folder}/.push-begun", str(int(begun)).encode())
        bucket.put(f"models/{folder}/variables/data", b"weights")
    # Of a push before, and of none.
    bucket.put("models/3/.push-begun", str(int(long_ago)).encode())
    bucket.put("models/3/saved_model.pb", b"graph")
    bucket.put("models/4/photo.jpg", b"picture")
    version = versions.push(model, place)
    assert sorted(files.list_folders(place)) == sorted(["2", "3", "4", version])


def test_a_push_that_a_bucket_refuses_leaves_nothing_there(bucket, model, monkeypatch):
    place = f"{bucket.uri}/models"
    version = versions.push(model, place)
    upload = files.upload_file

    def refuse_the_last(file: str, uri: str) -> None:
        if uri.endswith("saved_model.pb"):
            raise OSError(5, "ClientError: Access Denied", uri)
        upload(file, uri)

    monkeypatch.setattr(files, "upload_file", refuse_the_last)
    with pytest.raises(versions.PushError, match=rf"{place}: cannot be pushed into \(ClientError: Access Denied\)"):
        versions.push(model, place)
    assert files.list_folders(place) == [version]
    assert versions.current_version(place) == version


def test_kubeflows_own_store_speaks_s3():
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with s3_at(f"http://{host}:{port}"):
        fsspec.filesystem("s3").mkdir("mlpipeline")
        files.write_bytes("minio://mlpipeline/runs/1/record", b"written")
        assert files.read_bytes("s3://mlpipeline/runs/1/record") == b"written"
        assert files.list_folders("minio://mlpipeline/runs") == ["1"]
        assert list(files.list_files("minio://mlpipeline/runs", recursive=True)) == ["1/record"]
    server.stop()


# What an object store refuses.


@pytest.mark.parametrize("place", [{"root": "{}-gone/voc"}, {"root": "{}/gone"}, {"pattern": "{}-gone/{{SPAN}}"}])
def test_a_place_that_is_not_there_is_said_in_words(bucket, place):
    with pytest.raises(DataError) as error:
        read_dataset(VocData(**{key: value.format(bucket.uri) for key, value in place.items()}))
    message = str(error.value)
    assert re.search("[-/]gone", message) and re.search("[Nn]o such", message)
    assert not re.search("Traceback|ClientError|HttpError|botocore", message)


@pytest.mark.parametrize("protocol", CLIENTS)
@pytest.mark.parametrize("code", [401, 403])
def test_a_store_that_refuses_is_an_os_error_with_the_uri(protocol, code):
    class Refuses(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(code)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refuses)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    uri = f"{protocol}://bucket/voc"
    with CLIENTS[protocol](f"http://127.0.0.1:{server.server_port}"):
        for call in (files.read_bytes, files.list_files, files.list_folders):
            with pytest.raises(OSError) as error:
                call(uri)
            assert error.value.filename == uri and error.value.strerror
        for place in ({"root": uri}, {"pattern": uri + "/{SPAN}"}):
            with pytest.raises(DataError, match=rf"{uri}.*: cannot be read: \w+"):
                read_dataset(VocData(**place))
    server.shutdown()
    server.server_close()


def test_missing_credentials_are_said_in_words(monkeypatch):
    with s3_at("http://127.0.0.1:9"):
        for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(key)
        with pytest.raises(DataError, match=r"s3://bucket/voc/JPEGImages: cannot be read: .*credentials"):
            read_dataset(VocData(root="s3://bucket/voc"))


def test_a_protocol_that_nobody_knows():
    with pytest.raises(OSError, match="nobody"):
        files.list_files("nobody://bucket/voc")


# Folders on this machine.


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    files.write_bytes(str(tmp_path / "folder" / "file"), b"old")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(os, "fsync", full)
        files.write_bytes(str(tmp_path / "folder" / "file"), b"new")
    assert {file.name: file.read_bytes() for file in (tmp_path / "folder").iterdir()} == {"file": b"old"}
    files.write_bytes(str(tmp_path / "folder" / "file"), b"new")
    assert {file.name: file.read_bytes() for file in (tmp_path / "folder").iterdir()} == {"file": b"new"}


def test_hidden_files_are_left_out(tmp_path):
    for file in ("a.jpg", ".hidden.jpg", "._a.jpg", "sub/b.jpg", ".hidden/c.jpg"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    assert set(files.list_files(str(tmp_path))) == {"a.jpg"}
    assert set(files.list_files(str(tmp_path), recursive=True)) == {"a.jpg", "sub/b.jpg"}


def test_folders_behind_links_are_listed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.jpg").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "elsewhere")
    assert set(files.list_files(str(tmp_path / "data"), recursive=True)) == {"linked/a.jpg"}
    assert files.list_folders(str(tmp_path / "data")) == ["linked"]


@pytest.mark.parametrize("recursive", [False, True])
def test_a_folder_that_is_not_there_or_no_folder(tmp_path, recursive):
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError):
        files.list_files(str(tmp_path / "gone"), recursive=recursive)
    with pytest.raises(NotADirectoryError):
        files.list_files(str(tmp_path / "file"), recursive=recursive)


@pytest.mark.parametrize("recursive", [False, True])
def test_a_folder_that_cannot_be_read(tmp_path, recursive):
    # Not even by root, who may read what nobody else may.
    closed = tmp_path / "closed"
    closed.symlink_to(closed)
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        files.list_files(str(closed), recursive=recursive)
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        files.list_folders(str(closed))


@pytest.mark.parametrize("gone", [False, True])
def test_a_folder_of_spans_that_cannot_be_read_is_named(tmp_path, gone):
    closed = tmp_path / "closed"
    if not gone:
        closed.touch()
    with pytest.raises(DataError, match=r"closed: cannot be read: (No such file|Not a directory)"):
        read_dataset(VocData(pattern=str(closed / "{SPAN}")))


def test_a_local_fingerprint_goes_by_the_contents_and_not_the_time(tmp_path):
    file = tmp_path / "a.jpg"
    file.write_bytes(b"one")
    before = files.fingerprints([str(file)])
    os.utime(file, (0, 0))
    assert files.fingerprints([str(file)]) == before
    file.write_bytes(b"two")
    assert files.fingerprints([str(file)]) != before


@pytest.mark.parametrize(
    ("folder", "parts", "joined"),
    [
        ("s3://bucket/", ("voc", "a.jpg"), "s3://bucket/voc/a.jpg"),
        ("gs://bucket/voc", (), "gs://bucket/voc"),
        ("/data/voc/", ("a.jpg",), "/data/voc/a.jpg"),
    ],
)
def test_places_are_joined_by_one_slash(folder, parts, joined):
    assert files.join(folder, *parts) == joined
