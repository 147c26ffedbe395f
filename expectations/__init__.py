"""Great Expectations suites, one file per table, each a plain builder. ``tasks/validate/validate.py`` runs them.

The first sentence of an expectation's ``notes`` is the rule as people read it; Data Docs and errors show it.
"""

from __future__ import annotations

import os

# Before the first import of great_expectations: nothing is sent anywhere.
os.environ["GX_ANALYTICS_ENABLED"] = "false"
