"""From a configuration of promptfoo to test files: what has a counterpart is translated, all else is named with its place and reason."""
