"""The gradients of single tasks by parameters: a way back through the network for each task."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import TypeVar

import torch
from torch import Tensor

from deepchest_cli.data.batches import Batch
from deepchest_cli.training.layer_lengths import WatchedLayer
from deepchest_cli.training.propagation import Outcome
from deepchest_cli.training.setup import Setup
from deepchest_cli.training.task_propagation import Seen, TaskPropagation
from deepchest_cli.weighting import GradientWeighter


class ParameterPropagation(TaskPropagation):
    """Combines the gradients by all shared parameters."""

    averages = False

    def propagate(self, seen: Seen) -> Tensor | None:
        """Leave the gradients in the parameters; return the weights (T,) that were used."""
        shared, features = self.setup.classifier.shared_parameters, []
        jacobian = self.no_gradients(shared)
        for (found, _), by_logits in zip(
            seen.outputs, self.shares(seen.by_logits, seen.parts), strict=True
        ):
            present = seen.losses.present
            self.add_gradients(jacobian, found, by_logits, shared, present, keep_graph=False)
            features.append(found.detach().float())
        direction = self.weighter(seen.losses, self.of_all(jacobian))
        for parameter, piece in pieces_of(self.scaled(direction), shared):
            # in the layout of the parameter, which fused optimizers ask for
            parameter.grad = torch.empty_like(parameter, requires_grad=False)
            parameter.grad.copy_(piece.view(parameter.shape))
        self._fill_task_layer(torch.cat(features), torch.cat(self.shares(seen.own, seen.parts)))
        return self.weighter.weights

    def _fill_task_layer(self, features: Tensor, own: Tensor) -> None:
        parameters = list(self.task_layer.parameters())
        logits = self.task_layer(features)
        found = torch.autograd.grad(logits, parameters, self.scaled(own))
        for parameter, gradient in zip(parameters, found, strict=True):
            parameter.grad = self.setup.ranks.total(gradient)

    def no_gradients(self, parameters: Sequence[Tensor]) -> Tensor:
        """Return zeros (T, K), K numbers in all the parameters."""
        count = sum(parameter.numel() for parameter in parameters)
        return torch.zeros(self.task_layer.out_features, count, device=self.setup.device)

    def of_all(self, jacobian: Tensor) -> Tensor:
        """Return the sum (T, K) over the processes, without the factor of half precision."""
        total = self.setup.ranks.total(jacobian)
        return total / self.setup.scaler.get_scale() if self.setup.scaler.is_enabled() else total

    def add_gradients(
        self,
        into: Tensor,
        features: Tensor,
        by_logits: Tensor,
        parameters: Sequence[Tensor],
        present: Tensor,
        keep_graph: bool,
    ) -> None:
        """Add the (scaled) gradients of a part's tasks by the parameters to (T, K), in place.

        A task that is absent costs nothing.
        """
        starts = self.scaled(self.by_features(by_logits)).to(features.dtype)  # (T, b, D)
        tasks = present.nonzero().flatten().tolist()
        for task in tasks:
            keep = keep_graph or task != tasks[-1]
            found = torch.autograd.grad(
                features, parameters, starts[task], retain_graph=keep, materialize_grads=True
            )
            for gradient, piece in pieces_of(into[task], found):
                piece.add_(gradient.reshape(-1))


class AheadPropagation(ParameterPropagation):
    """For weights that are there beforehand: the gradients are looked at on the way back.

    They are taken at the last shared layer or, as asked, at all shared parameters.
    """

    averages = True

    def __init__(self, setup: Setup, weighter: GradientWeighter) -> None:
        super().__init__(setup, weighter)
        classifier = setup.classifier
        self.looked_into: list[Tensor] = [*classifier.shared_parameters]
        self.watched: WatchedLayer | None = None
        if setup.config.gradient_level == "features":
            self.looked_into = [classifier.last_shared_layer.weight]
            self.watched = WatchedLayer(classifier.last_shared_layer)

    def __call__(self, parts: list[Tensor], batch: Batch, step: int) -> Outcome:
        """Compute the gradients of step number `step`, see `Propagation`."""
        with self.watched.watching() if self.watched else nullcontext():
            return super().__call__(parts, batch, step)

    def propagate(self, seen: Seen) -> Tensor | None:
        """Leave the gradients in the parameters; return the weights (T,) that were used."""
        weights, jacobian = self.weighter.weights, None
        shares = (self.shares(table, seen.parts) for table in (seen.by_logits, seen.own))
        for (features, logits), by_logits, own in zip(seen.outputs, *shares, strict=True):
            if self._sees_all(seen):
                jacobian = self._lengths(features, by_logits)
            else:
                jacobian = self.no_gradients(self.looked_into) if jacobian is None else jacobian
                present = seen.losses.present
                self.add_gradients(
                    jacobian, features, by_logits, self.looked_into, present, keep_graph=True
                )
            self.back(logits, self.scaled(own))
        assert jacobian is not None
        self.weighter(seen.losses, self.of_all(jacobian))
        return weights

    def _sees_all(self, seen: Seen) -> bool:
        """Whether lengths will do: those of sums over parts or processes need what is summed."""
        alone = len(seen.parts) == 1 and self.setup.ranks.count == 1
        tasks = self.task_layer.out_features
        return alone and self.watched is not None and self.watched.is_worth_it(tasks)

    def _lengths(self, features: Tensor, by_logits: Tensor) -> Tensor:
        """Return (scaled) gradients (T, T) that are as long as those by the last shared layer."""
        assert self.watched is not None
        starts = self.scaled(self.by_features(by_logits)).to(features.dtype)
        return torch.diag(self.watched.lengths(features, starts))


Some = TypeVar("Some", bound=Tensor)


def pieces_of(whole: Tensor, tensors: Sequence[Some]) -> Iterator[tuple[Some, Tensor]]:
    """Yield each tensor with its numbers among those (K,) of all."""
    sizes = [tensor.numel() for tensor in tensors]
    return zip(tensors, torch.split(whole, sizes), strict=True)
