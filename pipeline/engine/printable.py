"""Text from files and their names as a terminal may show it: nothing in it moves the cursor, colours or reorders."""

import re

# Controls but tab and newline; marks that change the direction of text, or break lines unseen; halves of characters.
UNSHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""What a terminal must not get is spelled out as JSON spells it: \u001b. Text in JSON keeps its meaning."""
    return UNSHOWN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
