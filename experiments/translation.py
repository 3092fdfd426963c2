"""What does a translator need? Both ends of the source, attention, a beam, and a brevity penalty.

Numbers in English words become numbers in Korean words, which group four digits where English has
three: no word can be written before the whole is read. Translators with and without an encoder that
reads from both ends, with and without attention, are trained on the same pairs and scored by BLEU,
greedily and by beam search. A sweep of the length penalty shows where the standard brevity penalty
and the lecture's part. Last, one sentence from inside: where attention looks, and how much of each
loss's gradient comes to each source word through attention, the rest through the recurrence.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro

from lmjax import analysis, decoding, metrics, plot, report, train
from lmjax.data.number_words import english, korean, number_words
from lmjax.data.parallel import (
    batch_count,
    bucket_lengths,
    bucketed,
    digest,
    read_pairs,
    split_pairs,
)
from lmjax.data.tokenizer import learn_tokenizer, split_words
from lmjax.models import translation

BEST, WEAKEST = "both ends, attention", "one end, no attention"
VARIANTS = {
    BEST: {},
    "one end, attention": {"bidirectional": False},
    "both ends, no attention": {"attention": "none"},
    WEAKEST: {"bidirectional": False, "attention": "none"},
}


@dataclass(frozen=True)
class Config:
    pairs: tuple[str, ...] = ()  # a file or two, see `lmjax translate train`; none: number words
    count: int = 20_000  # of number words
    variants: tuple[str, ...] = tuple(VARIANTS)
    hidden: int = 96
    dropout: float = 0.1
    epochs: int = 6
    batch_tokens: int = 2000
    buckets: int = 4  # lengths to which sentences are padded
    lr: float = 4e-3
    beam: int = 5
    alphas: tuple[float, ...] = (-4.0, -3.0, -2.0, -1.0, 0.0, 0.6, 1.0, 2.0)
    sentences: int = 500  # of the test
    example: int = 123_456_789
    seed: int = 0


FAST = Config(
    variants=(BEST, WEAKEST),
    count=100,
    hidden=4,
    epochs=1,
    batch_tokens=2400,
    buckets=1,
    alphas=(0.6,),
    sentences=1,
)

ROMAN = {"영": "yeong", "일": "il", "이": "i", "삼": "sam", "사": "sa", "오": "o", "육": "yuk"}
ROMAN |= {"칠": "chil", "팔": "pal", "구": "gu", "십": "sip", "백": "baek", "천": "cheon"}
ROMAN |= {"만": "man", "억": "eok", "<eos>": "end"}


def run(cfg: Config) -> dict:
    pairs = read_pairs(*cfg.pairs) if cfg.pairs else number_words(cfg.count, seed=cfg.seed)
    splits = split_pairs(pairs)
    source, target = map(learn_tokenizer, zip(*splits.train, strict=True))
    encode = lambda part: [(source.encode(x), target.encode(y)) for x, y in part]
    given, valid, test = map(encode, splits)
    test = test[: cfg.sentences]
    cut = {"tokens": cfg.batch_tokens, "lengths": bucket_lengths(given, cfg.buckets)}
    steps = cfg.epochs * batch_count(given, **cut)
    named = {"pairs": digest(pairs)[:8], "split": "test", "seed": cfg.seed}

    def fitted(**options):
        shape = train.TranslatorModel(
            hidden=cfg.hidden, dropout=cfg.dropout, label_smoothing=0.0, **options
        )
        model = train.build_translator(shape, len(source.vocab), len(target.vocab))
        fit = train.fit_translator(
            model,
            given,
            valid,
            jax.random.key(cfg.seed),
            epochs=cfg.epochs,
            tokens=cfg.batch_tokens,
            buckets=cfg.buckets,
            transform=train.optimizer("adam", cfg.lr, steps=steps),
        )
        return model, fit

    def scored(model, params, beam, alpha=0.6):
        how = {"end": target.vocab.eos, "size": beam, "alpha": alpha}
        found = decoding.translate(model, params, [x for x, _ in test], **how)
        lines = [target.decode(best[0].ids) for best in found]
        references = [target.decode(y) for _, y in test]
        words = [split_words(line) for line in lines], [[split_words(r)] for r in references]
        bleu = metrics.bleu(*words, **named, beam=beam, alpha=alpha)._asdict()
        exact = sum(a == b for a, b in zip(lines, references, strict=True)) / len(lines)
        return {**bleu, "exact": exact}

    trained = {name: fitted(**VARIANTS[name]) for name in cfg.variants}
    variants = {
        name: {
            "valid_perplexity": fit.valid,
            "greedy": scored(model, fit.params, 1),
            "beam": scored(model, fit.params, cfg.beam),
        }
        for name, (model, fit) in trained.items()
    }
    (model, fit), (weak, its) = trained[BEST], trained[WEAKEST]
    sweep = [{"alpha": a, **scored(weak, its.params, cfg.beam, a)} for a in cfg.alphas]
    pair = splits.test[0] if cfg.pairs else _example(cfg)
    inside = _inside(model, fit.params, source, target, *pair)
    return {"config": asdict(cfg), "variants": variants, "sweep": sweep, "inside": inside}


def _example(cfg: Config):
    return " ".join(english(cfg.example)), " ".join(korean(cfg.example))


def _inside(model, params, source, target, x, y) -> dict:
    """Return attention, gradient norms and route shares between the words of one pair."""
    ids = source.encode(x), target.encode(y)
    ((_, batch),) = bucketed([ids], tokens=1)
    length = batch.mask.sum(), batch.source_mask.sum()
    weights = translation.attention_weights(model, params, batch)[: length[0], 0, : length[1]]
    read, losses, xs = translation.of_source(model, params, *ids)
    gradients = jax.jit(lambda xs: analysis.source_gradients(read, losses, xs))(xs)
    whole = gradients.attention + gradients.recurrence
    symbols = lambda tokenizer, ids: [tokenizer.vocab.symbols[i] for i in ids]
    named = lambda tokenizer, ids: [ROMAN.get(s, s) for s in symbols(tokenizer, ids)]
    return {
        "source": named(source, ids[0]),
        "target": named(target, ids[1]),
        "attention": np.asarray(weights, float).round(4).tolist(),
        "norms": np.asarray(jnp.linalg.norm(whole, axis=-1), float).tolist(),
        "shares": np.asarray(analysis.route_shares(gradients), float).round(4).tolist(),
    }


def figure(result: dict):
    with plt.style.context(plot.STYLE):
        fig, axes = plt.subplots(2, 2, figsize=(11, 8.4))
        _bars(result["variants"], axes[0, 0])
        _sweep(result["sweep"], axes[0, 1])
        inside = result["inside"]
        words = inside["source"], inside["target"]
        plot.word_map(
            inside["attention"], *words, label="attention $a_{ij}$", limits=(0, 1), ax=axes[1, 0]
        )
        plot.word_map(
            inside["shares"],
            *words,
            label="share of the gradient through attention",
            limits=(-1, 2),
            cmap="RdBu_r",
            ax=axes[1, 1],
        )
    return fig


def _bars(variants: dict, ax) -> None:
    places = np.arange(len(variants))
    for k, search in enumerate(("greedy", "beam")):
        values = [variant[search]["bleu"] for variant in variants.values()]
        bars = ax.barh(places + 0.4 * k, values, height=0.36, label=search)
        ax.bar_label(bars, fmt="%.1f", padding=2)
    ax.set_yticks(places + 0.2, variants)
    ax.invert_yaxis()
    ax.set(xlabel="BLEU")
    ax.margins(x=0.12)
    ax.legend(loc="lower right")


def _sweep(sweep: list[dict], ax) -> None:
    alphas = [row["alpha"] for row in sweep]
    for key, label in (
        ("bleu", "exp(1 - r/c), standard"),
        ("bleu_lecture", "min(1, c/r), the lecture's"),
    ):
        ax.plot(alphas, [row[key] for row in sweep], "o-", label=label)
    for row in sweep:
        ax.annotate(
            f"{row['length_ratio']:.2f}",
            (row["alpha"], row["bleu_lecture"]),
            (0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    ax.margins(y=0.15)
    ax.set(xlabel="length penalty alpha (numbers: c/r)", ylabel=f"BLEU, {WEAKEST}")
    ax.legend()


def page(result: dict) -> str:
    rows = [("translator", "validation perplexity", "BLEU, greedy", "BLEU, beam", "exact, beam")]
    for name, v in result["variants"].items():
        numbers = v["valid_perplexity"], v["greedy"]["bleu"], v["beam"]["bleu"]
        rows.append((name, *(f"{x:.2f}" for x in numbers), f"{100 * v['beam']['exact']:.1f} %"))
    order = sorted(result["variants"], key=lambda name: -result["variants"][name]["beam"]["bleu"])
    penalties = [("alpha", "c/r", "BLEU", "BLEU, the lecture's penalty")]
    for row in result["sweep"]:
        numbers = row["length_ratio"], row["bleu"], row["bleu_lecture"]
        penalties.append((f"{row['alpha']:g}", *(f"{x:.2f}" for x in numbers)))
    signature = result["variants"][BEST]["beam"]["signature"]
    sections = [
        report.Section(
            "What a translator needs",
            f"From the highest BLEU to the lowest: {'; '.join(order)}.",
            "The same pairs, steps and sizes; an encoder from one end or both, attention or none.",
            (("", plot.data_uri(figure(result).axes[0])),),
            tuple(rows),
        ),
        report.Section(
            "Two brevity penalties",
            "They differ where translations are shorter than their references, and only there.",
            "A beam search with a larger alpha spares long translations.",
            table=tuple(penalties),
        ),
    ]
    return report.page("Translation", signature, sections)


def main(cfg: Config = Config(), out: Path = Path("out/translation")) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "translation.json").write_text(json.dumps(run(cfg)))
    result = json.loads((out / "translation.json").read_text())
    figure(result).savefig(out / "translation.png")
    (out / "translation.html").write_text(page(result), "utf-8")
    for name, variant in result["variants"].items():
        for search in ("greedy", "beam"):
            found = variant[search]
            print(
                f"{name}, {search}: BLEU {found['bleu']:.2f}, exact {100 * found['exact']:.1f} %, "
                f"c/r {found['length_ratio']:.3f}\n  {found['signature']}"
            )
    print(out / "translation.html")


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.OmitArgPrefixes,))
