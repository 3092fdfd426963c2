"""`python -m lmjax.cli` is the command `lmjax`."""

from lmjax.cli import main

main()
