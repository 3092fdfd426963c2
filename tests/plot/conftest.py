import matplotlib.pyplot as plt
import pytest


@pytest.fixture(autouse=True)
def closed_figures():
    """Leave no figure open behind a test."""
    yield
    plt.close("all")
