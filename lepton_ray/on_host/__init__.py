"""The stages without Ray: the supervisor that holds the wall, one worker process for the first models."""
