"""A bound in time for a read of the storage, whose failure becomes an answer: 503, try again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import anyio

from ..errors import Unavailable
from .ports import StorageError


@contextmanager
def reading(timeout_s: float) -> Iterator[None]:
    """Bound what is inside, which reads the storage.

    Raises:
        Unavailable: the storage failed, or did not answer in time.
    """
    try:
        with anyio.fail_after(timeout_s):
            yield
    except TimeoutError as error:
        raise Unavailable("the storage did not answer in time", retry_after_s=1) from error
    except StorageError as error:
        raise Unavailable(retry_after_s=1) from error
