"""What the image is built from, and with what. Building it takes an engine: docs/kubeflow.md tells what was built."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
SOURCES = ("components", "kubeflow", "pipeline", "schema", "trainer")


def test_all_of_the_code_and_every_file_that_it_reads_is_installed(tmp_path):
    source = tmp_path / "source"
    for folder in SOURCES:
        shutil.copytree(REPOSITORY / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(REPOSITORY / file, source)
    wanted = {file.relative_to(source).as_posix() for folder in SOURCES for file in (source / folder).rglob("*.*")}
    build = "import setuptools.build_meta, sys; setuptools.build_meta.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, tmp_path], cwd=source, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    installed = set(zipfile.ZipFile(wheel).namelist())
    missing = {name for name in wanted - installed if (source / name).is_file() and not name.endswith(".md")}
    assert missing == set()


def test_the_image_is_made_from_nothing_but_the_project():
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    travels = {rule[1:] for rule in rules if rule.startswith("!")}
    assert travels == {*SOURCES, "configs", "pyproject.toml", "requirements", "LICENSE", "README.md"}


@pytest.mark.parametrize("name", ["requirements/base.txt", "requirements/gpu.txt", "requirements/uv.txt"])
def test_what_is_installed_is_locked_with_hashes_and_names_no_index(name):
    text = (REPOSITORY / name).read_text()
    requirements = re.split(r"\n(?=\S)", re.sub(r"(?m)^ *#.*\n", "", text).strip())
    assert all(re.match(r"[\w.-]+==\S+", entry) and "--hash=sha256:" in entry for entry in requirements)
    assert "://" not in text
    assert "--index" not in text


def test_the_gpu_image_has_the_same_packages_and_cuda():
    def pins(name: str) -> set[str]:
        return set(re.findall(r"(?m)^[\w.-]+==\S+", (REPOSITORY / name).read_text()))

    cpu, gpu = pins("requirements/base.txt"), pins("requirements/gpu.txt")
    assert cpu <= gpu
    assert {pin.partition("-")[0] for pin in gpu - cpu} == {"nvidia"}


class TestBuildImage:
    """`tools/build-image`, with stand-ins for the engines on the path."""

    @pytest.fixture
    def engines(self, tmp_path: Path):
        def make(**working: bool) -> Path:
            for name, works in working.items():
                program = tmp_path / name
                program.write_text(
                    "#!/bin/sh\n"
                    f'if [ "$1" = info ]; then echo "{name}: cannot connect" >&2; exit {0 if works else 1}; fi\n'
                    f'echo {name}; for argument; do echo "$argument"; done\n'
                )
                program.chmod(0o755)
            for tool in ("bash", "dirname", "env", "git", "sed", "sh", "tail", "timeout"):
                found = next(folder / tool for folder in map(Path, ("/usr/bin", "/bin")) if (folder / tool).exists())
                (tmp_path / tool).symlink_to(found)
            return tmp_path

        return make

    def _build(self, folder: Path, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(folder), "HOME": os.environ.get("HOME", "/"), **env}
        program = REPOSITORY / "tools/build-image"
        return subprocess.run([program, *options], env=environment, capture_output=True, text=True, check=False)

    def test_takes_the_first_engine_that_works(self, engines):
        result = self._build(engines(docker=False, podman=True, buildah=True))
        assert result.returncode == 0, result.stderr
        assert result.stdout.splitlines()[:4] == ["podman", "build", "--tag", "deeplab"]

    def test_gives_the_version_and_the_context(self, engines):
        arguments = self._build(engines(docker=True)).stdout.splitlines()
        assert f"VERSION={PYPROJECT['project']['version']}" in arguments
        assert arguments[-1] == "."

    def test_name_base_gpu_and_further_options_are_given_on(self, engines):
        result = self._build(engines(buildah=True), "--build-arg", "A=b", IMAGE="a/b:1", BASE="mine", GPU="1")
        arguments = result.stdout.splitlines()
        assert arguments[:4] == ["buildah", "build", "--tag", "a/b:1"]
        assert {"BASE=mine", "REQUIREMENTS=requirements/gpu.txt", "A=b"} <= set(arguments)

    def test_without_a_base_the_dockerfile_decides(self, engines):
        assert "BASE=" not in self._build(engines(docker=True)).stdout

    def test_without_an_engine_it_says_why_of_each(self, engines):
        result = self._build(engines(docker=False))
        assert result.returncode == 1
        assert "docker: does not work: docker: cannot connect" in result.stderr
        assert "podman: not installed" in result.stderr
        assert "docs/kubeflow.md" in result.stderr
