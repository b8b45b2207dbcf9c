"""The model's process: its loop, its parent's end, and the messages between."""
