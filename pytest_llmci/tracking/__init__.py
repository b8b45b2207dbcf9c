"""MLflow: connecting to a store, the names under which a run lies there, and finding it again."""
