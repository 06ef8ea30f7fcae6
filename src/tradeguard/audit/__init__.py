"""The record: who asked for what, and what became of it."""
