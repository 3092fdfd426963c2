import os

os.environ.setdefault("MPLBACKEND", "agg")
# small problems: compiling costs more than running
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=0"

import jax
import pytest

jax.config.update("jax_enable_x64", True)


@pytest.fixture(scope="module", autouse=True)
def programs_are_forgotten():
    """Free what a file has compiled: Linux gives a process 65,530 maps, a program takes six."""
    yield
    jax.clear_caches()


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture
def on_cpu():
    """Compile for the CPU, as tests do that look into its programs."""
    with jax.default_device(jax.devices("cpu")[0]):
        yield
