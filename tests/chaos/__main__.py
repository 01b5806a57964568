"""`python tests/chaos`: rounds of chaos, see `rounds.py`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from rounds import main

if __name__ == "__main__":
    sys.exit(main())
