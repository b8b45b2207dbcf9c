"""Load: many requests at a model, as they come in service, and what it makes of them.

``scenario`` reads what is asked for; ``arrivals`` says when each request is to be sent; ``in_process`` and ``endpoint`` send them;
``accounting`` turns what came of them into numbers, counted from the intended sending; ``saturation`` tells what of these is the
generator's own doing; ``sweep`` looks for the highest rate that keeps an objective; ``drive`` puts them together, in the model's process.
"""
