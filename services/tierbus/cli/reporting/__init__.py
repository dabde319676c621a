"""The report for whoever pays: ledger and results as numbers, as one HTML page, as lines for a terminal."""
