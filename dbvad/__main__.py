"""`python -m dbvad`: the command line, in the form that torchrun starts (`torchrun -m dbvad train`)."""

from dbvad.cli import main

if __name__ == "__main__":
    main()
