"""The command `lmjax`: train, eval, generate, complete, diagnose, demo, ngram.

Progress goes to stderr, results to stdout; with `--json` stdout is exactly one JSON object.
"""

import sys
import time

__all__ = ["main"]


def main() -> None:
    """Run the command line; a mistake of the user's is one line on stderr and exit status 2."""
    began = time.perf_counter()
    import tyro

    from lmjax.cli import demo, ngram, recurrent, terminal

    terminal.start_clock(began)
    app, ngrams = tyro.extras.SubcommandApp(), tyro.extras.SubcommandApp()
    for name, command in ngram.COMMANDS.items():
        ngrams.command(name=name)(command)
    for name, command in (recurrent.COMMANDS | demo.COMMANDS).items():
        app.command(name=name)(command)
    app.command(
        ngrams, name="ngram", help="N-gram models: fit, eval, generate, complete, report, arpa."
    )
    description = "Recurrent language models in JAX whose gradients can be seen."
    try:
        app.cli(prog="lmjax", description=description, config=(tyro.conf.FlagCreatePairsOff,))
    except (ValueError, OSError) as error:
        print(f"lmjax: {error}", file=sys.stderr)
        sys.exit(2)
    except FloatingPointError as error:
        print(f"lmjax: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print(
            "lmjax: interrupted; a run is kept where it was last saved, train --resume goes on",
            file=sys.stderr,
        )
        sys.exit(130)
