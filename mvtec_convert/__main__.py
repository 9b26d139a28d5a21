"""`python -m mvtec_convert`, and the command `mvtec-convert`."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run the command line and exit."""
    gc.set_threshold(100_000)  # loading libraries makes many objects and no garbage, which is looked for in vain
    from mvtec_convert.cli.app import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
