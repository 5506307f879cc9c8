"""How the commands speak."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Failed(Exception):
    """What went wrong, and what to do; told without a trace."""


def say(mark, text):
    """A line of progress: coloured on a terminal, plain elsewhere."""
    colours = {"✓": 32, "…": 36, "✗": 31}
    is_terminal = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    shown = f"\033[{colours[mark]}m{mark}\033[0m" if is_terminal else mark
    print(f"{shown} {text}", file=sys.stderr, flush=True)


def main(command):
    """Runs a command: 0 when it is done, 1 with what to do when it isn't."""
    try:
        command()
    except Failed as failure:
        say("✗", str(failure))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
