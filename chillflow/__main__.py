"""`python -m chillflow` is `chillflow-stream`."""

from chillflow.cli import main

if __name__ == "__main__":
    main()
