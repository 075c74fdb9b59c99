"""Sensor: what the detector and its electronics add of their own, and what is lost on the way to the ground.

draws.py       normal and uniform fields
noise.py       gaussian_noise, white_noise, shot_noise, correlated_noise, multiplicative_noise
outliers.py    impulse_noise, random_impulse_noise, pixel_noise, band_noise
faults.py      stripes, dead_lines, salt_and_pepper, region_loss
coding.py      radiometric_quantisation, lossy_compression
"""

from relations.sensor import noise, outliers, faults, coding  # noqa: I001, the order of ALL

__all__ = ["coding", "faults", "noise", "outliers"]
