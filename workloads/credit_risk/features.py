"""What a credit officer would look at beside the raw application.

Each function takes and gives a frame with one application a row and runs inside the model's
pipeline, so training and serving cannot differ.
"""

from __future__ import annotations

import pandas as pd


def affordability(applications: pd.DataFrame) -> pd.DataFrame:
    """Adds the share of the price that is financed, the instalment of a month, and what is left of
    the income of a month after expenses and instalment. Missing where a part of it is missing.
    """
    instalment = applications["Amount"] / applications["Time"]
    return applications.assign(
        financed_share=applications["Amount"] / applications["Price"],
        instalment=instalment,
        left_over=applications["Income"] - applications["Expenses"] - instalment,
    )
