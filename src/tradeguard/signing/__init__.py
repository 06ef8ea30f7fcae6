"""The dialects: one declarative row each, compiled to a verifier and a signer."""
