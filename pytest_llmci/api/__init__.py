"""Results over HTTP, read only: ``app.py`` has the addresses, ``models.py`` what they answer, ``page.html`` the page that shows them."""
