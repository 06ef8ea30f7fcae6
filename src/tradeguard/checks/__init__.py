"""The checks: one file, one question; its first line names the phase it belongs to."""
