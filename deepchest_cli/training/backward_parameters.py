"""Gradients of single tasks by parameters: a backward pass through the network for each task."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepchest_cli.data.batches import Batch
from deepchest_cli.training.backward import StepResult, TaskBackward, TaskGradients
from deepchest_cli.training.components import TrainingComponents
from deepchest_cli.weighting import GradientWeighter, TaskLosses

Some = TypeVar("Some", bound=Tensor)


class ParameterBackward(TaskBackward):
    """Combines the tasks' gradients by all shared parameters."""

    average_gradients = False

    def combine(self, gradients: TaskGradients) -> Tensor | None:
        """Leave the gradients in the parameters; return the weights (T,) that were used."""
        shared, all_features = self.components.classifier.shared_parameters, []
        jacobian = self.zeros(shared)
        rows = self.split(gradients.by_logits, gradients.micro_batches)
        tasks = present_tasks(gradients.losses)
        for (features, _), by_logits in zip(gradients.outputs, rows, strict=True):
            self.accumulate(jacobian, features, by_logits, shared, tasks, keep_graph=False)
            all_features.append(features.detach().float())
        combined = self.weighter(gradients.losses, self.reduced(jacobian))
        for parameter, values in _split_like(self.scaled(combined), shared):
            # in the memory layout of the parameter, which fused optimizers ask for
            parameter.grad = torch.empty_like(parameter, requires_grad=False)
            parameter.grad.copy_(values.view(parameter.shape))
        for_head = torch.cat(self.split(gradients.for_head, gradients.micro_batches))
        self._fill_task_layer(torch.cat(all_features), for_head)
        return self.weighter.weights

    def _fill_task_layer(self, features: Tensor, for_head: Tensor) -> None:
        parameters = list(self.task_layer.parameters())
        logits = self.components.tasks.expand(self.task_layer(features))
        computed = torch.autograd.grad(logits, parameters, self.scaled(for_head))
        for parameter, gradient in zip(parameters, computed, strict=True):
            parameter.grad = self.components.distributed.all_reduce(gradient)

    def zeros(self, parameters: Sequence[Tensor]) -> Tensor:
        """Return zeros (T, K), where the parameters hold K numbers."""
        count = sum(parameter.numel() for parameter in parameters)
        return torch.zeros(len(self.components.tasks.names), count, device=self.components.device)

    def reduced(self, jacobian: Tensor) -> Tensor:
        """Return the sum (T, K) over the processes, without the loss scale of fp16."""
        total = self.components.distributed.all_reduce(jacobian)
        if not self.components.scaler.is_enabled():
            return total
        return total / self.scaled(total.new_ones(()))  # on the device, which nothing waits for

    def accumulate(
        self,
        jacobian: Tensor,
        features: Tensor,
        by_logits: Tensor,
        parameters: Sequence[Tensor],
        tasks: Sequence[int],
        keep_graph: bool,
    ) -> None:
        """Add the (scaled) gradients of a micro-batch's tasks by the parameters to (T, K)."""
        starts = self.scaled(self.by_features(by_logits)).to(features.dtype)  # (T, b, D)
        for task in tasks:
            keep = keep_graph or task != tasks[-1]
            computed = torch.autograd.grad(
                features, parameters, starts[task], retain_graph=keep, materialize_grads=True
            )
            for gradient, values in _split_like(jacobian[task], computed):
                values.add_(gradient.reshape(-1))


class GivenWeightsBackward(ParameterBackward):
    """For weights that are known before the step: task gradients only update them.

    The gradients are taken at the last shared layer or, as asked, at all shared parameters.
    """

    average_gradients = True

    def __init__(self, components: TrainingComponents, weighter: GradientWeighter) -> None:
        super().__init__(components, weighter)
        classifier = components.classifier
        self.parameters: list[Tensor] = [*classifier.shared_parameters]
        self.layer_norms: LayerGradientNorms | None = None
        if components.config.gradient_level == "features":
            self.parameters = [classifier.last_shared_layer.weight]
            self.layer_norms = LayerGradientNorms(classifier.last_shared_layer)

    def __call__(self, micro_batches: list[Tensor], batch: Batch, step: int) -> StepResult:
        """Compute the gradients of step number `step`, see `BackwardStrategy`."""
        with self.layer_norms.recording() if self.layer_norms else nullcontext():
            return super().__call__(micro_batches, batch, step)

    def combine(self, gradients: TaskGradients) -> Tensor | None:
        """Leave the gradients in the parameters; return the weights (T,) that were used."""
        weights, jacobian = self.weighter.weights, None
        tables = (gradients.by_logits, gradients.for_head)
        rows = (self.split(table, gradients.micro_batches) for table in tables)
        for (features, logits), by_logits, for_head in zip(gradients.outputs, *rows, strict=True):
            if self._norms_suffice(gradients):
                jacobian = self._with_norms(features, by_logits)
            else:
                if jacobian is None:
                    jacobian, tasks = self.zeros(self.parameters), present_tasks(gradients.losses)
                self.accumulate(
                    jacobian, features, by_logits, self.parameters, tasks, keep_graph=True
                )
            self.backward(logits, self.scaled(for_head))
        assert jacobian is not None
        self.weighter(gradients.losses, self.reduced(jacobian))
        return weights

    def _norms_suffice(self, gradients: TaskGradients) -> bool:
        """Whether norms replace gradients: those of micro-batches or processes do not add up."""
        if len(gradients.micro_batches) > 1 or self.components.distributed.world_size > 1:
            return False
        tasks = len(self.components.tasks.names)
        return self.layer_norms is not None and self.layer_norms.is_cheaper(tasks)

    def _with_norms(self, features: Tensor, by_logits: Tensor) -> Tensor:
        """Return (scaled) gradients (T, T) with the norms of those by the last shared layer."""
        assert self.layer_norms is not None
        starts = self.scaled(self.by_features(by_logits)).to(features.dtype)
        return torch.diag(self.layer_norms.norms(features, starts))


