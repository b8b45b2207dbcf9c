"""Tables of published scores: read, described, drawn, and searched for the models that are worth measuring."""
