"""The README's Python runs as it stands, at a smaller size."""

import re
from pathlib import Path

import matplotlib.pyplot as plt

from lmjax import data


def test_the_readmes_code_runs(monkeypatch, tmp_path, capsys):
    text = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.S))
    corpus = data.stdlib()
    small = corpus._replace(
        train=corpus.train[:2000], valid=corpus.valid[:500], test=corpus.test[:500]
    )
    monkeypatch.setattr(data, "stdlib", lambda: small)
    monkeypatch.chdir(tmp_path)
    scope = {}
    exec(code.replace("128", "8").replace("minutes=1", "minutes=0"), scope)
    plt.close("all")
    assert (
        "perplexity=" in capsys.readouterr().out
        and (tmp_path / "gradient.png").stat().st_size > 1000
    )
    assert scope["leaky"].initial_state(None).shape == (8,)
