"""What can go wrong with a board. Messages say what was expected, what was found, and the next step."""


class BoardError(Exception):
    """The board answered, but not as its contract says."""


class EventsLost(BoardError):
    """Event records were lost: the ring was full or a record does not follow the one before."""


class EnvironmentProblem(Exception):
    """The bench, not the board: no such board, no permission, a missing tool, a wrong profile."""


class FileProblem(EnvironmentProblem):
    """A file that was named cannot be used."""


class ProfileError(EnvironmentProblem):
    """A board profile cannot be used. The message names the file, the key and the accepted values."""


class BenchMissing(EnvironmentProblem):
    """The bench lacks a capability that was asked for. The text is the reason, fit for a skipped test."""
