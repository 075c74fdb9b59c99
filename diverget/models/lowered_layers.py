"""How each layer of Keras is emitted into a lowered network, where volumes are held with the depth on the batch axis.

TensorFlow is imported inside the functions only, which run in a child process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from diverget.models.child import ModelError


@dataclass(frozen=True)
class Value:
    """A tensor of the lowered network.

    Attributes:
        tensor: (N, *shape); of a volume, whose shape is (h, w, d, c), (d · N, h, w, c).
        shape: of one row, as Keras has it.
    """

    tensor: Any
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Affine:
    """y = x · scale + offset a channel, which a convolution takes into its weights; float64."""

    scale: np.ndarray
    offset: np.ndarray


Emitter = Callable[[Any, Sequence[Value], int, Affine | None], Value]


def held(x: Any, shape: Sequence[int], n: int) -> Value:
    """A tensor (n, *shape) as the lowered network holds it."""
    import tensorflow as tf

    if len(shape) != 4:
        return Value(x, tuple(shape))
    h, w, d, c = shape
    if d > 1:
        x = tf.transpose(tf.reshape(x, (n * h * w, d, c)), (1, 0, 2))
    return Value(tf.reshape(x, (d * n, h, w, c)), (h, w, d, c))


def plain(value: Value, n: int) -> Any:
    """The tensor (n, *shape) of a value; of a volume (n, h, w, d · c), which is the same order with fewer axes."""
    import tensorflow as tf

    if len(value.shape) != 4:
        return value.tensor
    h, w, d, c = value.shape
    x = value.tensor
    if d > 1:
        x = tf.transpose(tf.reshape(x, (d, n * h * w, c)), (1, 0, 2))
    return tf.reshape(x, (n, h, w, d * c))


def _stored(layer: Any) -> list[np.ndarray]:
    """The weights of a layer as arrays, read outside of the function that is being traced."""
    import tensorflow as tf

    with tf.init_scope():
        weights: list[np.ndarray] = layer.get_weights()
    return weights


def _weights(layer: Any, affine: Affine | None) -> tuple[np.ndarray, np.ndarray]:
    """Kernel (..., filters) and bias (filters,) of a layer, float32, with what follows it folded in."""
    *kernels, last = _stored(layer)
    kernel, bias = (kernels[-1], last) if layer.use_bias else (last, np.zeros(last.shape[-1]))
    if affine is not None:
        kernel, bias = kernel * affine.scale, bias * affine.scale + affine.offset
    return kernel.astype(np.float32), bias.astype(np.float32)


def normalisation(layer: Any) -> Affine:
    """What a batch normalisation does in inference."""
    *trained, mean, variance = (weights.astype(np.float64) for weights in _stored(layer))
    scale = 1 / np.sqrt(variance + layer.epsilon)
    if layer.scale:
        scale = scale * trained[0]
    offset = -mean * scale
    if layer.center:
        offset = offset + trained[-1]
    return Affine(scale, offset)


def over_channels(layer: Any, rank: int) -> bool:
    """Whether a batch normalisation of a tensor of `rank` axes has one scale and offset a channel."""
    axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
    return len(axes) == 1 and axes[0] % rank == rank - 1


def _sides(size: int, reach: int, stride: int, padding: str) -> tuple[int, int, int]:
    """Padding before and after an axis, and the outputs along it, as TensorFlow counts them."""
    if padding == "valid":
        return 0, 0, (size - reach) // stride + 1
    count = -(-size // stride)
    missing = max((count - 1) * stride + reach - size, 0)
    return missing // 2, missing - missing // 2, count


def _strided(layer: Any, *shape: int) -> tuple[int, ...]:
    """The sides (h, w) after a 2-D window of a layer went over them."""
    reach = [(k - 1) * step + 1 for k, step in zip(shape[2:4], shape[6:8], strict=True)]
    return tuple(
        _sides(size, over, stride, layer.padding)[2]
        for size, over, stride in zip(shape[:2], reach, shape[4:6], strict=True)
    )


def _conv3d(layer: Any, inputs: Sequence[Value], n: int, affine: Affine | None) -> Value:
    import tensorflow as tf

    (value,) = inputs
    h, w, d, c = value.shape
    kernel, bias = _weights(layer, affine)
    kh, kw, kd, _, filters = kernel.shape
    (sh, sw, stride), (dh, dw, dilation) = layer.strides, layer.dilation_rate
    before, after, count = _sides(d, (kd - 1) * dilation + 1, stride, layer.padding)
    whole = (count, before, after, kd) == (1, 0, 0, d)
    if (kh, kw, sh, sw) == (1, 1, 1, 1) and c > 1 and not whole:
        # The depth is outermost: it is an axis of its own to convolve along, and nothing is gathered.
        along = tf.reshape(value.tensor, (1, d, n * h * w, c))
        y = tf.nn.conv2d(
            along, kernel.reshape(kd, 1, c, filters), (stride, 1), layer.padding.upper(), dilations=(dilation, 1)
        )
        return Value(layer.activation(tf.reshape(y + bias, (count * n, h, w, filters))), (h, w, count, filters))
    if whole:
        gathered = plain(value, n)
    else:
        x = value.tensor
        if before or after:
            x = tf.pad(x, ((before * n, after * n), (0, 0), (0, 0), (0, 0)))
        if stride > 1:
            x = tf.reshape(x, (before + d + after, n * h * w * c))
        parts = []
        for first in range(0, kd * dilation, dilation):
            if stride == 1:
                parts.append(x[first * n : (first + count) * n])
            else:
                part = x[first : first + (count - 1) * stride + 1 : stride]
                parts.append(tf.reshape(part, (count * n, h, w, c)))
        gathered = parts[0] if kd == 1 else tf.concat(parts, -1)
    y = tf.nn.conv2d(
        gathered,
        kernel.reshape(kh, kw, kd * c, filters),
        strides=(sh, sw),
        padding=layer.padding.upper(),
        dilations=(dh, dw),
    )
    sides = _strided(layer, h, w, kh, kw, sh, sw, dh, dw)
    return Value(layer.activation(y + bias), (*sides, count, filters))


def _conv2d(layer: Any, inputs: Sequence[Value], n: int, affine: Affine | None) -> Value:
    import tensorflow as tf

    (value,) = inputs
    kernel, bias = _weights(layer, affine)
    y = tf.nn.conv2d(
        value.tensor, kernel, strides=layer.strides, padding=layer.padding.upper(), dilations=layer.dilation_rate
    )
    sides = _strided(layer, *value.shape[:2], *kernel.shape[:2], *layer.strides, *layer.dilation_rate)
    return Value(layer.activation(y + bias), (*sides, kernel.shape[-1]))


def _depthwise_conv2d(layer: Any, inputs: Sequence[Value], n: int, affine: Affine | None) -> Value:
    (value,) = inputs
    kernel, *rest = _stored(layer)  # (kh, kw, c, multiplier)
    bias = rest[0] if layer.use_bias else np.zeros(kernel.shape[2] * kernel.shape[3])
    if affine is not None:
        kernel = kernel * affine.scale.reshape(kernel.shape[2:])
        bias = bias * affine.scale + affine.offset
    y = _depthwise(layer, value, kernel)
    return Value(layer.activation(y.tensor + bias.astype(np.float32)), y.shape)


def _separable_conv2d(layer: Any, inputs: Sequence[Value], n: int, affine: Affine | None) -> Value:
    import tensorflow as tf

    between = _depthwise(layer, inputs[0], _stored(layer)[0])
    kernel, bias = _weights(layer, affine)
    y = tf.nn.conv2d(between.tensor, kernel, strides=1, padding="VALID")
    return Value(layer.activation(y + bias), (*between.shape[:2], kernel.shape[-1]))


def _depthwise(layer: Any, value: Value, kernel: np.ndarray) -> Value:
    import tensorflow as tf

    y = tf.nn.depthwise_conv2d(
        value.tensor,
        kernel.astype(np.float32),
        strides=(1, *layer.strides, 1),
        padding=layer.padding.upper(),
        dilations=layer.dilation_rate,
    )
    sides = _strided(layer, *value.shape[:2], *kernel.shape[:2], *layer.strides, *layer.dilation_rate)
    return Value(y, (*sides, kernel.shape[2] * kernel.shape[3]))


def _dense(layer: Any, inputs: Sequence[Value], n: int, affine: Affine | None) -> Value:
    import tensorflow as tf

    (value,) = inputs
    kernel, bias = _weights(layer, affine)
    x = value.tensor if len(value.shape) == 1 else tf.reshape(value.tensor, (-1, kernel.shape[0]))
    y = layer.activation(tf.matmul(x, kernel) + bias)
    if len(value.shape) > 1:
        y = tf.reshape(y, (*value.tensor.shape[:-1], kernel.shape[1]))
    return Value(y, (*value.shape[:-1], kernel.shape[1]))


def _batch_normalization(layer: Any, inputs: Sequence[Value], n: int, affine: Affine | None) -> Value:
    """Scale and offset as a depthwise convolution of one weight a channel: its integer form rounds once."""
    import tensorflow as tf

    (value,) = inputs
    if not over_channels(layer, len(value.shape) + 1):
        raise ModelError(
            f"Expected a BatchNormalization over the last axis, the channels, got axis {layer.axis} in {layer.name!r}; "
            "build the network with its channels last."
        )
    found = normalisation(layer)
    channels = value.shape[-1]
    x = value.tensor if len(value.tensor.shape) == 4 else tf.reshape(value.tensor, (-1, 1, 1, channels))
    kernel = found.scale.reshape(1, 1, channels, 1).astype(np.float32)
    y = tf.nn.depthwise_conv2d(x, kernel, strides=(1, 1, 1, 1), padding="VALID") + found.offset.astype(np.float32)
    return Value(tf.reshape(y, value.tensor.shape) if y.shape != value.tensor.shape else y, value.shape)


def _elementwise(layer: Any, inputs: Sequence[Value], n: int, affine: Affine | None) -> Value:
    """Layers that treat every element alike, or the channels of every place: where the places stand matters not."""
    (value,) = inputs
    if type(layer).__name__ == "Softmax" and layer.axis not in (-1, len(value.shape)):
        raise ModelError(
            f"Expected a Softmax over the last axis, got axis {layer.axis} in {layer.name!r}; put the classes last."
        )
    return Value(layer(value.tensor), value.shape)


def _merged(layer: Any, inputs: Sequence[Value], n: int, affine: Affine | None) -> Value:
    """Sums, products, maxima and so on; a volume of one slice is spread over the depth of the other."""
    import tensorflow as tf

    kind = type(layer).__name__
    shapes = [value.shape for value in inputs]
    if len({len(shape) for shape in shapes}) > 1:
        raise ModelError(
            f"Expected inputs of as many axes each, got {shapes} in {layer.name!r} of class {kind}; reshape them first."
        )
    whole = np.broadcast_shapes(*shapes)
    tensors = [
        tf.concat([value.tensor] * whole[2], 0)
        if len(whole) == 4 and value.shape[2] == 1 and whole[2] > 1
        else value.tensor
        for value in inputs
    ]
    total = tensors[0]
    for tensor in tensors[1:]:
        total = getattr(tf, MERGES[kind])(total, tensor)
    return Value(total / len(tensors) if kind == "Average" else total, whole)


def _concatenate(layer: Any, inputs: Sequence[Value], n: int, affine: Affine | None) -> Value:
    import tensorflow as tf

    shape = list(inputs[0].shape)
    axis = layer.axis % (len(shape) + 1)
    shape[axis - 1] = sum(value.shape[axis - 1] for value in inputs)
    # The axes of a volume are held as (depth and batch, h, w, channels).
    along = {1: 1, 2: 2, 3: 0, 4: 3}[axis] if len(shape) == 4 else axis
    return Value(tf.concat([value.tensor for value in inputs], along), tuple(shape))


def _reshape(layer: Any, inputs: Sequence[Value], n: int, affine: Affine | None) -> Value:
    import tensorflow as tf

    (value,) = inputs
    whole = prod(value.shape)
    asked = tuple(layer.target_shape) if type(layer).__name__ == "Reshape" else (whole,)
    shape = tuple(side if side != -1 else whole // -prod(asked) for side in asked)
    return held(tf.reshape(plain(value, n), (n, *shape)), shape, n)


def _permute(layer: Any, inputs: Sequence[Value], n: int, affine: Affine | None) -> Value:
    import tensorflow as tf

    (value,) = inputs
    x = tf.transpose(tf.reshape(plain(value, n), (n, *value.shape)), (0, *layer.dims))
    return held(x, tuple(value.shape[axis - 1] for axis in layer.dims), n)


def _global_average(layer: Any, inputs: Sequence[Value], n: int, affine: Affine | None) -> Value:
    """One mean over all places: a volume's depth goes beside its width first, so that it is rounded once."""
    import tensorflow as tf

    (value,) = inputs
    *places, channels = value.shape
    x = tf.reshape(plain(value, n), (n, places[0], prod(places[1:]), channels))
    shape = (*(1 for _ in places), channels) if layer.keepdims else (channels,)
    return held(tf.reshape(tf.reduce_mean(x, (1, 2)), (n, *shape)), shape, n)


