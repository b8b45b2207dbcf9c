"""Numbers in, numbers out: summaries, robust location, budgets, and the regression gate (docs/statistics.md)."""
