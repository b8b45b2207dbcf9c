"""What shows that a run is what its session wrote: the folder in itself, and beside its copies elsewhere."""
