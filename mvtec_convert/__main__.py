"""`python -m mvtec_convert`, and the command `mvtec-convert`."""

from __future__ import annotations

import gc
import os
import sys


def main() -> None:
    """Run the command line and exit."""
    gc.set_threshold(100_000)  # loading libraries makes many objects and no garbage, which is looked for in vain
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # else it looks through all installed packages
    from mvtec_convert.cli.app import run

    code = run(sys.argv[1:])
    gc.freeze()  # what is left goes with the process; Python would look through all of it once more
    sys.exit(code)


if __name__ == "__main__":
    main()
