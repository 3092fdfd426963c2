"""The works of the training benchmark, by lmjax and by each peer: same sizes, weights and data.

A step is forward, backward (gradients of the parameters and of the inputs) and an SGD update of
both, in float32 and from a zero state. The loss of a cell is sum (y - target)^2 / (T B); that of a
language model (embedding, LSTM, full softmax) is the mean cross-entropy. Weights are drawn once in
our layout and copied into each peer's, so the losses before and after the first updates must agree:
they tell whether two programs did the same.

What differs is said here. Gates: torch, flax, equinox and keras write a GRU that resets after the
matrix (our `reset_after=True`) and whose z keeps the old state; haiku resets before it, keras can:
work `gru-before`. torch has two biases where one is meant; the second learns only where it is a
parameter of its own. Of keras' GRU both learn, flax.nnx's has only one: their updates differ by
that much. haiku's vanilla cell is a relu, equinox has none. Every library runs time first, but for
keras. Around the cells of the JAX libraries stand the lines of jnp that their embedding and dense
layers consist of, with the output weights as these keep them: [n, V], equinox [V, n].

    python benchmarks/works.py '{"work": "rnn", "by": "torch", "size": {"B": 8, "T": 64, "H": 99}}'

times one of them in this process and prints one JSON object.
"""

import argparse
import ctypes
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

PEERS = {
    "torch": "torch",
    "linen": "flax",
    "nnx": "flax",
    "haiku": "haiku",
    "equinox": "equinox",
    "keras": "keras",
    "generic": "lmjax",  # the same cell as a user writes it: three functions, x W_x within the step
    "scan": "lmjax",  # our cell through `scan`: lax.scan differentiated by JAX
    "products": "lmjax",  # the matrix products of our step alone, as if all else cost nothing
}
ALL = tuple(PEERS)
LIBRARIES = ALL[:-2]


class Work(NamedTuple):
    """What is to be computed, and who can."""

    cell: str
    peers: tuple[str, ...] = ALL
    vocab: int = 0  # 0: the cell alone
    head: str = ""  # of lmjax.heads: of our model alone, beside the peers' full softmax


WORKS = {
    "lstm": Work("lstm"),
    "gru": Work(
        "gru", ("torch", "linen", "nnx", "equinox", "keras", "generic", "scan", "products")
    ),
    "gru-before": Work("gru-before", ("haiku", "keras", "generic", "scan")),
    "rnn": Work("rnn", ("torch", "linen", "nnx", "keras", "generic", "scan", "products")),
    "lm-10k": Work("lstm", LIBRARIES, 10_000),
    "lm-33k": Work("lstm", LIBRARIES, 33_278),
    "lm-33k-adaptive": Work("lstm", ("torch",), 33_278, "adaptive"),
}


class Size(NamedTuple):
    """Batch, length, width (of the input too) and layers; V where it is not the work's."""

    B: int
    T: int
    H: int
    layers: int = 1
    V: int = 0


CONFIGS = {
    "S": Size(32, 64, 256),
    "M": Size(20, 35, 650, 2),
    "L": Size(32, 128, 1024),
    "long": Size(8, 1024, 256),
    "tiny": Size(2, 5, 3, 2),  # for the tests
}
BLOCKS = {"rnn": "h", "lstm": "ifgo", "gru": "zrn", "gru-before": "zrn"}
RATE = 0.01


def flops(work: Work, size: Size) -> float:
    """Return twice the multiply-adds of the products; backward has two for each of the forward."""
    tokens, blocks = size.B * size.T, len(BLOCKS[work.cell])
    products = size.layers * 2 * blocks * size.H**2 + (size.V or work.vocab) * size.H
    return 3 * 2 * tokens * products


class Layer(NamedTuple):
    """Weights of one layer in our layout, z = x w_x + h w_h + b."""

    w_x: np.ndarray
    w_h: np.ndarray
    b: np.ndarray
    b_h: np.ndarray  # [n]  the second bias of a GRU that resets after the matrix


