"""Requests and responses of the endpoint as pure functions. Knows no Ray."""
