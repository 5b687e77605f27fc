"""The tests are run against the installed package."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
