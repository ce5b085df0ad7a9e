"""Versions in a folder of this machine. In buckets: tests/trainer/common/test_files.py."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from components.pusher import versions
from components.pusher.versions import PushError, current_version, push, rollback, rollbacks
from trainer.common import files

SIZES = {"saved_model.pb": 5_000, "variables/variables.index": 300, "variables/variables.data": 200_000}
"""Of a model's files, in bytes."""


@pytest.fixture
def model(tmp_path) -> Callable[[str], str]:
    """Makes a model whose files are full of one letter."""

    def make(letter: str) -> str:
        for name, size in SIZES.items():
            file = tmp_path / "models" / letter / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(letter * size)
        return str(tmp_path / "models" / letter)

    return make


@pytest.fixture
def served(tmp_path) -> Path:
    """The folder that is pushed into."""
    return tmp_path / "served"


def seen(served: Path) -> dict[str, str]:
    """What a server sees: the letter of each version's model, which must be whole."""
    found = {}
    for version in served.iterdir() if served.exists() else ():
        if version.name.isdecimal():
            texts = {str(file.relative_to(version)): file.read_text() for file in version.rglob("*") if file.is_file()}
            letter = texts["saved_model.pb"][0]
            assert texts == {name: letter * size for name, size in SIZES.items()}
            found[version.name] = letter
    return dict(sorted(found.items(), key=lambda item: int(item[0])))


def latest(served: Path) -> dict:
    return json.loads((served / "latest.json").read_text())


@pytest.fixture
def clock(monkeypatch) -> Callable[[int], None]:
    """Sets the time."""
    return lambda now: monkeypatch.setattr(time, "time", lambda: float(now))


