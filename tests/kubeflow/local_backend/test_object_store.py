"""The object store from a step's side: fsspec in a program that the backend starts."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kubeflow.local_backend.containers import OBJECT_STORE, OBJECT_STORE_PACKAGE


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., str]:
    """Runs Python code as a step's program is run."""

    def run(code: str, *paths: Path) -> str:
        search = os.pathsep.join(map(str, (OBJECT_STORE_PACKAGE, *paths)))
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": search, OBJECT_STORE: str(tmp_path / "store")}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def test_each_scheme_has_its_own_folder(python: Callable[..., str], tmp_path: Path) -> None:
    python(
        "import fsspec\n"
        "for scheme in ('gs', 'gcs', 's3', 's3a', 'minio'):\n"
        "    with fsspec.open(f'{scheme}://bucket/{scheme}/key', 'w') as file: file.write(scheme)\n"
        "    assert fsspec.open(f'{scheme}://bucket/{scheme}/key').open().read() == scheme.encode()\n"
    )
    found = {path.relative_to(tmp_path / "store").as_posix() for path in tmp_path.rglob("key")}
    assert found == {f"gs/bucket/{name}/key" for name in ("gs", "gcs")} | {
        "s3/bucket/s3/key",
        "s3/bucket/s3a/key",
        "minio/bucket/minio/key",
    }


def test_it_behaves_as_an_object_store(python: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "local/deep").mkdir(parents=True)
    (tmp_path / "local/deep/file").write_text("12345")
    python(
        "import fsspec\n"
        "fs = fsspec.filesystem('gs', token='anon', project='p')\n"
        "def missing(action, *args, **kwargs):\n"
        "    try: action(*args, **kwargs)\n"
        "    except FileNotFoundError: return True\n"
        "    return False\n"
        "assert missing(fs.ls, 'gs://bucket') and missing(fs.ls, 'bucket/none') and missing(fs.info, 'bucket/none')\n"
        "fs.makedirs('gs://bucket/empty'); fs.mkdir('bucket/empty'); fs.rmdir('bucket/empty')\n"
        "assert not fs.exists('gs://bucket/empty') and missing(fs.ls, 'gs://bucket/empty')\n"
        f"fs.put('{tmp_path}/local/', 'gs://bucket/a/', recursive=True)\n"
        "assert fs.find('gs://bucket/a') == ['bucket/a/deep/file'], fs.find('gs://bucket/a')\n"
        "assert fs.ls('gs://bucket/a', detail=False) == ['bucket/a/deep']\n"
        "assert fs.isdir('bucket/a/deep') and fs.isfile('bucket/a/deep/file') and fs.size('bucket/a/deep/file') == 5\n"
        "assert fs.ls('bucket/a/deep/file')[0]['name'] == 'bucket/a/deep/file'\n"
        "assert fs.glob('gs://bucket/*/*/f*') == ['bucket/a/deep/file']\n"
        "assert fs.cat('gs://bucket/a/deep/file') == b'12345'\n"
        "assert missing(fs.open, 'gs://bucket/a/deep', 'rb')\n"
        "file = fs.open('bucket/a/new', 'wb'); file.write(b'1'); file.flush()\n"
        "assert not fs.exists('bucket/a/new'); file.close(); assert fs.cat('bucket/a/new') == b'1'\n"
        "with fs.open('bucket/a/new', 'ab') as file: file.write(b'2')\n"
        "assert fs.cat('bucket/a/new') == b'12'\n"
        "try: fs.open('bucket/a/new', 'xb'); raise SystemExit('it was there')\n"
        "except FileExistsError: pass\n"
        "fs.copy('gs://bucket/a/', 'gs://bucket/b/', recursive=True); fs.mv('bucket/b/new', 'bucket/b/newer')\n"
        "assert fs.find('bucket/b') == ['bucket/b/deep/file', 'bucket/b/newer'], fs.find('bucket/b')\n"
        "fs.get('gs://bucket/b/', '" + str(tmp_path) + "/back/', recursive=True)\n"
        "fs.rm('gs://bucket/a', recursive=True)\n"
        "assert missing(fs.ls, 'gs://bucket/a') and missing(fs.rm, 'gs://bucket/a')\n"
        "assert fs.ls('gs://', detail=False) == ['bucket']\n"
        "assert fs.modified('bucket/b/newer') == fs.created('bucket/b/newer')\n"
        "try: fs.open('bucket/../../x', 'wb'); raise SystemExit('it climbed')\n"
        "except ValueError: pass\n"
    )
    assert (tmp_path / "back/deep/file").read_text() == "12345"
    assert not list((tmp_path / "store/.uploads").iterdir())


def test_programs_start_as_always(python: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own/sitecustomize.py").write_text("import sys; sys.own = True")
    loaded = python("import sys; print(sys.own, 'fsspec' in sys.modules)", tmp_path / "own")
    assert loaded == "True False"


def test_file_systems_of_the_machine_stay(python: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("1")
    assert python(f"import fsspec; print(fsspec.open('{tmp_path}/file').open().read())") == "b'1'"
