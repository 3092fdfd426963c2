import pytest
from brute import CELLS


@pytest.fixture(params=list(CELLS))
def name(request):
    """Every cell."""
    return request.param


@pytest.fixture(params=["lstm", "stack", "user"])
def some(request):
    """Cells with a state of several leaves: a NamedTuple, a stack, a dict with an integer."""
    return request.param
