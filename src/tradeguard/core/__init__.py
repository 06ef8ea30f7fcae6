"""What everything else is made of; it imports nothing of the house."""
