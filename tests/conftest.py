"""For all tests: what was added or recorded on this machine (`make model`, `make weights`) is not
there; threads; no deadlines."""

import os
import tempfile

import pytest
from hypothesis import HealthCheck, settings

# Read when boxes.models.table is imported.
os.environ["MODELS_RECORDS"] = tempfile.mkdtemp(prefix="records-")
# On a busy machine an example takes as long as it takes; only what it finds counts.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.fixture(scope="module")
def one_thread():
    """Torch on one thread: two tests at once on two cores must not wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def steady():
    """How many forwards a decoder takes does not depend on a clock."""
    from boxes.decoding import price

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(price, "MEASURED", set())
        yield


@pytest.fixture(scope="session")
def splits():
    """The scenarios of the data that `make data` generates."""
    from boxes.generation import generate

    return generate(27)
