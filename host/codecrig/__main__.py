"""`python -m codecrig` is `codecrig`."""

from codecrig.cli import main

main()
