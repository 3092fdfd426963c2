import json
import sys

import pytest
from ngram_commands import call as call_ngram

from lmjax import cli


@pytest.fixture
def answer(capsys):
    """What a command of `lmjax ngram` answers with `--json`."""

    def ask(*args):
        capsys.readouterr()
        call_ngram(*args, "--json")
        return json.loads(capsys.readouterr().out)

    return ask


@pytest.fixture
def call(capsys, monkeypatch):
    """Run `lmjax ...`; return (exit status, stdout, stderr)."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["lmjax", *map(str, words)])
        try:
            cli.main()
        except SystemExit as end:
            return (end.code, *capsys.readouterr())
        return (0, *capsys.readouterr())

    return run
