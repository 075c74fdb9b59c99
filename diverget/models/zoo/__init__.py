"""Networks that a run can train, as functions of the keras module: Keras 3 and tf_keras build the same.

architecture   Architecture: a network, the settings it is trained under, and how it was published
patches        networks for hyperspectral patches: hybridsn, ssrn, cnn3d, spectral, depthwise
images         networks for images: lenet1, lenet5, resnet20
"""

from diverget.models.zoo.architecture import Architecture
from diverget.models.zoo.images import LENET1, LENET5, RESNET20
from diverget.models.zoo.patches import CNN3D, DEPTHWISE, HYBRIDSN, SPECTRAL, SSRN

ALL = (HYBRIDSN, SSRN, CNN3D, SPECTRAL, DEPTHWISE, LENET1, LENET5, RESNET20)
NAMES = tuple(architecture.name for architecture in ALL)

__all__ = [
    "ALL",
    "CNN3D",
    "DEPTHWISE",
    "HYBRIDSN",
    "LENET1",
    "LENET5",
    "NAMES",
    "RESNET20",
    "SPECTRAL",
    "SSRN",
    "Architecture",
]
