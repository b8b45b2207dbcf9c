"""What ``streamlit run`` is given: ``app.py SOURCE``. It is run anew at each click, so it only hands over."""

import sys

from pytest_llmci.dashboard.pages import show

show(sys.argv[1])
