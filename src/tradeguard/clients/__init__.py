"""Request signers for HTTP clients. Each file needs its own client: `pip install "tradeguard[httpx]"`, for example."""
