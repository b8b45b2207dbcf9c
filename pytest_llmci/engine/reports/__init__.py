"""A finished run as numbers, and those numbers as tables, texts and data."""
