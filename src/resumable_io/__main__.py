"""Run the `resumable` command: `python -m resumable_io`."""

from resumable_io.cli import main

if __name__ == "__main__":
    main()
