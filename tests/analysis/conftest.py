import pytest
from brute import CELLS, make


@pytest.fixture(params=list(CELLS))
def case(request):
    return make(CELLS[request.param])
