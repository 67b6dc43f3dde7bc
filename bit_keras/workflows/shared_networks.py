"""Networks that models of one architecture take turns with, so as to compile once."""

from bit_keras.models.classifier import BiTClassifier
from bit_keras.workflows.fine_tuner import FineTuner, FrozenModel

# Sets with as many classes or fewer share a network, for most have no more.
LEAST_ROOM = 64


class SharedNetworks:
    """Compiled networks, kept while models of one architecture follow each other.

    On a GPU it takes longer to compile a network than to fine-tune it on a few images.
    So sets of different numbers of classes share one. What was kept is dropped when a
    model of another architecture or precision comes; so models of one kind should be
    given one after another.

    Args:
        options: A job's `Options`, with `progress`, `batch_split`, `remat` and
            `weights`.
        count: Number of models. For a single one, no network waits for another model.
    """

    def __init__(self, options, count):
        self._options = options
        self._keeps = count > 1
        self._kind = self._start = None
        self._tuners = {}

    def open(self, name, model):
        """Returns the `FrozenModel`; the one before it must not be used any more.

        Args:
            name: What a person calls it.
            model: As in `FrozenModel.open`. Where that is opened here, its weights may
                go into the network of the model before it.
        """
        frozen = FrozenModel.open(name, model, self._options.weights)
        # What a caller has given is nobody else's to write into.
        return self.share(frozen, is_ours=not isinstance(model, BiTClassifier))

    def share(self, frozen, is_ours=True):
        """Returns a `FrozenModel`, its weights in the network of those before it.

        Args:
            frozen: The `FrozenModel`; the one before it must not be used any more.
            is_ours: Whether its own network may be kept for those that follow.
        """
        if frozen.kind != self._kind:
            self._kind, self._start, self._tuners = frozen.kind, None, {}
        if self._keeps and is_ours:
            frozen = self._in_shared_network(frozen)
        for tuner in self._tuners.values():
            tuner.frozen = frozen
        return frozen

    def _in_shared_network(self, frozen):
        if self._start is None:
            self._start = frozen.model
            return frozen
        exchanged = self._start.backbone, frozen.model.backbone
        for ours, new in zip(*(b.weights for b in exchanged), strict=True):
            ours.assign(new)
        self._start.backbone.origin = frozen.model.backbone.origin
        return FrozenModel(frozen.name, self._start, frozen.from_scratch)

    def tuner(self, frozen, num_classes):
        """Returns the `FineTuner` of the model that was opened last.

        Args:
            frozen: The `FrozenModel`.
            num_classes: Number of classes of the set.
        """
        room = max(LEAST_ROOM, 1 << (num_classes - 1).bit_length())
        if room not in self._tuners:
            if not self._keeps:
                self._tuners.clear()
            self._tuners[room] = FineTuner.of(frozen, room, self._options)
        return self._tuners[room]
