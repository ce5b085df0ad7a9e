"""Shared by the whole runs."""

import pytest


class Silent:
    """A reporter that reports nothing."""

    def step_started(self, step: str) -> None:
        pass

    def step_finished(self, step: str, *, cached: bool, seconds: float) -> None:
        pass


@pytest.fixture(scope="session")
def silent() -> Silent:
    return Silent()
