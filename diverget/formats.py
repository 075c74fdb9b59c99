"""The contents of a data file, as arrays by key: MATLAB 5 and 7.3, NumPy, ENVI and IDX.

Readers here know formats and nothing of scenes: they name arrays, texts and what could not be read. What is a
cube, a ground truth or a wavelength is decided in `diverget.loading`.

A file comes from anywhere. Damaged MATLAB files end or stall the libraries that open them, so a child process does
that; a small packed file can stand for more values than fit into memory, so what it promises is looked at first.
"""

from __future__ import annotations

import gzip
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from diverget.models.child import Emit, ModelError, run
from diverget.packed import most_unpacked, refuse_bomb

READ_SECONDS = 600.0
"""After which reading a MATLAB file is given up: some minutes for the largest, for ever for a damaged one."""


@dataclass(frozen=True)
class Contents:
    """What one file holds.

    Attributes:
        path: the file.
        arrays: numeric and boolean arrays by key, a cube's axes in the order (rows, columns, bands).
        texts: strings by key.
        refused: what could not be taken as an array, and why, by key.
        nodata: the value that stands for "no data", where the file itself names one.
        keep: (B,) bool, False for the bands that the file itself calls bad; None where it says nothing.
        class_names: names of the label values 0, 1, 2, ..., where the file itself gives them.
    """

    path: Path
    arrays: Mapping[str, np.ndarray]
    texts: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    nodata: float | None = None
    keep: np.ndarray | None = None
    class_names: tuple[str, ...] = ()

    def inventory(self) -> str:
        """The keys with shapes and types, as an error message lists them."""
        listed = [f"{key} {array.shape} {array.dtype}" for key, array in self.arrays.items()]
        listed += [f"{key} ({why})" for key, why in self.refused.items()]
        return ", ".join(listed) or "no arrays"


def read(path: str | Path) -> Contents:
    """The contents of the file `path`, by the reader of its format.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the format is unknown, the file is damaged, or a package for it is missing.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"Expected a data file, got the path {str(path)!r} where nothing is; correct the path.")
    if path.is_dir():
        raise ValueError(f"Expected a data file, got the directory {str(path)!r}; name the file inside it.")
    reader = _READERS.get(path.suffix.lower()) or (_read_idx if _looks_like_idx(path) else None)
    if reader is None:
        header = next((p for p in (path.with_suffix(".hdr"), Path(f"{path}.hdr")) if p.exists()), None)
        advice = f"give its header {header.name!r} instead" if header else "convert it, for instance with numpy.savez"
        raise ValueError(
            f"Expected a file of one of the formats {', '.join(_READERS)} or IDX, got {str(path)!r}; {advice}."
        )
    return reader(path)


def pick(
    contents: Contents, key: str | None, suits: Callable[[np.ndarray], bool], *, what: str, option: str
) -> tuple[str, np.ndarray]:
    """The array called `key`, or the only one that suits, with its key."""
    if key is not None:
        if key not in contents.arrays or not suits(contents.arrays[key]):
            raise ValueError(
                f"Expected {what} under the key {key!r} ({option}), got {contents.inventory()} in "
                f"{str(contents.path)!r}; set {option} to the one that is meant."
            )
        return key, contents.arrays[key]
    candidates = [name for name, array in contents.arrays.items() if suits(array)]
    if len(candidates) == 1:
        return candidates[0], contents.arrays[candidates[0]]
    if candidates:
        listed = ", ".join(f"{name} {contents.arrays[name].shape}" for name in candidates)
        raise ValueError(
            f"Expected one array of {what}, got {len(candidates)} candidates in {str(contents.path)!r}: {listed}; "
            f"choose one with {option}."
        )
    raise ValueError(
        f"Expected {what}, got {contents.inventory()} in {str(contents.path)!r}; name a file that holds one, or save "
        "the array alone with numpy.savez."
    )


def _damaged(path: Path, format_name: str, reason: object) -> ValueError:
    return ValueError(
        f"Expected a complete {format_name} file, got one of {path.stat().st_size} bytes that cannot be read "
        f"({reason}): {str(path)!r}; copy or download it again."
    )


def _sorted_out(path: Path, found: Mapping[str, object]) -> Contents:
    """`found` divided into arrays of numbers, texts, and the rest."""
    arrays: dict[str, np.ndarray] = {}
    texts: dict[str, str] = {}
    refused: dict[str, str] = {}
    for key, value in found.items():
        if isinstance(value, np.ndarray) and value.dtype.kind in "buif":
            arrays[key] = value
        elif isinstance(value, np.ndarray) and value.dtype.kind == "U" and value.size == 1:
            texts[key] = str(value.item())
        elif isinstance(value, str):
            texts[key] = value
        else:
            kind = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
            names = getattr(kind, "names", None)
            refused[key] = f"a structure with fields {', '.join(names)}" if names else f"not real numbers but {kind}"
    return Contents(path, arrays, texts, refused)


def _read_npz(path: Path) -> Contents:
    found: dict[str, object] = {}
    refused: dict[str, str] = {}
    try:
        with np.load(path, allow_pickle=False) as stored:
            if not isinstance(stored, np.lib.npyio.NpzFile) or stored.zip is None:
                raise ValueError("it is no archive of arrays")
            refuse_bomb(path, sum(int(member.file_size) for member in stored.zip.infolist()))
            for key in stored.files:
                try:
                    found[key] = stored[key]
                except ValueError as error:
                    if "allow_pickle" not in str(error):
                        raise
                    refused[key] = "an object array, which is not read because it could run code"
    # Encrypted or foreign archives are RuntimeErrors, a header that promises more than there is a MemoryError.
    except (ValueError, OSError, EOFError, KeyError, MemoryError, OverflowError, RuntimeError) as error:
        raise _damaged(path, "NumPy .npz", error) from error
    except (SyntaxError, TypeError, struct.error, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(path, "NumPy .npz", error) from error
    contents = _sorted_out(path, found)
    return Contents(path, contents.arrays, contents.texts, {**contents.refused, **refused})


def _read_mat(path: Path) -> Contents:
    """A MATLAB file, opened in a child process, whose arrays come back as files."""
    with tempfile.TemporaryDirectory() as folder:
        told = run(
            open_mat,
            {"path": str(path), "folder": folder},
            task=f"reading the MATLAB .mat file {str(path)!r}",
            advice="the file is damaged: copy or download it again",
            timeout=READ_SECONDS,
        )
        arrays = {key: np.load(Path(folder) / f"{i}.npy", allow_pickle=False) for i, key in enumerate(told["arrays"])}
    return Contents(path, arrays, told["texts"], told["refused"])


def open_mat(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Job: read a MATLAB file and write its arrays, by number, into a folder."""
    try:
        contents = read_mat_here(Path(payload["path"]))
    except ValueError as error:
        raise ModelError(str(error)) from None
    for i, array in enumerate(contents.arrays.values()):
        np.save(Path(payload["folder"]) / f"{i}.npy", array, allow_pickle=False)
    return {"arrays": list(contents.arrays), "texts": dict(contents.texts), "refused": dict(contents.refused)}


