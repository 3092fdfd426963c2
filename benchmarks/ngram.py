"""N-grams beside KenLM, in one interleaved run: building, ARPA files, scoring, whole distributions.

KenLM is built by the reader (github.com/kpu/kenlm, cmake, Release); give the directory of its
programs, and, for the distributions, install its Python package. The text must not contain `<s>`,
`</s>` or `<unk>`.

    python benchmarks/ngram.py --text train.txt --kenlm kenlm/build/bin
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from lmjax import data
from lmjax.models import ngram


@dataclass(frozen=True)
class Config:
    """What to measure on what."""

    text: Path
    kenlm: Path  # the directory that holds lmplz, build_binary and kenlm_benchmark
    order: int = 5
    rounds: int = 3
    memory: str = "2G"  # lmplz -S
    contexts: int = 64


class Cost(NamedTuple):
    """What one process took."""

    wall: float  # seconds
    cpu: float  # seconds, all threads
    memory: float  # MB, peak resident


OURS = """
import sys
from lmjax import data
from lmjax.models import ngram
ids, vocab = ngram.read_text(data.read_lines(sys.argv[1]))
counts = ngram.count(ids, int(sys.argv[2]), size=len(vocab), eos=vocab.eos)
estimate = ngram.modified_kneser_ney(counts)
if len(sys.argv) > 3:
    from lmjax.interop.arpa import write_arpa
    write_arpa(sys.argv[3], estimate, vocab)
else:
    ngram.index(estimate)
