"""Runs in a browser, read only: ``source.py`` finds and reads them, ``pages.py`` shows them with Streamlit, ``app.py`` is what it runs."""
