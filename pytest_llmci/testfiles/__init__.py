"""Test files without Python: the keys of ``test_*.llm.yaml``, their reader, their JSON Schema, and what writes such files."""