"""


def cost(*command, stdin=None) -> Cost:
    """Run a command and measure it."""
    begin = time.perf_counter()
    with open(stdin or os.devnull, "rb") as file:
        arguments = [str(c) for c in command]
        process = subprocess.Popen(
            arguments, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    if status:
        raise RuntimeError(f"{command[0]} failed: {output[-500:].decode(errors='replace')}")
    return Cost(
        time.perf_counter() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
    )


def building(cfg: Config, place: Path) -> dict[str, list[Cost]]:
    """Text to ARPA, and text to a model that can be queried, each in a process of its own."""
    ours = [sys.executable, "-c", OURS, cfg.text, cfg.order]
    lmplz = [
        cfg.kenlm / "lmplz",
        "-o",
        cfg.order,
        "-S",
        cfg.memory,
        "-T",
        place,
        "--arpa",
        place / "kenlm.arpa",
    ]
    build = [cfg.kenlm / "build_binary", "-s"]
    costs: dict[str, list[Cost]] = {}
    for _ in range(cfg.rounds):
        for name, run in {
            "lmplz: text to ARPA": lambda: cost(*lmplz, stdin=cfg.text),
            "lmjax: text to ARPA": lambda: cost(*ours, place / "ours.arpa"),
            "lmjax: text to model": lambda: cost(*ours),
            "build_binary probing": lambda: cost(
                *build, "probing", place / "kenlm.arpa", place / "probing"
            ),
            "build_binary trie": lambda: cost(*build, "trie", place / "kenlm.arpa", place / "trie"),
        }.items():
            costs.setdefault(name, []).append(run())
    return costs


def scoring(cfg: Config, place: Path, model, vocab, ids) -> dict[str, list[float]]:
    """Score the training text, already encoded: million tokens a second of wall time, by name."""
    text = jnp.asarray(ids)
    ngram.log_prob(model, text).block_until_ready()
    program = cfg.kenlm / "kenlm_benchmark"
    for kind in ("probing", "trie"):
        with cfg.text.open("rb") as words, (place / f"{kind}.ids").open("wb") as encoded:
            subprocess.run(
                [program, "-v", "-m", place / kind], stdin=words, stdout=encoded, check=True
            )

    def ours():
        begin = time.perf_counter()
        ngram.log_prob(model, text).block_until_ready()
        return len(ids) / 1e6 / (time.perf_counter() - begin)

    def theirs(kind, threads):
        with (place / f"{kind}.ids").open("rb") as encoded:
            command = [program, "-q", "-t", str(threads), "-b", "1000000", "-m", place / kind]
            said = subprocess.run(
                command, stdin=encoded, capture_output=True, check=True
            ).stdout.decode()
        return float(re.search(r"Queries per second.*Wall: (\S+)", said)[1]) / 1e6

    speeds: dict[str, list[float]] = {}
    for _ in range(cfg.rounds):
        speeds.setdefault("lmjax, one call, all cores", []).append(ours())
        for threads in (1, 2):
            for kind in ("trie", "probing"):
                speeds.setdefault(f"KenLM {kind}, {threads} threads", []).append(
                    theirs(kind, threads)
                )
    return speeds


def distributions(cfg: Config, place: Path, model, vocab, ids) -> dict[str, list[float]]:
    """The next word's whole distribution, seconds a context: one, a batch, a loop over kenlm."""
    contexts = [
        ids[i : i + cfg.order - 1] for i in range(0, len(ids) - cfg.order, len(ids) // cfg.contexts)
    ]
    contexts = [c for c in contexts if vocab.eos not in c][: cfg.contexts]
    histories = jnp.asarray(np.array(contexts) + 1, jnp.int32)
    ones = [histories[i : i + 1] for i in range(len(histories))]
    jax.block_until_ready([ngram.log_probs(model, histories), ngram.log_probs(model, ones[0])])
    try:
        import kenlm
    except ImportError:
        kenlm = None
    theirs = kenlm and kenlm.Model(str(place / "probing"))
    times: dict[str, list[float]] = {}
    for _ in range(cfg.rounds):
        begin = time.perf_counter()
        jax.block_until_ready([ngram.log_probs(model, one) for one in ones])
        times.setdefault("lmjax, one context", []).append((time.perf_counter() - begin) / len(ones))
        begin = time.perf_counter()
        jax.block_until_ready(ngram.log_probs(model, histories))
        times.setdefault(f"lmjax, batch of {len(ones)}", []).append(
            (time.perf_counter() - begin) / len(ones)
        )
        if kenlm:
            state, after = kenlm.State(), kenlm.State()
            theirs.NullContextWrite(state)
            for i in contexts[0]:
                theirs.BaseScore(state, vocab.symbols[i], after)
                state, after = after, state
            words = ["</s>" if s == vocab.end else s for s in vocab.symbols]
            begin = time.perf_counter()
            for word in words:
                theirs.BaseScore(state, word, after)
            times.setdefault("Python loop over kenlm", []).append(time.perf_counter() - begin)
    return times


def main(cfg: Config, out: Path = Path("out/benchmarks")) -> None:
    """Run all, write JSON, print medians."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        costs = building(cfg, place)
        ids, vocab = ngram.read_text(data.read_lines(cfg.text))
        counts = ngram.count(ids, cfg.order, size=len(vocab), eos=vocab.eos)
        model = ngram.index(ngram.modified_kneser_ney(counts))
        sizes = {
            "KenLM probing": (place / "probing").stat().st_size,
            "KenLM trie": (place / "trie").stat().st_size,
        }
        sizes |= {
            "lmjax": sum(ngram.storage(model).bytes),
            "8 bits": sum(ngram.storage(ngram.quantise(model)).bytes),
        }
        speeds = scoring(cfg, place, model, vocab, ids)
        times = distributions(cfg, place, model, vocab, ids)
    result = {"tokens": len(ids), "costs": {k: [c._asdict() for c in v] for k, v in costs.items()}}
    result |= {"bytes": sizes, "million_tokens_a_second": speeds, "seconds_a_distribution": times}
    config = {name: str(value) for name, value in asdict(cfg).items()}
    (out / "ngram.json").write_text(
        json.dumps(result | {"config": config, "cores": os.cpu_count()}, indent=1)
    )
    for name, runs in costs.items():
        wall, cpu, memory = (statistics.median(x) for x in zip(*runs, strict=True))
        print(f"{name:28} {wall:7.2f} s   {cpu:7.2f} s of processor   {memory:7.0f} MB")
    for name, size in sizes.items():
        print(f"{name:28} {size / 1e6:7.1f} MB as a model")
    for name, values in speeds.items():
        print(f"{name:28} {statistics.median(values):7.2f} million tokens a second")
    for name, values in times.items():
        print(f"{name:28} {1e6 * statistics.median(values):7.0f} microseconds a distribution")


if __name__ == "__main__":
    tyro.cli(main)
