"""Which model is in use, decided on evidence: versions and aliases of MLflow's model registry.

:func:`~pytest_llmci.promotion.promote.promote` moves an alias to a run's model if the run proves it good enough,
:func:`~pytest_llmci.promotion.rollback.rollback` moves it back, :func:`~pytest_llmci.promotion.champion.promoted` says what
it stands for.
"""
