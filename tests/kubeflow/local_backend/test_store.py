"""The folder in the place of the object store, from the launcher's side."""

from pathlib import Path

import pytest

from kubeflow.local_backend.store import Location, LocationError, ObjectStore


@pytest.mark.parametrize(
    ("uri", "location"),
    [
        ("gs://b/a/c", Location("gs", "b", "a/c")),
        ("s3://b", Location("s3", "b", "")),
        ("minio://b/a/?endpoint=host:9000", Location("minio", "b", "a")),
    ],
)
def test_locations(uri: str, location: Location) -> None:
    assert Location.parse(uri) == location


@pytest.mark.parametrize(
    "uri", ["", "/a", "file:///a", "hdfs://b/a", "mem://b", "gs://", "gs:///a", "gs://b/../c", "b"]
)
def test_what_is_no_location(uri: str) -> None:
    with pytest.raises(LocationError):
        Location.parse(uri)


def test_what_a_location_holds() -> None:
    root = Location.parse("gs://b/a")
    assert root.holds(root)
    assert root.holds(Location.parse("gs://b/a/c"))
    assert not root.holds(Location.parse("gs://b/ab"))
    assert not root.holds(Location.parse("s3://b/a/c"))
    assert Location.parse("gs://b").holds(Location.parse("gs://b/ab"))
    assert Location.parse("gs://b/a/").uri == "gs://b/a"


def test_a_file_goes_up_and_down(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path / "store")
    (tmp_path / "file").write_bytes(b"12345")
    assert store.upload(tmp_path / "file", Location.parse("gs://b/key")) == 5
    assert store.download(Location.parse("gs://b/key"), tmp_path / "fresh/key") == 5
    assert (tmp_path / "fresh/key").read_bytes() == b"12345"


def test_a_folder_goes_up_without_its_empty_folders(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path / "store")
    for name in ("a", "deep/er/b"):
        file = tmp_path / "folder" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    (tmp_path / "folder/empty").mkdir()
    (tmp_path / "folder/link").symlink_to(tmp_path / "folder/a")
    assert store.upload(tmp_path / "folder", Location.parse("gs://b/key")) == 11
    assert store.download(Location.parse("gs://b/key"), tmp_path / "fresh") == 11
    names = {path.relative_to(tmp_path / "fresh").as_posix() for path in (tmp_path / "fresh").rglob("*")}
    assert names == {"a", "deep", "deep/er", "deep/er/b", "link"}


def test_a_link_to_a_folder_cannot_go_up(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/link").symlink_to(tmp_path)
    with pytest.raises(IsADirectoryError):
        ObjectStore(tmp_path / "store").upload(tmp_path / "folder", Location.parse("gs://b/key"))


def test_a_missing_key_leaves_nothing(tmp_path: Path) -> None:
    assert ObjectStore(tmp_path / "store").download(Location.parse("gs://b/key"), tmp_path / "fresh") == 0
    assert not (tmp_path / "fresh").exists()


def test_numbers_are_never_given_twice(tmp_path: Path) -> None:
    numbers = [ObjectStore(tmp_path / "store").next_id() for _ in range(3)]
    assert numbers == [1, 2, 3]