def in_a_child(work: Callable[[], object]) -> tuple[int, str]:
    """Does something in a process of its own: the signal that ended it, or 0, and what a PushError said."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work()
        except PushError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        message = pipe.read()
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), message


# What is there after a push.


def test_a_version_is_numbered_by_the_clock_and_latest_names_it(model, served, clock):
    clock(1_795_360_014)
    version = push(model("a"), str(served))
    assert version == "1795360014"
    assert seen(served) == {version: "a"}
    assert latest(served)["version"] == current_version(str(served)) == version


def test_numbers_rise_although_the_clock_goes_back(model, served, clock):
    made = []
    for now in (2_000, 2_000, 1_000, 1_500, 3_000):
        clock(now)
        made.append(push(model("a"), str(served)))
    assert made == ["2000", "2001", "2002", "2003", "3000"]


def test_a_number_is_higher_than_all_that_are_there_and_than_the_last_one(model, served, clock):
    clock(1_000)
    (served / "5000" / "of somebody else").mkdir(parents=True)
    assert push(model("a"), str(served)) == "5001"
    versions.files.withdraw_folder(str(served / "5001"), first="saved_model.pb")
    assert push(model("b"), str(served)) == "5002"


def test_nothing_is_pushed_that_is_no_saved_model(served, tmp_path):
    with pytest.raises(PushError, match=r"is no SavedModel, there is no saved_model\.pb"):
        push(str(tmp_path), str(served))
    assert seen(served) == {}


def test_the_last_versions_are_kept(model, served):
    made = [push(model(letter), str(served), keep=2) for letter in "abcd"]
    assert seen(served) == {made[2]: "c", made[3]: "d"}
    assert [file.name for file in served.iterdir() if file.name.startswith(".outgoing")] == []


def test_all_versions_are_kept_unless_said_otherwise(model, served):
    for letter in "abcd":
        push(model(letter), str(served))
    assert list(seen(served).values()) == ["a", "b", "c", "d"]


def test_versions_that_cannot_be_removed_fail_no_push(model, served, monkeypatch, caplog):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    push(model("a"), str(served))
    monkeypatch.setattr(files, "withdraw_folder", refuse)
    push(model("b"), str(served), keep=1)
    assert list(seen(served).values()) == ["a", "b"]
    assert "earlier versions cannot be removed" in caplog.text


# Which version is the current one.


def test_without_latest_it_is_the_newest_complete_one(model, served, clock):
    clock(1_000)
    push(model("a"), str(served))
    (served / "latest.json").unlink()
    (served / "1001" / "variables").mkdir(parents=True)
    (served / "not a number").mkdir()
    assert current_version(str(served)) == "1000"


@pytest.mark.parametrize("named", ["first", "7"])
def test_it_is_what_servers_take_whatever_latest_names(model, served, named):
    """As after a push that was killed at its very end, or when somebody has removed a version."""
    first, second = (push(model(letter), str(served)) for letter in "ab")
    (served / "latest.json").write_text(json.dumps({"version": first if named == "first" else named, "pushed": "2026"}))
    assert current_version(str(served)) == second


@pytest.mark.parametrize("content", ["", "{", '{"version": "../other", "pushed": ""}', '{"version": 7}'])
def test_a_damaged_latest_is_told_with_what_to_do(model, served, content):
    for letter in "ab":
        push(model(letter), str(served))
    (served / "latest.json").write_text(content)
    for call in (rollbacks, rollback, partial(push, model("c"))):
        with pytest.raises(PushError, match=r"latest\.json: does not say which version .*; remove it"):
            call(str(served))
    assert list(seen(served).values()) == ["a", "b"]


def test_in_a_folder_without_versions_there_is_none(served):
    assert current_version(str(served)) is None


# Rolling back.


def test_rolling_back_pushes_the_version_before_as_a_new_one(model, served):
    first, second = (push(model(letter), str(served)) for letter in "ab")
    third, origin = rollback(str(served))
    assert origin == first
    assert int(third) > int(second)
    assert seen(served) == {first: "a", second: "b", third: "a"}
    assert latest(served)["version"] == third
    assert latest(served)["rollbacks"] == {third: first}


def test_rolling_back_again_goes_further_back_and_not_to_what_was_rolled_back(model, served):
    for letter in "abc":
        push(model(letter), str(served))
    rollback(str(served))
    rollback(str(served))
    assert list(seen(served).values()) == ["a", "b", "c", "b", "a"]
    with pytest.raises(PushError, match="has the contents of the oldest version, so there is none before it"):
        rollback(str(served))


def test_rolling_back_after_a_push_that_was_killed_before_latest_names_it(model, served):
    _, second, _ = (push(model(letter), str(served)) for letter in "abc")
    (served / "latest.json").write_text(json.dumps({"version": second, "pushed": "2026"}))
    assert rollback(str(served))[1] == second
    assert list(seen(served).values()) == ["a", "b", "c", "b"]


def test_rolling_back_without_latest(model, served):
    first, _ = (push(model(letter), str(served)) for letter in "ab")
    (served / "latest.json").unlink()
    third, _ = rollback(str(served))
    assert latest(served)["rollbacks"] == {third: first}


def test_rolling_back_after_a_rollback_and_a_push(model, served):
    for letter in "ab":
        push(model(letter), str(served))
    rollback(str(served))
    push(model("c"), str(served))
    version, _ = rollback(str(served))
    assert list(seen(served).values()) == ["a", "b", "a", "c", "a"]
    # A copy of a copy is known as one of the first.
    assert latest(served)["rollbacks"][version] == next(iter(seen(served)))


def test_a_rollback_can_be_taken_back(model, served):
    _, second = (push(model(letter), str(served)) for letter in "ab")
    rollback(str(served))
    version, origin = rollback(str(served), to=second)
    assert origin == second
    assert list(seen(served).values()) == ["a", "b", "a", "b"]
    assert latest(served)["version"] == version
    with pytest.raises(PushError, match=f"the current version, {version}, has the contents of {second} already"):
        rollback(str(served), to=second)


def test_what_cannot_be_rolled_back_is_said_in_words(model, served, tmp_path):
    for folder in (served, tmp_path):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(PushError, match="there is no version of a pushed model"):
            rollback(str(folder))
        assert sorted(tmp_path.rglob("*")) == before
    version = push(model("a"), str(served))
    with pytest.raises(PushError, match=f"{version} is the only version"):
        rollback(str(served))
    with pytest.raises(PushError, match=f"there is no version 12; there are {version}"):
        rollback(str(served), to="12")
    with pytest.raises(PushError, match="has the contents of"):
        rollback(str(served), to=version)
    assert seen(served) == {version: "a"}


# Killed at any point.


def killed_before(operation: int, inside: Path, work: Callable[[], object]) -> bool:
    """Does something in a process that is killed before the n-th file operation in a folder; whether it came so far."""

    def work_until_killed() -> None:
        count = 0

        def hook(event: str, arguments: tuple) -> None:
            nonlocal count
            if event.partition(".")[0] in ("open", "os", "shutil") and str(inside) in str(arguments):
                if count == operation:
                    os.kill(os.getpid(), signal.SIGKILL)
                count += 1

        sys.addaudithook(hook)
        work()

    status, message = in_a_child(work_until_killed)
    assert message == ""
    return status == -signal.SIGKILL


def killed_everywhere(inside: Path, work: Callable[[], object]) -> Iterator[int]:
    """Does something in the same folder again and again, killed one file operation later each time, up to its end."""
    inside.mkdir(exist_ok=True)
    before = shutil.copytree(inside, inside.with_name("before"))
    operation = 0
    while killed_before(operation, inside, work):
        yield operation
        shutil.rmtree(inside)
        shutil.copytree(before, inside)
        operation += 1


def test_a_push_that_is_killed_leaves_whole_versions_and_the_next_one_clears_up(model, served):
    for letter in "abc":
        push(model(letter), str(served))
    new = model("d")
    after = set()
    for _ in killed_everywhere(served, lambda: push(new, str(served), keep=2)):
        found = "".join(seen(served).values())
        after.add(found)
        assert latest(served)["version"] in seen(served)
        push(new, str(served), keep=2)
        assert "".join(seen(served).values()) in ("cd", "dd")
        assert not [file.name for file in served.iterdir() if file.name.startswith((".incoming", ".outgoing"))]
    assert after == {"abc", "abcd", "acd", "cd"}


def test_the_first_push_that_is_killed(model, served):
    new = model("a")
    for _ in killed_everywhere(served, lambda: push(new, str(served))):
        assert set(seen(served).values()) <= {"a"}
        assert current_version(str(served)) in (None, *seen(served))
    assert current_version(str(served)) == list(seen(served))[-1]


def test_a_rollback_that_is_killed(model, served):
    first, second = (push(model(letter), str(served)) for letter in "ab")
    after = set()
    for _ in killed_everywhere(served, lambda: rollback(str(served))):
        after.add("".join(seen(served).values()))
        assert latest(served)["version"] in seen(served)
        # What a copy is a copy of is known at once, so that nothing rolls back to what was rolled back.
        assert rollbacks(str(served)).get(current_version(str(served)), second) == (
            first if len(seen(served)) == 3 else second
        )
    assert after == {"ab", "aba"}
    assert seen(served)[latest(served)["version"]] == "a"


@pytest.mark.parametrize("bytes_written", [1, 4_999, 5_001, 199_999])
def test_a_push_that_is_killed_in_the_midst_of_a_file(model, served, bytes_written):
    version = push(model("a"), str(served))
    new = model("b")

    def until_so_much_is_written() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_written, bytes_written))
        push(new, str(served))

    assert in_a_child(until_so_much_is_written) == (-signal.SIGXFSZ, "")
    assert seen(served) == {version: "a"}
    assert list(served.glob(".incoming-*"))
    push(new, str(served))
    assert list(seen(served).values()) == ["a", "b"]
    assert not list(served.glob(".incoming-*"))


def test_what_another_push_is_at_work_on_is_not_cleared_away(model, served):
    served.mkdir()
    incoming = served / ".incoming-1000-abcd"
    incoming.mkdir()
    with (served / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = threading.Thread(target=push, args=(model("b"), str(served)))
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive() and incoming.exists()
    waiting.join(10)
    assert list(seen(served).values()) == ["b"]
    assert not incoming.exists()


def test_on_a_disk_without_locks_nothing_is_cleared_away(model, served, monkeypatch):
    def unsupported(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    (served / ".incoming-1000-abcd").mkdir(parents=True)
    push(model("a"), str(served))
    assert list(seen(served).values()) == ["a"]
    assert (served / ".incoming-1000-abcd").exists()


# Targets that cannot be written.


@pytest.mark.parametrize("largest_file", [0, 10, 1_000, 100_000])
def test_a_target_that_takes_no_more(model, served, largest_file):
    version = push(model("a"), str(served))
    named = latest(served)
    new = model("b")

    def with_little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
        push(new, str(served))

    status, message = in_a_child(with_little_room)
    assert status == 0
    assert message.startswith(f"{served}: cannot be pushed into (File too large); the versions there are as they were")
    assert "push.directory" in message
    assert seen(served) == {version: "a"} and latest(served) == named
    assert not list(served.glob(".incoming-*"))


def test_a_disk_that_notices_that_it_is_full_when_it_is_flushed(model, served, monkeypatch):
    version = push(model("a"), str(served))

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(PushError, match="No space left on device"):
        patch.setattr(os, "fsync", full)
        push(model("b"), str(served))
    assert seen(served) == {version: "a"}


def test_a_version_that_latest_cannot_name_is_withdrawn(model, served, monkeypatch):
    version = push(model("a"), str(served))

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(PushError, match="the versions there are as they were"):
        patch.setattr(files, "write_bytes", full)
        push(model("b"), str(served))
    assert seen(served) == {version: "a"} and latest(served)["version"] == version


def test_a_target_that_may_only_be_read(model, served, tmp_path):
    version = push(model("a"), str(served))
    new = model("b")
    for folder in (tmp_path, tmp_path / "models"):
        folder.chmod(0o755)
    served.chmod(0o555)

    def as_nobody() -> None:
        # The folders above may be closed to others.
        os.chdir(tmp_path)
        if os.geteuid() == 0:
            os.setuid(65534)
        push(os.path.relpath(new), "served")

    status, message = in_a_child(as_nobody)
    served.chmod(0o755)
    assert status == 0
    assert message.startswith("served: cannot be pushed into (Permission denied); the versions there are as they were")
    assert seen(served) == {version: "a"}


def test_a_target_below_a_file(model, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PushError, match="Not a directory"):
        push(model("a"), str(tmp_path / "file" / "served"))