class LayerGradientNorms:
    """Norms of tasks' gradients by a layer's weights, without computing these gradients.

    With X (M, K) the layer's input and Y (M, C) a task's gradient by the layer's output, the
    gradient by the weights is Y^T X, and its squared norm is the sum over all entries of
    Y Y^T * X X^T. X X^T is the same for all tasks.
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d) -> None:
        self.layer = layer
        self.input: Tensor | None = None
        self.output: Tensor | None = None

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Keep the layer's last input and output; afterwards neither they nor the hook remain."""
        handle = self.layer.register_forward_hook(self._record)
        try:
            yield
        finally:
            handle.remove()
            self.input = self.output = None

    def _record(self, layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        if not output.requires_grad:
            return output
        if self.output is None:  # not once more where the backward pass computes it again
            self.input, self.output = inputs[0].detach(), output
        return output.clone()  # an activation may change its input in place

    def is_cheaper(self, tasks: int) -> bool:
        """Whether norms take fewer multiplications than the gradients themselves."""
        assert self.output is not None
        if isinstance(self.layer, nn.Conv2d) and self.layer.groups > 1:
            return False
        outputs, inputs = self.layer.weight.flatten(1).shape
        rows = self.output.numel() // outputs  # M
        return rows * (inputs + tasks * outputs) < tasks * inputs * outputs

    def norms(self, features: Tensor, starts: Tensor) -> Tensor:
        """Return the norms (T,) for the tasks' gradients by the features (T, b, D).

        The features' graph is kept.
        """
        assert self.input is not None
        assert self.output is not None
        input_products = _products(self._input_rows(self.input))
        squares = []
        for start in starts:
            (gradient,) = torch.autograd.grad(features, self.output, start, retain_graph=True)
            rows = _rows(gradient, channels_first=isinstance(self.layer, nn.Conv2d))  # (M, C)
            squares.append((_products(rows) * input_products).sum())
        return torch.stack(squares).clamp(min=0).sqrt()

    def _input_rows(self, inputs: Tensor) -> Tensor:
        """Return what the weights are multiplied by (M, K)."""
        if isinstance(self.layer, nn.Linear):
            return _rows(inputs, channels_first=False)
        layer = self.layer
        assert not isinstance(layer.padding, str)
        patches = F.unfold(  # in the order of the layer's weights
            inputs.float(), layer.kernel_size, layer.dilation, layer.padding, layer.stride
        )
        return _rows(patches, channels_first=True).to(inputs.dtype)


def present_tasks(losses: TaskLosses) -> list[int]:
    """Return the numbers of the present tasks, on which a device is waited for.

    An absent task takes no backward pass, which costs far more than the wait.
    """
    return [task for task, is_in in enumerate(losses.present.tolist()) if is_in]


def _products(rows: Tensor) -> Tensor:
    """Return the products (M, M) of all rows with each other, in single precision."""
    if rows.dtype == torch.float16:  # where those of scaled gradients overflow
        rows = rows.float()
    return (rows @ rows.T).float()


def _rows(values: Tensor, channels_first: bool) -> Tensor:
    """Return the positions of all images as rows, the channels as columns."""
    return (values.movedim(1, -1) if channels_first else values).flatten(0, -2)


def _split_like(whole: Tensor, tensors: Sequence[Some]) -> Iterator[tuple[Some, Tensor]]:
    """Yield each tensor with its numbers among those (K,) of all."""
    sizes = [tensor.numel() for tensor in tensors]
    return zip(tensors, torch.split(whole, sizes), strict=True)
