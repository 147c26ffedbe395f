"""``python -m flows.cli`` is ``gensr`` where no console script is installed."""

from flows.cli import main

if __name__ == "__main__":
    main()
