"""What the user's machine can measure, and how noisy it is."""
