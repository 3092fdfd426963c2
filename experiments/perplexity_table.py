"""The lecture's table on a text of one's own: what `lmjax table` does, as an experiment.

Each system is trained and measured, then mixtures of them; rows that are done are kept. The figure
shows the perplexity against what it took to train, and against the size of the model.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import tyro

from lmjax.cli import table
from lmjax.cli.systems import SYSTEMS


@dataclass(frozen=True)
class Config:
    corpus: str = "stdlib"  # or a directory
    rows: tuple[str, ...] = tuple(SYSTEMS)
    minutes: float | None = None  # of training, for each network


def run(cfg: Config, out: Path) -> dict:
    return table.measure_all(cfg.corpus, out, cfg.rows, cfg.minutes)


figure = table.figure


def main(cfg: Config = Config(), out: Path = Path("out/table")) -> None:
    result = run(cfg, out)
    (out / "table.json").write_text(json.dumps(result))
    result = json.loads((out / "table.json").read_text())
    figure(result).savefig(out / "table.png")
    print(*table.lines(result), sep="\n")


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.OmitArgPrefixes,))
