"""The whole session without pytest: the plugin and the command only adapt it."""
