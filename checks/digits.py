"""The pictures that curl lines send: `python3 -m checks.digits 17 4711` prints the body with digit 17."""

import sys

from checks.kit.digits import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
