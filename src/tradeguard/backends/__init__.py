"""The technologies behind the ports: one file each."""
