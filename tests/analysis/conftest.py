import pytest
from brute import CELLS


@pytest.fixture(params=list(CELLS))
def name(request):
    """Every cell."""
    return request.param


@pytest.fixture(params=["stack", "user"])
def some(request):
    """Cells with several leaves of state: an LSTM under a vanilla cell, a dict with an integer."""
    return request.param
