"""Runs the command line as `python -P -m training_engine.cli`."""

from training_engine.cli import main

if __name__ == "__main__":
    main()