class Problem(NamedTuple):
    """Weights and data, all numpy, time first."""

    cell: str
    layers: list[Layer]
    xs: np.ndarray | None  # [T, B, n], or None for a language model
    targets: np.ndarray  # [T, B, n], or tokens [T, B]
    tokens: np.ndarray | None = None
    embed: np.ndarray | None = None  # [V, n]
    w: np.ndarray | None = None  # [V, n]
    b: np.ndarray | None = None  # [V]
    head: str = ""


def problem(work: Work, size: Size) -> Problem:
    """Draw weights and data. Tokens follow Zipf's law."""
    rng, n = np.random.default_rng(0), size.H
    uniform = lambda *shape: rng.uniform(-1, 1, shape).astype(np.float32) * np.float32(n**-0.5)
    columns, zeros = n * len(BLOCKS[work.cell]), np.zeros(n, np.float32)
    layers = [
        Layer(uniform(n, columns), uniform(n, columns), uniform(columns), zeros)
        for _ in range(size.layers)
    ]
    vocab = size.V or work.vocab
    if not vocab:
        xs, targets = rng.normal(size=(2, size.T, size.B, n)).astype(np.float32)
        return Problem(work.cell, layers, xs, targets / 4)
    chances = 1 / (np.arange(vocab) + 2.7)
    tokens = rng.choice(vocab, (size.T + 1, size.B), p=chances / chances.sum()).astype(np.int32)
    embed, w, b = uniform(vocab, n), uniform(vocab, n), uniform(vocab)
    return Problem(work.cell, layers, None, tokens[1:], tokens[:-1], embed, w, b, work.head)


def gates(cell: str, weights) -> dict[str, np.ndarray]:
    """Split into blocks by name, for those whose z keeps the old state where ours replaces it."""
    parts = dict(zip(BLOCKS[cell], np.split(weights, len(BLOCKS[cell]), axis=-1), strict=True))
    return parts | ({"z": -parts["z"]} if "z" in parts else {})


def reorder(cell: str, weights, order: str) -> np.ndarray:
    """Return the blocks side by side in a peer's order."""
    parts = gates(cell, weights)
    return np.concatenate([parts[name] for name in order], axis=-1)


# --- JAX: a library gives parameters and a function (params, xs) -> ys of one layer ---------------


def linen(cell, layer):
    """Cells of flax.linen under nn.RNN."""
    import flax.linen as nn

    n = layer.b_h.size
    kind = {"lstm": nn.OptimizedLSTMCell, "gru": nn.GRUCell, "rnn": nn.SimpleCell}[cell]
    w_x, w_h, b = (gates(cell, w) for w in layer[:3])
    if cell == "rnn":
        params = {"i": {"kernel": w_x["h"], "bias": b["h"]}, "h": {"kernel": w_h["h"]}}
    elif cell == "lstm":
        params = {f"i{k}": {"kernel": w_x[k]} for k in w_x} | {
            f"h{k}": {"kernel": w_h[k], "bias": b[k]} for k in w_h
        }
    else:
        params = {f"i{k}": {"kernel": w_x[k], "bias": b[k]} for k in w_x} | {
            f"h{k}": {"kernel": w_h[k]} for k in w_h
        }
        params["hn"]["bias"] = layer.b_h
    module = nn.RNN(kind(n), time_major=True)
    return params, lambda params, xs: module.apply({"params": {"cell": params}}, xs)


