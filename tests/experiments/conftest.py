"""The checkout that several files run make in."""

from pathlib import Path

import pytest
from checkout_fixture import link_checkout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return link_checkout(tmp_path)
