"""Which exceptions are a message for the user, and not a fault of this program."""


def is_users(error: Exception) -> bool:
    """Whether the message alone tells the user what is wrong and what to do."""
    return any(base.__module__.split(".")[0] in ("pipeline", "dbvad") for base in type(error).__mro__)
