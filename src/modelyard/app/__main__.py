"""``python -m modelyard.app``"""

import gc
import sys


def main() -> int:
    # What modules make while they load stays: to look through it again and again took a sixth of the start.
    gc.disable()
    from modelyard.app.process import main

    gc.enable()
    return main()


if __name__ == "__main__":
    sys.exit(main())
