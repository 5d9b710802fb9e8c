"""Searches of other projects: their own packages under our evaluator, budget and journal."""

from kbexp.search.rivals.catalog import RIVALS, Tell, check_rival

__all__ = ["RIVALS", "Tell", "check_rival"]
