"""Fixtures for the tests that need a real Docker Engine, registry and S3 server."""

import pytest

from tests.sandbox import Sandbox, start


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    """The sandbox, started if it doesn't run; a machine that can't run it fails the tests."""
    return start()
