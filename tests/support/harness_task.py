"""A task of a user's own in the words of lm-evaluation-harness, over local rows."""

from __future__ import annotations

from bench import Bench

_TASK = """
task: colours
dataset_path: json
dataset_kwargs: {data_files: {test: ROWS}}
output_type: multiple_choice
test_split: test
doc_to_text: "Q: {{query}}\\nA:"
doc_to_choice: "{{choices}}"
doc_to_target: gold
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""


def write_harness_task(bench: Bench, rows: str) -> None:
    """Write ``colours.yaml``.

    :param rows: JSON Lines with ``query``, ``choices`` and ``gold``.
    """
    bench.write("colours.yaml", _TASK.replace("ROWS", str(bench.write("rows.jsonl", rows))))
