"""Dollars, prices, the ledger and the wall. Standard library only: knows no Ray, no table and no clock."""
