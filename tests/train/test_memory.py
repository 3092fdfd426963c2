"""Memory that a step has freed is there for the next one."""

import platform
import subprocess
import sys

import pytest


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="glibc alone gives large blocks back at once"
)
def test_a_step_finds_its_memory_where_the_last_one_left_it():
    code = """
import resource
import jax.numpy as jnp
from lmjax import train
train.keep_memory()
x = jnp.zeros(2**24, jnp.float32)
def pages(calls):
    for _ in range(calls):
        (x + 1).block_until_ready()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(-pages(20) + pages(20))  # it takes some calls until their places are found
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert int(done.stdout) < 5 * 2**26 / 4096  # those of five calls
