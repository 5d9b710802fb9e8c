"""Proposals: the question a kernel's author is asked, the model that answers, the kernel in it."""
