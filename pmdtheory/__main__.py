"""`python -m pmdtheory` is the command line."""

import sys

from pmdtheory.cli import main

sys.exit(main())
