"""`unroll` over several devices: inside `shard_map`, and under jit with a sharded batch.

The devices are made of the CPU in a process of its own: their number is fixed when JAX starts.
"""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import re, sys
from functools import partial
import chex, jax, jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from lmjax import cells
from lmjax.unroll import unroll, scan

N, B, T = 16, 16, 5
CELLS = {"lstm": cells.lstm(N, N), "gru": cells.gru(N, N, reset_after=True), "rnn": cells.rnn(N, N),
         "mingru": cells.mingru(N, N), "stack": cells.stack(cells.lstm(N, N), cells.gru(N, N))}
cell, way = CELLS[sys.argv[1]], sys.argv[2]
mesh = jax.make_mesh((8,), ("batch",), axis_types=(AxisType.Auto,))
params = cell.init(jax.random.key(0))
xs = jax.random.normal(jax.random.key(1), (T, B, N))
mask = jnp.arange(T)[:, None] < 1 + jnp.arange(B) % T
options = {"segment": 2} if way == "segment" else {}

def loss(run, params, xs, mask):
    state = cell.initial_state(params, xs.shape[1:2])
    y = cell.read(params, run(cell, params, state, xs, mask=mask, **options)[1])
    return jnp.sum(jnp.sin(y))

gradient = lambda run: jax.value_and_grad(partial(loss, run), (0, 1))
expected = jax.jit(gradient(unroll))(params, xs, mask)

def summed(params, xs, mask):
    return jax.lax.psum(loss(scan if way == "scan" else unroll, params, xs, mask), "batch")

of_batch = P(None, "batch")
mapped = jax.shard_map(summed, mesh=mesh, in_specs=(P(), of_batch, of_batch), out_specs=P())
found = jax.jit(jax.value_and_grad(mapped, (0, 1)))(params, xs, mask)
chex.assert_trees_all_close(found, expected, rtol=1e-12, atol=1e-12)

put = lambda x, *axes: jax.device_put(x, NamedSharding(mesh, P(*axes)))
arguments = jax.tree.map(put, params), put(xs, None, "batch"), put(mask, None, "batch")
compiled = jax.jit(gradient(unroll)).lower(*arguments).compile()
chex.assert_trees_all_close(compiled(*arguments), expected, rtol=1e-12, atol=1e-12)
text = compiled.as_text()
inside = [line for line in text.splitlines() if "/while/body" in line]
collectives = "all-gather|all-to-all|collective-permute|all-reduce|reduce-scatter"
is_collective = lambda line: re.search(rf" ({collectives})(-start)?\\(", line)
if way != "segment":  # whose gradients are added up, and so communicated, segment by segment
    assert not [line for line in inside if is_collective(line)], "collectives in a loop"
print(sum(bool(is_collective(line)) for line in text.splitlines()), "collectives in all")
"""


@pytest.mark.parametrize(
    ("cell", "way"),
    [
        *((cell, "plain") for cell in ["lstm", "gru", "rnn", "mingru", "stack"]),
        ("lstm", "segment"),
        ("gru", "scan"),
    ],
)
def test_eight_devices_compute_what_one_does(cell, way):
    devices = {"JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1"}
    command = [sys.executable, "-c", PROGRAM, cell, way]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | devices)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[0]) <= 2, done.stdout  # of the loss, and of all the gradients