def nnx(cell, layer):
    """Cells of flax.nnx under nnx.RNN."""
    from flax import nnx

    n = layer.b_h.size
    kind = {"lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell, "rnn": nnx.SimpleCell}[cell]
    order = {"lstm": "ifgo", "gru": "rzn", "rnn": "h"}[cell]
    module = nnx.RNN(kind(n, n, rngs=nnx.Rngs(0)), time_major=True)
    module.cell.dense_i.kernel[...] = reorder(cell, layer.w_x, order)
    module.cell.dense_h.kernel[...] = reorder(cell, layer.w_h, order)
    biased = module.cell.dense_h if cell == "lstm" else module.cell.dense_i
    biased.bias[...] = reorder(cell, layer.b, order)
    graph, params, rest = nnx.split(module, nnx.Param, ...)
    return params, lambda params, xs: nnx.merge(graph, params, rest, copy=True)(xs)


def haiku(cell, layer):
    """Cores of haiku under hk.dynamic_unroll."""
    import haiku as hk

    n = layer.b_h.size
    core = {"lstm": hk.LSTM, "gru-before": hk.GRU}[cell]
    run = lambda xs: hk.dynamic_unroll(
        core(n), xs, core(n, name="start").initial_state(xs.shape[1])
    )[0]
    if cell == "lstm":
        w_x, w_h, b = (reorder(cell, w, "igfo") for w in layer[:3])
        b[2 * n : 3 * n] -= 1  # haiku adds it
        params = {"lstm/linear": {"w": np.concatenate([w_x, w_h]), "b": b}}
    else:
        params = {"gru": {"w_i": layer.w_x, "w_h": layer.w_h, "b": layer.b}}
    apply = hk.without_apply_rng(hk.transform(run)).apply
    return params, apply


def equinox(cell, layer):
    """Cells of equinox, vmapped over the batch, under lax.scan: as its documentation shows."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    n = layer.b_h.size
    order = {"lstm": "ifgo", "gru": "rzn"}[cell]
    module = {"lstm": eqx.nn.LSTMCell, "gru": eqx.nn.GRUCell}[cell](n, n, key=jax.random.key(0))
    w_x, w_h, b = (reorder(cell, w, order) for w in layer[:3])
    where = lambda m: (m.weight_ih, m.weight_hh, m.bias) + ((m.bias_n,) if cell == "gru" else ())
    module = eqx.tree_at(where, module, (w_x.T, w_h.T, b) + ((layer.b_h,) if cell == "gru" else ()))

    def apply(module, xs):
        def body(state, x):
            state = jax.vmap(module)(x, state)
            return state, state[0] if cell == "lstm" else state

        zeros = jnp.zeros(xs.shape[1:])
        return jax.lax.scan(body, (zeros, zeros) if cell == "lstm" else zeros, xs)[1]

    return module, apply


def keras(cell, layer):
    """Layers of keras on its JAX backend; batch first."""
    import keras

    n = layer.b_h.size
    w_x, w_h, b = (reorder(cell, w, BLOCKS[cell]) for w in layer[:3])
    if cell == "gru":
        b = np.stack([b, np.concatenate([np.zeros(2 * n, np.float32), layer.b_h])])
    options = {"reset_after": cell == "gru"} if cell.startswith("gru") else {}
    kind = {"lstm": keras.layers.LSTM, "rnn": keras.layers.SimpleRNN}.get(cell, keras.layers.GRU)
    module = kind(n, return_sequences=True, **options)
    module.build((None, None, n))
    module.set_weights([w_x, w_h, b])
    rest = [v.value for v in module.non_trainable_variables]
    params = [v.value for v in module.trainable_variables]
    return params, lambda params, xs: module.stateless_call(params, rest, xs)[0]


def user_cell(kind: str, n: int):
    """The cell as a reader of the README would write it, in three functions."""
    import jax
    import jax.numpy as jnp

    from lmjax.cell import Cell

    sigmoid, tanh, split = jax.nn.sigmoid, jnp.tanh, jnp.split
    linear = lambda p, h, x: x @ p["w_x"] + h @ p["w_h"] + p["b"]
    zeros = lambda params, batch_shape=(): jnp.zeros((*batch_shape, n))

    def lstm(p, state, x):
        h, c = state
        i, f, g, o = split(linear(p, h, x), 4, -1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        return sigmoid(o) * tanh(c), c

    def rnn(p, h, x):
        return tanh(linear(p, h, x))

    def gru(p, h, x):
        (z_x, r_x, n_x), (z_h, r_h, n_h) = (
            split(x @ p["w_x"] + p["b"], 3, -1),
            split(h @ p["w_h"], 3, -1),
        )
        z = sigmoid(z_x + z_h)
        return (1 - z) * h + z * tanh(n_x + sigmoid(r_x + r_h) * (n_h + p["b_h"]))

    def gru_before(p, h, x):
        (z_x, r_x, n_x), w_h = split(x @ p["w_x"] + p["b"], 3, -1), p["w_h"]
        z, r = split(sigmoid(jnp.concatenate([z_x, r_x], -1) + h @ w_h[:, : 2 * n]), 2, -1)
        return (1 - z) * h + z * tanh(n_x + (r * h) @ w_h[:, 2 * n :])

    step = {"lstm": lstm, "rnn": rnn, "gru": gru, "gru-before": gru_before}[kind]
    if kind == "lstm":
        return Cell(
            None, lambda *args: (zeros(*args),) * 2, step, read=lambda params, state: state[0]
        )
    return Cell(None, zeros, step)


def our_cell(p: Problem, user: bool):
    """Return a cell of ours, or the user's, with the weights in it."""
    from lmjax import cells
    from lmjax.cells import Linear

    n = p.layers[0].b_h.size
    if user:
        cell, params = user_cell(p.cell, n), [layer._asdict() for layer in p.layers]
        if p.cell != "gru":
            params = [{k: v for k, v in layer.items() if k != "b_h"} for layer in params]
    else:
        name = {"gru": "gru_reset_after", "gru-before": "gru"}.get(p.cell, p.cell)
        cell = cells.CELLS[name](n, n)
        params = [Linear(*layer[:3]) for layer in p.layers]
        if p.cell == "gru":  # its blocks lie [n z r] in w_x, [n z r n'] in b
            turned = lambda w: np.roll(w, n, axis=-1)
            params = [
                Linear(turned(w_x), w_h, np.concatenate([turned(b), b_h]))
                for w_x, w_h, b, b_h in p.layers
            ]
    if len(params) == 1:
        return cell, params[0]
    return cells.stack(*[cell] * len(params)), tuple(params)


def recurrence(by: str, p: Problem):
    """Return `(cell or None, weights, apply)` of a JAX library: ys = apply(weights, xs)."""
    if by in ("lmjax", "generic", "scan"):
        from lmjax.unroll import scan, unroll

        cell, weights = our_cell(p, user=by == "generic")
        run = scan if by == "scan" else unroll
        start = lambda params, xs: cell.initial_state(params, xs.shape[1:-1])
        return (
            cell,
            weights,
            lambda params, xs: cell.read(params, run(cell, params, start(params, xs), xs)[1]),
        )

    layers = [globals()[by](p.cell, layer) for layer in p.layers]

    def apply(weights, xs):
        for (_, layer), params in zip(layers, weights, strict=True):
            xs = layer(params, xs)
        return xs

    return None, [params for params, _ in layers], apply


def jax_loss(by: str, p: Problem):
    """Return `(variables, rates, loss(variables, data), data)`: what is updated, and what stays."""
    import jax
    import jax.numpy as jnp
    import optax

    from lmjax import heads, models

    cell, weights, apply = recurrence(by, p)
    xs, targets, tokens = (
        np.swapaxes(a, 0, 1) if by == "keras" and a is not None else a for a in p[2:5]
    )
    count = p.targets.shape[0] * p.targets.shape[1]
    if tokens is None:
        loss = lambda variables, targets: jnp.sum((apply(*variables) - targets) ** 2) / count
        return (weights, xs), (RATE, RATE * count), loss, targets

    if cell:
        cell = cell._replace(init=lambda key: weights)
        head = getattr(heads, p.head)(p.w.shape[1], len(p.b)) if p.head else None
        lm = models.recurrent(cell, vocab_size=len(p.b), head=head)
        params = models.Params(
            p.embed, weights, head.init(jax.random.key(0)) if head else heads.Softmax(p.w, p.b)
        )

        def loss(variables, data):
            (params,) = variables
            start = cell.initial_state(params.cell, data[0].shape[1:])
            return models.loss(lm, params, start, *data, jax.random.key(0))[1].mean()

    else:
        w = p.w if by == "equinox" else p.w.T  # as its linear layer keeps it
        params = {"embed": p.embed, "rnn": weights, "w": w, "b": p.b}

        def loss(variables, data):
            (params,), (tokens, targets) = variables, data
            y = apply(params["rnn"], jnp.take(params["embed"], tokens, axis=0))
            logits = y @ (params["w"].T if by == "equinox" else params["w"]) + params["b"]
            return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()

    return (params,), (1.0,), loss, (tokens, targets)


def jax_step(by: str, p: Problem):
    """Return the training step of a JAX library, `() -> loss`, and what its compilation took."""
    import jax

    variables, rates, loss, data = jax_loss(by, p)

    def update(variables, data):
        value, gradients = jax.value_and_grad(loss)(variables, data)
        new = [
            jax.tree.map(lambda v, g, rate=rate: v - rate * g, *pair)
            for pair, rate in zip(zip(variables, gradients, strict=True), rates, strict=True)
        ]
        return tuple(new), value

    variables, data = jax.tree.map(jax.numpy.array, (variables, data))
    compiled, about = compile_timed(jax.jit(update, donate_argnums=0), variables, data)

    def step():
        nonlocal variables
        variables, value = jax.block_until_ready(compiled(variables, data))
        return value

    return step, about


def compile_timed(f, *args):
    """Compile a jitted function; return it with the seconds that took and its temporary memory."""
    begin = time.perf_counter()
    compiled = f.lower(*args).compile()
    seconds = time.perf_counter() - begin
    return compiled, {
        "compile_seconds": seconds,
        "temp_mb": compiled.memory_analysis().temp_size_in_bytes / 2**20,
    }


def products_step(p: Problem):
    """Return a step of the bare matrix products, and what its compilation took.

    One after the other in the loops as in ours, with the same operands in the same layouts; no
    gates, no sums.
    """
    import jax
    import jax.numpy as jnp
    from jax import lax

    (length, batch_size, n), k = p.xs.shape, len(BLOCKS[p.cell])

    def layer(w_x, w_h, xs, hs, dz):
        turned = lax.optimization_barrier(w_h.T)
        rows = xs.reshape(-1, n)

        def forward(t, h):
            return (xs[t] @ w_x)[:, :n] + (h @ w_h)[:, :n]

        def backward(t, dz):
            return lax.dynamic_update_slice(dz, dz @ turned, (0, 0))

        loops = [
            lax.fori_loop(0, length, body, jnp.full((batch_size, width), 1.0))
            for body, width in ((forward, n), (backward, k * n))
        ]
        return loops, rows.T @ dz, hs.reshape(-1, n).T @ dz, dz @ w_x.T

    def arrays(layer):
        """Return inputs, states and dL/dz of a layer, no two alike: or one product served two."""
        return (
            p.xs + 2 * layer,
            p.xs + 2 * layer + 1,
            np.full((length * batch_size, k * n), layer, np.float32),
        )

    args = jax.tree.map(
        jnp.array, [(*weights[:2], *arrays(i)) for i, weights in enumerate(p.layers)]
    )
    compiled, about = compile_timed(
        jax.jit(lambda args: [layer(*of_layer) for of_layer in args]), args
    )
    return lambda: jax.block_until_ready(compiled(args)) and float("nan"), about


# --- torch ----------------------------------------------------------------------------------------


def torch_step(p: Problem):
    """Return torch's training step, `() -> loss`, and nothing of a compilation."""
    import torch

    n = p.layers[0].b_h.size
    cell, order = p.cell, {"lstm": "ifgo", "gru": "rzn", "rnn": "h"}[p.cell]
    if on_gpu():
        torch.set_default_device("cuda")
        torch.set_float32_matmul_precision("high")  # as JAX multiplies there by default: in TF32
    tensor = lambda a: torch.from_numpy(np.ascontiguousarray(a)).to(torch.get_default_device())
    rnn = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[cell](
        n, n, len(p.layers)
    )
    second = np.zeros(n * len(order), np.float32)
    own = tensor(
        np.where(np.arange(second.size) >= 2 * n, 1, 0).astype(np.float32) * (cell == "gru")
    )
    with torch.no_grad():
        for k, layer in enumerate(p.layers):
            w_x, w_h, b = (reorder(cell, w, order) for w in layer[:3])
            if cell == "gru":
                second[2 * n :] = layer.b_h
            for name, value in {
                "weight_ih": w_x.T,
                "weight_hh": w_h.T,
                "bias_ih": b,
                "bias_hh": second,
            }.items():
                getattr(rnn, f"{name}_l{k}").copy_(tensor(value))
            getattr(rnn, f"bias_hh_l{k}").register_hook(lambda gradient: gradient * own)
    targets = tensor(p.targets)
    if p.tokens is None:
        xs = tensor(p.xs).requires_grad_()
        tokens_count = targets.shape[0] * targets.shape[1]
        loss = lambda: ((rnn(xs)[0] - targets) ** 2).sum() / tokens_count
        groups = [{"params": rnn.parameters()}, {"params": [xs], "lr": RATE * tokens_count}]
        optimizer = torch.optim.SGD(groups, lr=RATE)
    else:
        tokens, targets = tensor(p.tokens).long(), targets.long()
        embed = torch.nn.Embedding.from_pretrained(tensor(p.embed), freeze=False)
        out = torch.nn.Linear(n, len(p.b))
        out.load_state_dict({"weight": tensor(p.w), "bias": tensor(p.b)})
        logits = lambda: out(rnn(embed(tokens))[0])
        loss = lambda: torch.nn.functional.cross_entropy(logits().flatten(0, 1), targets.flatten())
        optimizer = torch.optim.SGD(
            [*embed.parameters(), *rnn.parameters(), *out.parameters()], lr=1.0
        )

    def step():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        if on_gpu():
            torch.cuda.synchronize()
        return value.detach()

    return step, {}


# --- measuring one of them in this process --------------------------------------------------------


def on_gpu() -> bool:
    """Tell whether JAX was told to run on an NVIDIA GPU; torch then does."""
    return os.environ.get("JAX_PLATFORMS", "").startswith("cuda")


def gemm_peak() -> float:
    """Return the flop/s of jnp.dot on square matrices, best of eight: 2048 rows, on a GPU 8192."""
    import jax
    import jax.numpy as jnp

    n = 8192 if on_gpu() else 2048
    a = jnp.ones((n, n)) / n
    dot = jax.jit(jnp.dot)
    times = []
    for _ in range(9):
        begin = time.perf_counter()
        dot(a, a).block_until_ready()
        times.append(time.perf_counter() - begin)
    return 2 * n**3 / min(times[1:])


def resident(field: str) -> float:
    """Return a memory field of this process in MiB (Linux)."""
    return int(Path("/proc/self/status").read_text().split(f"{field}:")[1].split()[0]) / 1024


def measure(step: Callable[[], Any], seconds: float) -> dict:
    """Time the median step, after three that warm up and whose losses are kept."""
    before = None
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(
            0
        )  # else the first step would fill what the compiler left free
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak of what came before
        before = resident("VmRSS")
    losses, times = [], []
    while len(losses) < 3 or len(times) < 3 or sum(times) < seconds:
        begin = time.perf_counter()
        loss = step()
        if len(losses) < 3:
            losses.append(float(loss))
        else:
            times.append(time.perf_counter() - begin)
    peak = None if before is None else resident("VmHWM") - before
    return {
        "seconds": float(np.median(times)),
        "steps": len(times),
        "losses": losses,
        "peak_mb": peak,
    }


def main(task: dict) -> dict:
    """Build, compile, check and time one program."""
    work, size, by = WORKS[task["work"]], Size(**task["size"]), task["by"]
    p = problem(work, size)
    build = {"torch": torch_step, "products": products_step}.get(by, partial(jax_step, by))
    step, about = build(p)
    result = measure(step, task.get("seconds", 0.5)) | about
    if by == "lmjax":
        result |= {"gemm_flops": gemm_peak(), "device": sys.modules["jax"].devices()[0].device_kind}
    elif by == "products":
        del result["losses"]
    modules = [sys.modules[name] for name in ("jax", PEERS.get(by, "lmjax")) if name in sys.modules]
    return result | {"versions": {m.__name__: m.__version__ for m in modules}}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", type=json.loads, help="work, by, size and seconds, as JSON")
    print(json.dumps(main(parser.parse_args().task)))
