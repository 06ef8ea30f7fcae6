"""Halts: a node's own view of what stands still, and how operators change it. The law is in `core/halt.py`."""
