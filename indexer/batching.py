"""Concurrent requests for vectors, encoded together where that is faster for everybody."""

import time
from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexer.encoders import Encoder

Pixels = NDArray[np.uint8]
Vector = NDArray[np.float32]


class Batcher:
    """Encodes the images of many threads in one, first come, first served. Safe between threads.

    While a batch is encoded the next one gathers: nobody waits for company, and a lone image goes
    at once. Let n images take ``a + b n``. One after the other, their mean wait is
    ``(n + 1) / 2 * (a + b)``; together it is ``a + b n``, which is less if and only if ``a > b``,
    that is if two take less than 1.5 times as long as one. That is measured when the batcher is
    made. On GPUs it holds, and for VGG16 on CPUs; for small networks on CPUs it does not.
    """

    def __init__(self, encoder: Encoder, limit: int | None = None) -> None:
        self._encoder = encoder
        self._waiting: deque[tuple[Pixels, Future[Vector]]] = deque()
        self._thread = ThreadPoolExecutor(1, "encoding")
        self.sizes: Counter[int] = Counter()
        """How many batches of each size have been encoded."""
        self.limit = self._measured_limit() if limit is None else limit
        """The largest batch; 1 where batches do not pay."""

    @property
    def waiting(self) -> int:
        """Images that have not been begun."""
        return len(self._waiting)

    def encode(self, pixels: Pixels) -> Vector:
        """Return the vector, float32 (dim,), of one image, uint8 (224, 224, 3).

        Raises whatever the encoder raises for the batch the image is in.
        """
        vector: Future[Vector] = Future()
        self._waiting.append((pixels, vector))
        self._thread.submit(self._encode_some)  # one call per image: never too few
        return vector.result()

    def _encode_some(self) -> None:
        """Encode the images that have waited longest; an earlier call may have left none."""
        count = min(len(self._waiting), self.limit)
        batch = [self._waiting.popleft() for _ in range(count)]
        if not batch:
            return
        self.sizes[len(batch)] += 1
        try:
            vectors = self._encoder.encode(np.stack([pixels for pixels, _ in batch]))
            answers = list(zip(batch, vectors, strict=True))
        except BaseException as error:  # noqa: BLE001 -- raised in the threads that wait
            for _, future in batch:
                future.set_exception(error)
            return
        for (_, future), vector in answers:
            future.set_result(vector)

    def _measured_limit(self) -> int:
        grey = np.full((2, 224, 224, 3), 128, np.uint8)
        one, two = (self._seconds(grey[:n]) for n in (1, 2))
        return self._encoder.batch_size if two < 1.5 * one else 1

    def _seconds(self, images: Any) -> float:
        """Return the least of three times, after one that may still set things up."""
        self._encoder.encode(images)
        times = []
        for _ in range(3):
            began = time.perf_counter()
            self._encoder.encode(images)
            times.append(time.perf_counter() - began)
        return min(times)
