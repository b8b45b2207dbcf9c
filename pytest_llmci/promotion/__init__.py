"""What is done with a run once it is there: promote the model that it measured, take that back, run its cells again.

:func:`~pytest_llmci.promotion.promote.promote` moves an alias of MLflow's model registry to a run's model if the run proves
it good enough, :func:`~pytest_llmci.promotion.rollback.rollback` moves it back,
:func:`~pytest_llmci.promotion.champion.promoted` says what it stands for.
"""