def read_mat_here(path: Path) -> Contents:
    """The contents of a MATLAB file, read in this process, which a damaged one can end.

    Raises:
        ValueError: the file is damaged.
    """
    import h5py

    if h5py.is_hdf5(path):
        return _read_mat73(path)
    from scipy.io import loadmat, whosmat
    from scipy.io.matlab import MatReadError

    # A damaged file fails wherever the reader happens to stand, so the list of what it raises is long.
    failures = (MatReadError, ValueError, TypeError, KeyError, IndexError, OSError, EOFError, OverflowError)
    try:
        refuse_bomb(path, sum(prod(shape) for _, shape, _ in whosmat(path, appendmat=False)))
        stored = loadmat(path, appendmat=False)
    except (*failures, NotImplementedError, MemoryError, struct.error, zlib.error) as error:
        raise _damaged(path, "MATLAB .mat", error) from error
    contents = _sorted_out(path, {key: value for key, value in stored.items() if not key.startswith("__")})
    if not (contents.arrays or contents.texts or contents.refused):
        raise _damaged(path, "MATLAB .mat", "it holds no variables")
    return contents


def _read_mat73(path: Path) -> Contents:
    """A MATLAB 7.3 file is HDF5 with the axes reversed, for MATLAB counts the first axis fastest."""
    import h5py

    found: dict[str, object] = {}

    def visit(key: str, item: object) -> None:
        if not isinstance(item, h5py.Dataset) or key.startswith("#"):
            return
        if item.is_virtual or item.external:
            raise ValueError(f"{key} takes its values from other files")
        refuse_bomb(path, item.nbytes)
        matlab = item.attrs.get("MATLAB_class", b"")
        matlab = matlab.decode() if isinstance(matlab, bytes) else str(matlab)
        if "MATLAB_empty" in item.attrs:
            return
        if matlab == "char":
            found[key] = "".join(chr(code) for code in np.asarray(item[()]).T.ravel())
        elif item.dtype.kind in "buif":
            value = np.asarray(item[()]).T
            found[key] = value.astype(bool) if matlab == "logical" else value
        else:
            found[key] = np.empty(0, dtype=item.dtype)

    try:
        with h5py.File(path, "r") as stored:
            stored.visititems(visit)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, MemoryError, OverflowError) as error:
        raise _damaged(path, "MATLAB 7.3 .mat", error) from error
    return _sorted_out(path, found)


