"""`python -m bioviz_core` is the bioviz command."""

from __future__ import annotations

from bioviz_core.lab.cli.main import main

if __name__ == "__main__":
    main()
