"""`python -m mvtec_convert`, and the command `mvtec-convert`."""

from __future__ import annotations

import sys

from mvtec_convert.cli.app import run


def main() -> None:
    """Run the command line and exit."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
