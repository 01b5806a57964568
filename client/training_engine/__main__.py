"""`python -m training_engine` is the command line, wherever the script is installed."""

from training_engine.cli import main

main()
