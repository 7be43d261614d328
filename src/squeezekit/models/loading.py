"""A Keras model from a file, with one line of error for a file that holds none."""

import os
import zipfile

import keras

from squeezekit.errors import FormatError

__all__ = ["load"]


def load(path: str | os.PathLike[str]) -> keras.Model:
    """Load a `.keras` file without running code from it.

    Args:
        path: what `model.save` wrote.

    Returns:
        The model, not compiled.

    Raises:
        FormatError: the file is damaged, no Keras model, or needs classes that are not registered.
        OSError: the file cannot be opened.

    Example:
        >>> import tempfile
        >>> from squeezekit.models import squeezenet
        >>> path = os.path.join(tempfile.mkdtemp(), "model.keras")
        >>> squeezenet((64, 64, 3), 4).save(path)
        >>> load(path).output_shape
        (None, 4)
    """
    with open(path, "rb") as file:
        # Keras raises a ValueError for a missing file and guesses formats by name.
        if not zipfile.is_zipfile(file):
            raise FormatError(f"{path}: not a .keras file, or cut short")
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    # Keras raises nearly anything on a file that is not its own; to a user all of it means the same.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise FormatError(f"{path}: not a network that Keras can load ({reason})") from error
