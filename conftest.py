"""Enables pytest's own pytester for the end-to-end tests; it must stand in the root."""

import numpy as np  # noqa: F401  # cannot be loaded twice, and pytester forgets what a session in this process was the first to import

pytest_plugins = ["pytester"]