def _pooling(layer: Any, inputs: Sequence[Value], n: int, affine: Affine | None) -> Value:
    """Pooling over height and width, then over the depth, which for maxima and means is the same as at once."""
    import tensorflow as tf

    (value,) = inputs
    pool = tf.nn.max_pool2d if type(layer).__name__.startswith("Max") else tf.nn.avg_pool2d
    padding, window, strides = layer.padding.upper(), layer.pool_size, layer.strides
    y = pool(value.tensor, window[:2], strides[:2], padding)
    h, w = _strided(layer, *value.shape[:2], *window[:2], *strides[:2], 1, 1)
    if len(value.shape) == 3:
        return Value(y, (h, w, value.shape[-1]))
    d, c = value.shape[2:]
    count = _sides(d, window[2], strides[2], layer.padding)[2]
    y = pool(tf.reshape(y, (1, d, n * h * w, c)), (window[2], 1), (strides[2], 1), padding)
    return Value(tf.reshape(y, (count * n, h, w, c)), (h, w, count, c))


def _zero_padding(layer: Any, inputs: Sequence[Value], n: int, affine: Affine | None) -> Value:
    import tensorflow as tf

    (value,) = inputs
    sides = [tuple(pair) for pair in layer.padding]
    batch = (n * sides[2][0], n * sides[2][1]) if len(sides) == 3 else (0, 0)
    padded = tuple(size + sum(pair) for size, pair in zip(value.shape, sides, strict=False))
    return Value(tf.pad(value.tensor, (batch, *sides[:2], (0, 0))), (*padded, value.shape[-1]))


