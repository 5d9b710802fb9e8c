"""What runs beside the device: the worker, its zygote, judges, builders and runners.

Needs torch, numpy and the ground floor, nothing else, so that it can be copied to any machine
that has a device.
"""
