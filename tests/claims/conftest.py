"""The paper's own numbers, for every test of the claims."""

import pytest

from boxes.claims.evidence import Evidence, reported_evidence


@pytest.fixture(scope="module")
def printed() -> Evidence:
    return reported_evidence()
