"""`python -m bit_keras` is `bit-keras`."""

import sys

from bit_keras.cli.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
