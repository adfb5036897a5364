"""Committees that several files of tests look at."""

import pytest

from tests.end_to_end.committees import with_ensemble


@pytest.fixture(scope="session")
def narrow(tmp_path_factory):
    """Frames whose errors are twice as large as the ensemble says."""
    return with_ensemble(tmp_path_factory.mktemp("data") / "narrow.extxyz", factor=2.0)


@pytest.fixture(scope="session")
def fair(tmp_path_factory):
    return with_ensemble(tmp_path_factory.mktemp("data") / "fair.extxyz", factor=1.0, seed=5)
