"""For all tests: what was added or recorded on this machine (`make model`, `make weights`) is not
there; threads; no deadlines."""

import os
import tempfile

import pytest
from hypothesis import settings

# Read when boxes.models.table is imported.
os.environ["MODELS_RECORDS"] = tempfile.mkdtemp(prefix="records-")
# No test fails because the machine is busy.
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")


@pytest.fixture(scope="module")
def one_thread():
    """Torch on one thread: two tests at once on two cores must not wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def splits():
    """The scenarios of the data that `make data` generates."""
    from boxes.generation import generate

    return generate(27)
