"""The commands `lmjax ngram`, called as the command line calls them."""

import tyro

from lmjax.cli.ngram import COMMANDS


def call(*args):
    tyro.extras.subcommand_cli_from_dict(COMMANDS, args=[str(a) for a in args])
