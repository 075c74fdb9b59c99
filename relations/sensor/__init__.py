"""Sensor: what the detector and its electronics add of their own.

noise.py       gaussian_noise, impulse_noise, stripes
"""

from relations.sensor import noise

__all__ = ["noise"]
