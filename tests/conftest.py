import pytest

from tests.sandbox import Sandbox, start


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    """Started where it doesn't run; left running, for the next run of the tests."""
    return start()
