"""The budgeted search as policies over snapshots. Runs nothing itself; knows no Ray."""
