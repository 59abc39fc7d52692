"""Name a variable of make that nobody reads, and the one that was probably meant.

python experiments/tools/nearest.py profile PROFILE MODELS ...

The first word was given, the others are known. Standard library only: it runs before set-up.
"""

import difflib
import sys


def nearest(given: str, known: list[str]) -> str | None:
    """The known name that is most like the given one, whatever its case; None where none is like it."""
    close = difflib.get_close_matches(given.upper(), known, n=1, cutoff=0.6)
    return close[0] if close else None


def main() -> None:
    given, *known = sys.argv[1:]
    meant = nearest(given, known)
    print(f"unknown variable {given}; {f'did you mean {meant}?' if meant else 'make help lists those there are'}")


if __name__ == "__main__":
    main()
