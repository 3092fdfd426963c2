import json

import pytest
from ngram_commands import call


@pytest.fixture
def answer(capsys):
    """What a command of `lmjax ngram` answers with `--json`."""

    def ask(*args):
        capsys.readouterr()
        call(*args, "--json")
        return json.loads(capsys.readouterr().out)

    return ask