def companions(path: Path) -> tuple[Path, ...]:
    """The files beyond `path` itself that `read` takes values from: the data file of an ENVI header.

    Raises:
        ValueError: the header cannot be read, has no data file, or a package for it is missing.
    """
    return (Path(_open_envi(path).filename),) if path.suffix.lower() == ".hdr" else ()


def _open_envi(path: Path) -> Any:
    """The image of an ENVI header, none of its values read."""
    try:
        from spectral.io import envi
        from spectral.io.spyfile import SpyFile
    except ImportError as error:
        raise ValueError(
            f"Expected the package `spectral` for the ENVI file {str(path)!r}, got an installation without it; "
            "install it with: pip install 'diverget[envi]'"
        ) from error
    try:
        image = envi.open(str(path.resolve()))
    except (envi.EnviException, KeyError, TypeError, ValueError, AttributeError, IndexError, OSError) as error:
        raise ValueError(
            f"Expected a complete ENVI header with its data file beside it, got {str(path)!r}, which cannot be "
            f"opened ({error}); correct the header, or put the data file there under the same name."
        ) from error
    if not isinstance(image, SpyFile):
        raise ValueError(f"Expected an ENVI image, got a spectral library: {str(path)!r}; name an image's header.")
    return image


def _read_envi(path: Path) -> Contents:
    image = _open_envi(path)
    data = Path(image.filename)
    needed = image.offset + image.nrows * image.ncols * image.nbands * np.dtype(image.dtype).itemsize
    if data.stat().st_size < needed:
        raise _damaged(data, "ENVI data", f"its header {path.name!r} promises {needed} bytes")
    cube = np.array(image.open_memmap(interleave="bip"))
    header = image.metadata
    arrays = {"image": cube.astype(cube.dtype.newbyteorder("="), copy=False)}
    if image.bands.centers is not None:
        arrays["wavelength"] = np.asarray(image.bands.centers, dtype=np.float64)
    unit = image.bands.band_unit
    ignored = header.get("data ignore value")
    bad = header.get("bbl")
    names = header.get("class names") or ()
    try:
        nodata = None if ignored is None else float(ignored)
        keep = None if bad is None else np.asarray([float(value) != 0 for value in bad])
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Expected numbers under `data ignore value` and `bbl` in the ENVI header {str(path)!r}, got {error}; "
            "correct or remove them."
        ) from error
    return Contents(
        path,
        arrays,
        texts={"wavelength units": str(unit)} if unit else {},
        nodata=nodata,
        keep=keep,
        class_names=tuple(str(name).strip() for name in names),
    )


_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def _looks_like_idx(path: Path) -> bool:
    return path.suffix.lower() == ".gz" or "idx" in path.name.lower() or path.suffix.lower() == ".ubyte"


def _read_idx(path: Path) -> Contents:
    """IDX: two zero bytes, a type code, the rank, the lengths as big-endian int32, the values.

    Source: Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits", file formats.
    """
    try:
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else open(path, "rb") as stream:
            raw = stream.read(most_unpacked(path) + 1)
        refuse_bomb(path, len(raw))
    except (OSError, EOFError, MemoryError, ValueError, zlib.error) as error:
        raise _damaged(path, "gzip", error) from error
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in _IDX_TYPES:
        raise ValueError(
            f"Expected an IDX file (two zero bytes, then a type code), got the first bytes {raw[:4].hex(' ')!r} "
            f"in {str(path)!r}; give an IDX file or an .npz."
        )
    dtype, rank = np.dtype(_IDX_TYPES[raw[2]]), raw[3]
    start = 4 + 4 * rank
    shape = struct.unpack(f">{rank}i", raw[4:start]) if len(raw) >= start else ()
    needed = prod(shape) * dtype.itemsize
    if len(raw) < start or len(raw) - start != needed or min(shape, default=0) < 0:
        raise _damaged(path, "IDX", f"{len(raw) - start} bytes of values where shape {shape} needs {needed}")
    values = np.frombuffer(raw, dtype, offset=start).reshape(shape)
    return Contents(path, {"values": values.astype(dtype.newbyteorder("="))})


_READERS: Mapping[str, Callable[[Path], Contents]] = {
    ".mat": _read_mat,
    ".npz": _read_npz,
    ".hdr": _read_envi,
}
