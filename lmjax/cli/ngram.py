"""The commands `lmjax ngram`: fit, eval, generate, complete, report, arpa."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from tyro.conf import OmitArgPrefixes, Positional

import lmjax.metrics as metrics
from lmjax.cli.measuring import read_corpus, sentence
from lmjax.cli.terminal import Json, called, emit, working
from lmjax.cli.writing import Sampling, suggestions, write_on
from lmjax.data import Vocabulary, read_lines
from lmjax.data.files import COMPRESSED
from lmjax.interop.arpa import read_arpa, write_arpa
from lmjax.models import LanguageModel, Params, ngram, snm
from lmjax.models.files import kind_of

__all__ = ["COMMANDS", "Method", "fit", "load_model"]

Method = Literal["mkn", "kn", "katz", "add", "mle", "stupid", "snm"]
ESTIMATORS: dict[str, Callable[..., ngram.Estimate]] = {
    "mkn": ngram.modified_kneser_ney,
    "kn": ngram.kneser_ney,
    "katz": ngram.katz,
    "add": ngram.add_delta,
    "mle": ngram.mle,
    "stupid": ngram.stupid_backoff,
}
FALLBACKS: dict[str, Any] = {"mkn": ngram.FALLBACK, "kn": 0.75, "katz": True}


def fit(
    out: Path,
    corpus: str | None = None,
    text: Path | None = None,
    order: int = 5,
    method: Method = "mkn",
    prune: tuple[int, ...] = (),
    discount_fallback: bool = False,
    skip_symbols: bool = False,
    delta: float = 1.0,
    level: str = "word",
    min_count: int = 1,
    quantise: bool = False,
    seed: int = 0,
    as_json: Json = False,
) -> None:
    """Estimate an n-gram model.

    Args:
        out: File for the model; an ARPA file if it ends in .arpa, .arpa.gz, .bz2, .xz or .zst.
        corpus: Directory with train, valid and test text, or "stdlib" for Python's own English
            prose. Its vocabulary is closed, `<unk>` a word as any other.
        text: In place of a corpus, one text, taken as KenLM's lmplz does: `<unk>` is reserved for
            other words.
        order: n, the length of the longest n-grams.
        method: Modified Kneser-Ney, Kneser-Ney, Katz, add-delta, maximum likelihood, stupid
            backoff, or a sparse non-negative matrix of n-grams and skip-grams.
        prune: For mkn, drop n-grams seen no more often; a threshold for each length, the last for
            all longer ones.
        discount_fallback: Where the text allows no estimate of discounts, use 0.5, 1 and 1.5 (mkn),
            0.75 (kn), or none (katz).
        skip_symbols: With --text, take `<s>`, `</s>` and `<unk>` in it for white space.
        delta: For add.
        level: word or char, with --corpus.
        min_count: Words seen less often in the training text become `<unk>`, with --corpus.
        quantise: Keep values in 8 bits; the file is smaller and probabilities sum to 1 but roughly.
        seed: For snm, of the positions that its factors are trained on.
        as_json: Print one JSON object.
    """
    begin = time.perf_counter()
    if prune and method != "mkn":
        raise ValueError(f"fit: --prune is one of the options of mkn, not of {method}")
    if discount_fallback and method not in FALLBACKS:
        raise ValueError(f"fit: --discount-fallback is for {', '.join(FALLBACKS)}, not {method}")
    if method == "snm" and (quantise or _is_arpa(out)):
        raise ValueError("fit: --quantise and ARPA files are for n-gram models, not for snm")
    _make_way(out)
    if corpus is not None and text is None:
        read = read_corpus(corpus, level=level, min_count=min_count)
        ids, vocab, source = read.train, read.vocab, called(read)
    elif text is None or corpus is not None:
        raise ValueError("fit: give either --corpus or --text")
    else:
        digest = hashlib.sha256()
        lines = read_lines(text, digest)
        ids, vocab = ngram.read_text(lines, skip_symbols=skip_symbols, name=text)
        source = f"{text.name}:{digest.hexdigest()[:8]}"
    if method == "snm":
        return _fit_matrix(out, ids, vocab, source, order, seed, begin, as_json)
    counts = ngram.count(ids, order, size=len(vocab), eos=vocab.eos)
    options: dict[str, Any] = {"delta": delta} if method == "add" else {}
    if method == "mkn":
        options["prune"] = prune
        keep = ngram.kept_words(counts, prune=prune)
        if corpus is not None and not keep.all():
            raise ValueError(
                "prune: a corpus keeps all its words, so the first threshold must be 0; "
                "see --min-count"
            )
        symbols = tuple(s for s, kept in zip(vocab.symbols, keep, strict=True) if kept)
        vocab = Vocabulary(symbols, vocab.level)
    if discount_fallback:
        options["fallback"] = FALLBACKS[method]
    try:
        estimate = ESTIMATORS[method](counts, **options)
    except ngram.NoDiscounts as error:
        raise ValueError(f"{error.problem}; rerun with --discount-fallback") from None
    model = ngram.index(estimate)
    model = ngram.quantise(model) if quantise else model
    facts = {"method": method, "order": order, **options, "corpus": source}
    texts = {k: ",".join(map(str, v)) if isinstance(v, tuple) else v for k, v in facts.items()}
    signature = metrics.signature(**{name: text for name, text in texts.items() if text != ""})
    if _is_arpa(out):
        write_arpa(out, model if quantise else estimate, vocab)
    else:
        ngram.save(out, model, vocab, method=method, signature=signature)
    kept = ngram.storage(model)
    seconds = time.perf_counter() - begin
    answer = {
        **kept._asdict(),
        "words": len(vocab),
        "tokens": len(ids),
        "seconds": seconds,
        "out": str(out),
    }
    listed = ", ".join(f"{count:,} {k}-grams" for k, count in enumerate(kept.ngrams, 1))
    summary = f"{listed} from {len(ids):,} tokens\n{signature}\n{out}"
    emit({**answer, "signature": signature}, as_json, summary)


def _fit_matrix(out, ids, vocab, source, order, seed, begin, as_json) -> None:
    """Estimate a sparse non-negative matrix and save it."""
    types = snm.feature_types(order)
    with working("counting features and training their factors"):
        model = snm.fit(ids, jax.random.key(seed), vocab_size=len(vocab), types=types)
    signature = metrics.signature(method="snm", order=order, seed=seed, corpus=source)
    snm.save(out, model, types, vocab, method="snm", signature=signature)
    links = sum(len(feature.follower) for feature in model.features)
    answer = {
        "links": links,
        "types": len(types),
        "words": len(vocab),
        "tokens": len(ids),
        "seconds": time.perf_counter() - begin,
        "out": str(out),
        "signature": signature,
    }
    summary = f"{links:,} links of {len(types)} types of features from {len(ids):,} tokens"
    emit(answer, as_json, f"{summary}\n{signature}\n{out}")


def evaluate_model(
    file: Positional[Path],
    corpus: str,
    split: Literal["train", "valid", "test"] = "test",
    as_json: Json = False,
) -> None:
    """Measure the exact perplexity of an n-gram model: every token and line end is scored.

    Args:
        file: The model, or an ARPA file.
        corpus: Directory of the text, the split's file itself, or "stdlib".
        split: train, valid or test.
        as_json: Print one JSON object.
    """
    begin = time.perf_counter()
    lm, params, vocab, facts = load_model(file)
    if facts.get("method") == "stupid":
        raise ValueError(
            f"{file}: stupid backoff is a score, not a distribution, and has no perplexity"
        )
    read = read_corpus(corpus, vocab=vocab, split=split)
    ids = getattr(read, split)
    if isinstance(params.head, ngram.NGram):
        logp = np.asarray(ngram.log_prob(params.head, ids), float)
    else:
        logp = metrics.token_log_probs(lm, params, ids, start=vocab.eos)
    signature = metrics.signature(
        model=facts["signature"],
        corpus=called(read),
        split=split,
        tokens=len(ids),
    )
    seconds = time.perf_counter() - begin
    result = metrics.summary(logp, ids == vocab.unk, seconds=seconds, signature=signature)
    impossible = int((~np.isfinite(logp)).sum())
    text = sentence(result, split)
    if impossible:
        text = f"{impossible:,} tokens have probability 0 or none\n{text}"
    emit({**result._asdict(), "impossible": impossible}, as_json, text)


def generate(
    file: Positional[Path],
    prompt: str = "",
    sampling: OmitArgPrefixes[Sampling] = Sampling(),
    as_json: Json = False,
) -> None:
    """Let an n-gram model write on.

    Args:
        file: The model, or an ARPA file.
        prompt: Text to start from.
        sampling: How words are chosen.
        as_json: Print one JSON object.
    """
    lm, params, vocab, _ = load_model(file)
    answer, text = write_on(lm, params, vocab, prompt, sampling)
    emit(answer, as_json, text)


def complete(
    file: Positional[Path], text: Positional[str], count: int = 5, as_json: Json = False
) -> None:
    """Suggest the next word, with probabilities.

    Args:
        file: The model, or an ARPA file.
        text: What has been written so far.
        count: How many suggestions.
        as_json: Print one JSON object.
    """
    lm, params, vocab, _ = load_model(file)
    answer, lines = suggestions(lm, params, vocab, text, count)
    emit(answer, as_json, lines)


def report(
    file: Positional[Path],
    corpus: str | None = None,
    split: Literal["train", "valid", "test"] = "test",
    as_json: Json = False,
) -> None:
    """Report what a model stores and, given a text, how much of it the model has never seen.

    Args:
        file: The model, or an ARPA file.
        corpus: Directory of the text, the split's file itself, or "stdlib".
        split: train, valid or test.
        as_json: Print one JSON object.
    """
    model, vocab, facts = _load_ngram(file)
    kept = ngram.storage(model)
    answer = {"order": model.order, "words": len(vocab), **kept._asdict()}
    columns = [
        ("n-grams", [f"{n:,}" for n in kept.ngrams]),
        ("MB", [f"{size / 1e6:.2f}" for size in kept.bytes]),
    ]
    if corpus is not None:
        text = read_corpus(corpus, vocab=vocab, split=split)
        unseen = ngram.sparsity(model, getattr(text, split))
        answer |= unseen._asdict()
        for title, shares in (
            ("unseen n-grams", unseen.unseen_ngram),
            ("unseen contexts", unseen.unseen_context),
        ):
            columns.append((title, [f"{share:.1%}" for share in shares]))
    answer["signature"] = metrics.signature(model=facts["signature"])
    lines = ["  ".join([" n", *(title.rjust(15) for title, _ in columns)])]
    lines += [
        "  ".join([f"{k + 1:2}", *(cells[k].rjust(15) for _, cells in columns)])
        for k in range(model.order)
    ]
    emit(answer, as_json, "\n".join(lines))


def arpa(file: Positional[Path], out: Path, as_json: Json = False) -> None:
    """Write a model as an ARPA file, or an ARPA file as a model.

    Args:
        file: The model, or an ARPA file.
        out: An ARPA file if it ends in .arpa, .arpa.gz, .bz2, .xz or .zst; else a model.
        as_json: Print one JSON object.
    """
    _make_way(out)
    model, vocab, facts = _load_ngram(file)
    if _is_arpa(out):
        write_arpa(out, model, vocab)
    else:
        ngram.save(out, model, vocab, **facts)
    answer = {
        "ngrams": ngram.storage(model).ngrams,
        "out": str(out),
        "signature": metrics.signature(model=facts["signature"]),
    }
    emit(answer, as_json, str(out))


COMMANDS: dict[str, Callable[..., Any]] = {
    "fit": fit,
    "eval": evaluate_model,
    "generate": generate,
    "complete": complete,
    "report": report,
    "arpa": arpa,
}


def _is_arpa(path: Path) -> bool:
    return path.name.endswith((".arpa", *(f".arpa{ending}" for ending in COMPRESSED)))


def _make_way(out: Path) -> None:
    """Make the directory that is to hold a file; refuse what cannot be written, before the work."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.is_dir():
        raise ValueError(f"out: {out} is a directory")
    if not os.access(out if out.exists() else out.parent, os.W_OK):
        raise ValueError(f"out: {out} cannot be written")


