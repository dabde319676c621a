"""The ledger: every paid call, claimed before it is made and closed after."""
