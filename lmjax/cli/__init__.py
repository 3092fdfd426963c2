"""The command `lmjax`: models of language trained, measured, looked into; n-grams; translators.

Progress goes to stderr, results to stdout; with `--json` stdout is exactly one JSON object.
"""

import os
import signal
import sys
import time

from lmjax.interrupt import handled

__all__ = ["main"]


INTERRUPTED = "interrupted; the same train command with --resume, or table command, goes on"
NEW_LINE = "\x1b[?25h\n"  # on a terminal: with a cursor, and not behind its ^C


def main() -> None:
    """Run the command line; a mistake of the user's is one line on stderr and exit status 2."""
    began = time.perf_counter()
    try:
        try:
            with handled(_quit):
                _run(began)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # who reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        _end(2, f"{error.filename}: {error.strerror}" if error.filename else error)
    except ValueError as error:
        _end(2, error)
    except FloatingPointError as error:
        _end(1, error)
    except KeyboardInterrupt as error:
        if error.args:  # a signal that `train.fit` held back
            _quit(*error.args)
        _end(128 + signal.SIGINT, INTERRUPTED)


def _run(began: float) -> None:
    import tyro

    from lmjax.cli import (
        demo,
        mixing,
        ngram,
        recurrent,
        table,
        terminal,
        training,
        translating,
    )

    terminal.start_clock(began)
    app, ngrams, translation = (tyro.extras.SubcommandApp() for _ in range(3))
    for name, command in ngram.COMMANDS.items():
        ngrams.command(name=name)(command)
    for name, command in translating.COMMANDS.items():
        translation.command(name=name)(command)
    train = {"train": training.with_recipe(sys.argv[1:])}
    rest = recurrent.COMMANDS | mixing.COMMANDS | table.COMMANDS | demo.COMMANDS
    for name, command in (train | rest).items():
        app.command(name=name)(command)
    app.command(
        ngrams, name="ngram", help="N-gram models: fit, eval, generate, complete, report, arpa."
    )
    app.command(translation, name="translate", help="Translators: train, eval, run.")
    description = "Recurrent language models in JAX whose gradients can be seen."
    app.cli(prog="lmjax", description=description, config=(tyro.conf.FlagCreatePairsOff,))


def _quit(number, frame=None) -> None:
    """End the process on a signal: nothing is half done outside of `train.fit`, which holds it.

    At once: XLA may still compute, and what it works on be torn down.
    """
    os.write(2, f"{NEW_LINE * os.isatty(2)}lmjax: {INTERRUPTED}\n".encode())
    os._exit(128 + number)


def _end(status: int, text) -> None:
    print(f"lmjax: {text}", file=sys.stderr)
    sys.exit(status)
