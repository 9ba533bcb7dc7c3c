"""A mistake the user can mend: one line saying what was wrong, the value seen, what to do next."""

import sys


class RecipeError(Exception):
    pass


def run_command(main):
    """Runs a command's main(): a RecipeError becomes one line and exit status 2, a fault of ours keeps its stack."""
    try:
        main()
    except RecipeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
