"""The run as one HTML page: what it shows (``view.py``, ``cells.py``), its figures, its template, and how it is written."""
