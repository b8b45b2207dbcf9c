"""Numbers in, numbers out: summaries, robust location, budgets."""
