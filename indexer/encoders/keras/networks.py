"""Building the Keras network of a specification, which any runtime can then run."""

from typing import TYPE_CHECKING

from indexer.encoders.keras.backend import import_keras
from indexer.encoders.spec import EncoderSpec
from indexer.encoders.weights import Weights

if TYPE_CHECKING:
    import keras


def build_network(spec: EncoderSpec, weights: Weights) -> "keras.Model":
    """Return the network from preprocessed float32 (n, 224, 224, 3) to activations (n, dim).

    Raises :class:`~indexer.errors.WeightsUnavailable` if the weights do not fit the model.
    """
    import_keras()
    if spec.model == "vgg16":
        from indexer.encoders.keras import vgg16

        return vgg16.build(weights, spec.layer)
    from indexer.encoders.keras import efficientnet_lite0

    return efficientnet_lite0.build(weights)
