"""Two sides against each other: measured alternately, from stored runs, or with a baseline, and what is said of it."""
