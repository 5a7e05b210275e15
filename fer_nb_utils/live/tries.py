"""How the network labels the expressions that somebody shows on purpose: a confusion table in memory only."""

import pandas as pd

from ..classes import CLASSES, NOT_SURE

READY, WATCHED = 1.0, 3.0  # seconds to make a face, and to keep it


class Tries:
    """One count a try: `counts`, a row for each expression shown, a column for each label."""

    def __init__(self):
        columns = pd.Index([*CLASSES, NOT_SURE], name="label")
        self.counts = pd.DataFrame(0, index=pd.Index(CLASSES, name="shown"), columns=columns)
        self._expression, self._start, self._seen = "", 0.0, []

    def begin(self, expression: str, seconds: float) -> None:
        """From `seconds` on, somebody shows this expression; a try that has not ended is dropped."""
        self._expression, self._start, self._seen = expression, seconds, []

    def see(self, label: str | None, seconds: float) -> bool:
        """The label of the largest face of a frame, None without one. Whether a try has just ended.

        It counts under the label that most of its frames had; a try without a face does not count.
        """
        passed = seconds - self._start
        if not self._expression or passed < READY:
            return False
        if passed < READY + WATCHED:
            self._seen += [label] if label else []
            return False
        if self._seen:
            self.counts.loc[self._expression, max(self._seen, key=self._seen.count)] += 1
        self._expression = ""
        return True

    def html(self) -> str:
        """The expressions tried so far as a table, and how many tries were labelled as meant."""
        tried = self.counts[self.counts.any(axis=1)]
        right = sum(tried.loc[name, name] for name in tried.index)
        return f"{tried.to_html()}{right} of {tried.to_numpy().sum()} tries were labelled as meant."
