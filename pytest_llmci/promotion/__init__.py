"""What is done with a run once it is there: promote the model that it measured, roll back, measure it again."""
