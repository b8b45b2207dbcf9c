"""Figures: one a file, each a class that holds its data and draws itself; ``base.py`` says what they share and saves them."""
