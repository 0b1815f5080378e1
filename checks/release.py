"""Makes the student and the instructor edition: `python -m checks.release OUT`, see README.md."""

import sys

from checks.editions.release import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
