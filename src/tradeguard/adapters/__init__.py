"""The hosts: one file each, thin; what they share is how an answer looks and how a head is read."""
