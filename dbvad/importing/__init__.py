"""Published features and other people's descriptions, turned into our artifacts."""


class ImportFault(ValueError):
    """The import cannot begin: a list, a folder or an option is at fault. The message names the remedy."""


class BadInput(Exception):
    """One video's input cannot be used; the others go on. `kind` groups in SQL, `remedy` tells what to do."""

    def __init__(self, kind: str, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.kind, self.reason, self.remedy = kind, reason, remedy
