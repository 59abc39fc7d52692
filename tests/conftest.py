"""For all tests: what was added or recorded on this machine (`make model`, `make weights`) is not
there."""

import os
import tempfile

import pytest

os.environ["MODELS_RECORDS"] = tempfile.mkdtemp(prefix="records-")  # read when boxes.models.table is imported


@pytest.fixture(scope="session")
def splits():
    """The scenarios of the data that `make data` generates."""
    from boxes.generation import generate

    return generate(27)
