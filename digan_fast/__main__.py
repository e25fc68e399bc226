"""``python -m digan_fast``."""

import sys

from digan_fast.cli import main

sys.exit(main())
