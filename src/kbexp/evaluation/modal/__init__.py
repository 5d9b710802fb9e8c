"""Judging in containers on Modal: the worker of `kbexp.worker`, on a device rented by the second.

Nothing here imports Modal before an evaluator is opened.
"""
