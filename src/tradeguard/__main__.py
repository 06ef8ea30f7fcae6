"""`python -m tradeguard`: the command line."""

from tradeguard.cli import main

if __name__ == "__main__":
    main()
