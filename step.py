"""A step of training: forward, backward and update on one batch.

The step looks at no value and has no shape that depends on one, so that a GPU never waits for Python: on CUDA all of it
is captured once in a graph and then replayed. A loss that is not finite makes no update; whoever trains finds it in the
sum of the losses.
"""

import torch
from torch import nn

import parallel

WARM_UP_STEPS = 3  # before a graph is captured, as torch's notes on CUDA graphs ask


def make_optimizer(recipe, model):
    """The recipe's torch optimizer."""
    settings = {"weight_decay": recipe.weight_decay, "fused": True}
    if recipe.optimizer == "adagrad":
        return torch.optim.Adagrad(model.parameters(), recipe.learning_rate, **settings)
    momentum = {"momentum": recipe.momentum, "nesterov": recipe.nesterov}
    optimizer = torch.optim.SGD(model.parameters(), recipe.learning_rate, **momentum, **settings)
    for parameter in model.parameters():  # torch leaves them uninitialised when the first update is skipped
        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    place_rate(optimizer)
    return optimizer


def place_rate(optimizer):
    """Put the rate on the GPU that the weights are on, if any: the schedule changes it and a captured graph reads it
    there."""
    for group in optimizer.param_groups:
        if group["params"][0].is_cuda and isinstance(optimizer, torch.optim.SGD):
            group["lr"] = torch.as_tensor(group["lr"], device=group["params"][0].device)


def set_rate(optimizer, rate):
    """Set the learning rate, wherever it is kept."""
    for group in optimizer.param_groups:
        if torch.is_tensor(group["lr"]):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


class Step:
    """What a batch does to a network: call it with (images [B, 1, 28, 28], labels [B], count), where `count` is the
    size of the whole batch, of which other processes may have their own parts."""

    def __init__(self, recipe, model, optimizer, precision):
        self.model, self.optimizer, self.precision = model, optimizer, precision
        self.device = next(model.parameters()).device
        self.loss = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing, reduction="sum")
        self.total_loss = torch.zeros((), device=self.device)
        self.correct = torch.zeros((), device=self.device)
        # Momentum that changes with the rate, and messages to other processes, stay outside of graphs.
        self.captures = (
            self.device.type == "cuda"
            and recipe.optimizer == "sgd"
            and not recipe.cycle_momentum
            and parallel.count() == 1
        )
        self.batch_size, self.taken, self.graph = recipe.batch_size, 0, None

    def start_epoch(self):
        """Set the sums to zero."""
        self.total_loss.zero_()
        self.correct.zero_()

    def __call__(self, images, labels, count):
        if not self.captures or count != self.batch_size:  # the last batch of an epoch is smaller
            self.update(images, labels, count)
        elif self.taken < WARM_UP_STEPS:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                self.update(images, labels, count)
            torch.cuda.current_stream().wait_stream(stream)
            self.taken += 1
        else:
            if self.graph is None:
                self.capture(images, labels)
            self.images.copy_(images)
            self.labels.copy_(labels)
            self.graph.replay()

    def capture(self, images, labels):
        """Record an update of a whole batch, without doing it, as a graph that reads self.images and self.labels."""
        self.images, self.labels = torch.empty_like(images), torch.empty_like(labels)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.update(self.images, self.labels, self.batch_size)

    def update(self, images, labels, count):
        """One update of the network."""
        enabled, cached = self.precision == "bfloat16", not self.captures
        with torch.autocast(self.device.type, torch.bfloat16, enabled=enabled, cache_enabled=cached):
            logits = self.model(images)
            loss = self.loss(logits, labels) / count
        loss.backward()
        loss = loss.detach().float()
        parallel.add_up([loss, *(weight.grad for weight in self.model.parameters() if weight.requires_grad)])
        self.optimizer.found_inf = 1 - loss.isfinite().float()  # torch's own way to skip an update without a look
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.total_loss += loss * count
        self.correct += (logits.detach().argmax(1) == labels).sum()