PASSED_ON = (
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
)
"""Layers that do nothing in inference."""

MERGES = {
    "Add": "add",
    "Average": "add",
    "Maximum": "maximum",
    "Minimum": "minimum",
    "Multiply": "multiply",
    "Subtract": "subtract",
}
"""Layers that join tensors element by element, with TensorFlow's function."""

WEIGHTED = ("Conv2D", "Conv3D", "Dense", "DepthwiseConv2D", "SeparableConv2D")
"""Layers that take a batch normalisation behind them into their weights."""

EMITTERS: dict[str, Emitter] = {
    "Conv3D": _conv3d,
    "Conv2D": _conv2d,
    "DepthwiseConv2D": _depthwise_conv2d,
    "SeparableConv2D": _separable_conv2d,
    "Dense": _dense,
    "BatchNormalization": _batch_normalization,
    **dict.fromkeys(("Activation", "ELU", "LeakyReLU", "ReLU", "Rescaling", "Softmax"), _elementwise),
    **dict.fromkeys(MERGES, _merged),
    "Concatenate": _concatenate,
    **dict.fromkeys(("Flatten", "Reshape"), _reshape),
    "Permute": _permute,
    **dict.fromkeys(("GlobalAveragePooling2D", "GlobalAveragePooling3D"), _global_average),
    **dict.fromkeys(("AveragePooling2D", "AveragePooling3D", "MaxPooling2D", "MaxPooling3D"), _pooling),
    **dict.fromkeys(("ZeroPadding2D", "ZeroPadding3D"), _zero_padding),
}
"""How each class of layer is emitted."""
