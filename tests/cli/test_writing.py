"""What is written goes on from a prompt, whose tokens are those of a text."""

import pytest

from lmjax import data
from lmjax.cli.writing import prompt_ids


def test_a_prompt_goes_on_where_it_ends(capsys):
    """Its last line is open, a newline at its end begins another; long words are not repeated."""
    vocab = data.Vocabulary(("<unk>", "<eos>", "a"))
    assert prompt_ids(vocab, "") == [1]
    assert prompt_ids(vocab, "a") == [1, 2]
    assert prompt_ids(vocab, "a\n") == prompt_ids(vocab, "a\r\n") == [1, 2, 1]
    assert prompt_ids(vocab, "\na <unk>") == [1, 1, 2, 0]
    assert capsys.readouterr().err == ""
    assert prompt_ids(vocab, "a " + 999 * "x") == [1, 2, 0]
    assert len(capsys.readouterr().err) < 150
    with pytest.raises(ValueError, match="line 2 holds the reserved symbol <eos>"):
        prompt_ids(vocab, "a\na <eos>")
    letters = data.Vocabulary(("a", "\n", "<unk>"), "char")
    assert prompt_ids(letters, "a\r\na") == [1, 0, 1, 0]
