"""A person who edits a file: the text with its cursor, and which key comes next.

An event is one thing a person does: {"go": line, "cut": n} takes n lines out, to write there; {"type": text} is a key
(Enter brings the next line's indentation with it, as editors do); {"delete": n}; {"accept": text}, a suggestion that is
taken whole. A list of events leads from one text to another whatever was suggested, so that it can be replayed; then
"pause" are the seconds before each."""

import random

LINES_BEFORE, LINES_AFTER = 256, 64  # llama.vim's n_prefix and n_suffix
CUT_LINES = 8  # taken out where somebody is to write
KEYS_AT_A_PLACE = 100
TYPO_SHARE = 0.02  # of keys; one and a half backspaces each, so that 3 of 100 keys delete
ACCEPT_SHARE = 0.1  # of the suggestions that are followed
OWN_KEYS = (3, 8)  # typed without regard to suggestions


def indent_of(line):
    return line[: len(line) - len(line.lstrip(" \t"))]


class Editor:
    """Lines and a cursor; y counts from 0."""

    def __init__(self, text):
        self.lines = text.split("\n")
        self.y = self.x = 0

    @property
    def head(self):
        return self.lines[self.y][: self.x]

    @property
    def tail(self):
        return self.lines[self.y][self.x :]

    def apply(self, event):
        if "go" in event:
            self.y = event["go"]
            indent = indent_of(self.lines[self.y])
            self.lines[self.y : self.y + event["cut"]] = [indent]
            self.x = len(indent)
        elif "delete" in event:
            head = self.head[: -event["delete"]]
            self.lines[self.y], self.x = head + self.tail, len(head)
        else:
            self.insert(event["type"] if "type" in event else event["accept"])

    def insert(self, text):
        new = (self.head + text).split("\n")
        tail = self.tail
        self.lines[self.y : self.y + 1] = [*new[:-1], new[-1] + tail]
        self.y += len(new) - 1
        self.x = len(new[-1])

    def window(self, x=None, y=None, ahead=()):
        """(lines above, text left of the cursor, the rest) as llama.vim cuts them; of a line that is blank it sends
        nothing. `ahead`: the lines of a suggestion, as if they stood there already."""
        x, y = self.x if x is None else x, self.y if y is None else y
        y = min(y, len(self.lines) - 1)
        line = self.lines[y]
        first = max(0, y - LINES_BEFORE + max(0, len(ahead) - 1))
        above = self.lines[first:y]
        if ahead:
            whole = [line + ahead[0], *ahead[1:]]
            above, head, tail = above + whole[:-1], whole[-1], ""
        elif not line.strip():
            head = tail = ""
        else:
            head, tail = line[:x], line[x:]
        below = self.lines[y + 1 : y + 1 + LINES_AFTER]
        return "\n".join(above) + "\n", head, tail + "\n" + "\n".join(below) + "\n"


class Recording:
    """Events that came from elsewhere, with their pauses."""

    is_looking = False

    def __init__(self, events):
        self.events = list(events)[::-1]

    def pause(self):
        return self.events[-1].get("pause") if self.events else None

    def next_event(self, editor, shown):
        return self.events.pop() if self.events else None


class User:
    """Writes at one place after the other. Each suggestion is followed with probability `follow`; else a few characters
    come of what the file had there."""

    def __init__(self, n_keys, follow, seed):
        self.random = random.Random(seed)
        self.n_keys, self.follow = n_keys, follow
        self.here = 0  # keys left at this place
        self.text = ""  # what the file had here, as far as it is not typed
        self.wanted = ""  # the rest of the suggestion that is followed
        self.has_followed = False  # to its end, just now
        self.own = 0  # keys before the next suggestion is looked at
        self.planned = []

    @property
    def is_looking(self):
        """For a suggestion, since nothing else is to be typed."""
        return not self.planned and not self.wanted and self.own == 0

    def pause(self):
        return None  # the usual

    def next_event(self, editor, shown):
        """`shown` is the suggestion for the text as it is, "" if there is none or none yet. None: done."""
        if self.n_keys == 0:
            return None
        self.n_keys -= 1
        if self.here == 0 or not (self.text or self.wanted or self.planned):
            return self.go(editor)
        self.here -= 1
        if self.planned:
            return self.planned.pop(0)
        if shown and self.own == 0 and not self.is_wanted(shown):
            self.decide(shown)
            if self.wanted and self.random.random() < ACCEPT_SHARE:
                return self.take(len(self.wanted), "accept")
        typo = self.typo(editor)
        if typo:
            return typo
        if self.wanted:
            return self.follow_on()
        if self.has_followed and editor.head.strip():
            self.has_followed = False
            return {"type": "\n" + indent_of(editor.lines[editor.y]) + ("    " if editor.head.endswith("{") else "")}
        return self.type_own()

    def go(self, editor):
        places = [y for y in range(1, len(editor.lines) - CUT_LINES) if indent_of(editor.lines[y])]
        y = self.random.choice(places)
        self.text = "\n".join(editor.lines[y : y + CUT_LINES]).lstrip()
        self.here, self.wanted, self.own, self.planned, self.has_followed = KEYS_AT_A_PLACE, "", 0, [], False
        return {"go": y, "cut": CUT_LINES}

    def is_wanted(self, shown):
        """Whether this goes on with what is being followed; if it says more, that is wanted, too."""
        if not self.wanted or not (shown.startswith(self.wanted) or self.wanted.startswith(shown)):
            return False
        self.wanted = max(shown, self.wanted, key=len)
        return True

    def decide(self, shown):
        self.wanted, self.has_followed = "", False
        if self.random.random() >= self.follow:
            self.own = self.random.randint(*OWN_KEYS)
            return
        self.wanted = shown
        self.text = self.text.partition("\n")[2].lstrip()  # the suggestion stands for the rest of this line

    def take(self, n, kind):
        text, self.wanted = self.wanted[:n], self.wanted[n:]
        self.has_followed = not self.wanted
        return {kind: text}

    def follow_on(self):
        n = 1
        if self.wanted[0] == "\n":
            n += len(indent_of(self.wanted[1:]))
        return self.take(n, "type")

    def type_own(self):
        if self.own == 0:
            self.own = self.random.randint(*OWN_KEYS)
        self.own -= 1
        self.has_followed = False
        n = 1
        if self.text[:1] == "\n":
            n += len(indent_of(self.text[1:]))
        key, self.text = self.text[:n], self.text[n:]
        return {"type": key or " "}

    def typo(self, editor):
        """A backspace or two, and the same again."""
        head = editor.head
        n = min(self.random.randint(1, 2), len(head.lstrip()))
        if n == 0 or self.random.random() >= TYPO_SHARE:
            return None
        self.planned = [{"delete": 1}] * (n - 1) + [{"type": c} for c in head[-n:]]
        return {"delete": 1}
