"""Enables pytest's own pytester for the end-to-end tests; it must stand in the root."""

pytest_plugins = ["pytester"]
