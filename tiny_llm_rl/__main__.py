"""`python -m tiny_llm_rl` is the command line."""

import sys

from tiny_llm_rl.cli import main

sys.exit(main())
