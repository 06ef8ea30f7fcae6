"""API keys: how their ids and secrets look, and how they live."""