class Loaded(NamedTuple):
    """A model read from a file."""

    lm: LanguageModel
    params: Params  # the head's are the model
    vocab: Vocabulary
    facts: dict[str, str]  # a signature among them


def load_model(file: Path) -> Loaded:
    """Return the model of a file, which its first bytes tell to be ours or ARPA's.

    A pipe is an ARPA file: it cannot be read again.
    """
    if file.is_file():
        with file.open("rb") as stream:
            ours = stream.read(9)[4:] == b"\0\0\0\0{"  # the header's length, and its start
        if ours:
            if kind_of(file) == "SNM":
                matrix, types, vocab, facts = snm.load(file)
                lm = snm.snm(len(vocab), types)
                return Loaded(lm, Params((), (), matrix), vocab, _signed(file, facts))
            model, vocab, facts = ngram.load(file)
            return _of_ngram(model, vocab, _signed(file, facts))
    digest = hashlib.sha256()
    model, vocab = read_arpa(file, digest)
    return _of_ngram(model, vocab, {"signature": f"{file.name}:{digest.hexdigest()[:8]}"})


def _of_ngram(model: ngram.NGram, vocab: Vocabulary, facts) -> Loaded:
    lm = ngram.ngram(len(vocab), model.order, eos=vocab.eos)
    return Loaded(lm, Params((), (), model), vocab, facts)


def _load_ngram(file: Path) -> tuple[ngram.NGram, Vocabulary, dict[str, str]]:
    _, params, vocab, facts = load_model(file)
    if not isinstance(params.head, ngram.NGram):
        raise ValueError(f"{file}: a sparse matrix, which stores no n-grams")
    return params.head, vocab, facts


def _signed(file: Path, facts: dict[str, str]) -> dict[str, str]:
    """Return facts that hold a signature: a model saved without one gets its file's sha256."""
    if "signature" in facts:
        return facts
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"signature": f"{file.name}:{digest[:8]}", **facts}
