"""Failures that the user can repair: one sentence each, printed without a traceback."""


class UserError(Exception):
    """What is wrong, where, and what to do, in one sentence."""


class DataError(UserError):
    """The data set cannot be used as it is."""


class WeightsError(UserError):
    """Initial weights cannot be found or do not fit."""


class DivergedError(UserError):
    """The loss of a training is no longer finite."""
