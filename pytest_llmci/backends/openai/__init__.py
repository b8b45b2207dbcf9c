"""Models behind a server that speaks OpenAI's protocol.

``endpoint.py`` says where the server is, ``request.py`` makes what is sent, ``stream.py`` reads what comes back (bytes and
their arrival times in, an :class:`.answer.Answer` out: no socket, no clock) and ``choices.py`` and ``usage.py`` what stands in it,
``failures.py`` says whose fault a failure is.
What does talk to a server is thin over these. All of them but the client need the standard library alone.
"""
