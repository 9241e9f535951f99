"""Fast paths compute what the readable definitions compute."""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from torch import Tensor, nn

from sknet import Branch, SKConv, create_model, fused, record_selection
from sknet.convolution import CentredConv2d
from sknet.fused import can_fuse, fuse, readable_path

pytest.importorskip("numba")

BRANCHES = (
    Branch(groups=2),
    Branch(dilation=2, groups=4),
    Branch(5, groups=8),
    Branch(1, groups=1),
)


def build_unit(
    count: int, attention: str = "softmax", *, stride: int = 1, **settings: object
) -> SKConv:
    """A unit of float64, with norms and biases that are neither new nor trivial."""
    torch.manual_seed(count)
    unit = SKConv(
        8, BRANCHES[:count], attention=attention, min_width=4, stride=stride, **settings
    ).double()
    for module in unit.modules():
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.normal_(module.bias, 0, 0.3)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.3)
            nn.init.normal_(module.bias, 0, 0.3)
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return unit


def train_step(unit: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Output, all gradients, and all buffers after one step of training."""
    x = x.clone().requires_grad_()
    output = unit(x)
    output.square().mean().backward()
    gradients = {name: p.grad for name, p in unit.named_parameters()}
    return {"output": output, "input": x.grad, **gradients, **dict(unit.named_buffers())}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every use of the fast path, so that no test passes without it."""
    seen: list[int] = []
    apply: Callable[..., Tensor] = fused._Fuse.apply
    monkeypatch.setattr(fused._Fuse, "apply", lambda *args: (seen.append(1), apply(*args))[1])
    return seen


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("attention", ["softmax", "sum"])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_training_equals_the_definition(
    count: int, attention: str, stride: int, layout: torch.memory_format, calls: list[int]
) -> None:
    """Outputs, gradients and running statistics, for any number of branches."""
    unit = build_unit(count, attention, stride=stride)
    x = torch.randn(3, 8, 7, 5, dtype=torch.float64).to(memory_format=layout)

    with readable_path():
        expected = train_step(copy.deepcopy(unit), x)
    found = train_step(unit, x)

    assert calls == [1]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize("score_bias", [False, True])
@pytest.mark.parametrize("descriptor", ["normalised", "linear"])
@pytest.mark.parametrize("count", [2, 3])
def test_every_descriptor_equals_the_definition(
    count: int, descriptor: str, score_bias: bool, is_training: bool, calls: list[int]
) -> None:
    """With the gradients of its biases, and by the running statistics."""
    unit = build_unit(count, descriptor=descriptor, score_bias=score_bias).train(is_training)
    x = torch.randn(3, 8, 7, 5, dtype=torch.float64)
    compute = train_step if is_training else torch.inference_mode()(lambda unit, x: unit(x))

    with readable_path():
        expected = compute(copy.deepcopy(unit), x)
    found = compute(unit, x)

    assert calls == [1]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("attention", ["softmax", "sum"])
def test_evaluation_equals_the_definition(attention: str, batch: int, calls: list[int]) -> None:
    """By the running statistics, for a single image too."""
    unit = build_unit(3, attention).eval()
    x = torch.randn(batch, 8, 6, 6, dtype=torch.float64)

    with torch.inference_mode(), readable_path():
        expected = unit(x)
    with torch.inference_mode():
        found = unit(x)

    assert calls == [1]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_training_without_gradients_updates_the_running_statistics(
    context: Callable[[], AbstractContextManager[None]], calls: list[int]
) -> None:
    """As some programs do before they evaluate."""
    unit = build_unit(2)
    expected = train_step(copy.deepcopy(unit), x := torch.randn(3, 8, 5, 5, dtype=torch.float64))

    with context():
        output = unit(x)

    assert calls
    assert not output.requires_grad
    torch.testing.assert_close(output, expected["output"].detach())
    for name, buffer in unit.named_buffers():
        torch.testing.assert_close(buffer, expected[name])


def test_gradients_are_those_of_finite_differences(calls: list[int]) -> None:
    """Of the feature maps, of the normalisation, and of what computes the weights."""
    torch.manual_seed(0)
    norms = [nn.BatchNorm2d(3).double() for _ in range(2)]
    features = [torch.randn(3, 3, 2, 2, dtype=torch.float64, requires_grad=True) for _ in norms]
    matrix = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)

    def compute(*tensors: Tensor) -> Tensor:
        first, second, scores = tensors
        return fuse(
            [first, second],
            norms,
            weigh=lambda pooled: (pooled @ scores.T).view(3, 2, 3).softmax(1),
            parameters=[scores],
        )

    assert torch.autograd.gradcheck(compute, (*features, matrix))
    assert calls


def test_second_derivatives_are_refused() -> None:
    """Autograd would leave out the fast path's share without an error: a wrong Hessian."""
    unit = build_unit(2)
    x = torch.randn(3, 8, 5, 5, dtype=torch.float64, requires_grad=True)
    loss = unit(x).square().sum()

    with pytest.raises(RuntimeError, match="second derivatives need"):
        torch.autograd.grad(loss, x, create_graph=True)


def fix_weights(unit: SKConv) -> None:
    """Replaces the scores, as `replace_selection` does."""
    unit.score.register_forward_hook(lambda _layer, _inputs, scores: torch.zeros_like(scores))


def heat(unit: SKConv) -> None:
    """Adds a learnable temperature of the softmax."""
    unit.temperature = nn.Parameter(torch.full((), 0.7, dtype=torch.float64))
    unit.score.register_forward_hook(lambda _layer, _inputs, scores: scores * unit.temperature)


@pytest.mark.parametrize(
    "change",
    [
        lambda unit: unit.score.requires_grad_(False),
        lambda unit: unit.squeeze.requires_grad_(False),
        lambda unit: unit.requires_grad_(False),
        fix_weights,
        heat,
    ],
)
def test_a_changed_gate_has_the_gradients_of_the_definition(
    change: Callable[[SKConv], object],
) -> None:
    """Whoever freezes, replaces or extends the gate gets every gradient that is left."""
    unit = build_unit(2)
    change(unit)
    x = torch.randn(3, 8, 7, 5, dtype=torch.float64, requires_grad=True)
    wanted = [x, *(parameter for parameter in unit.parameters() if parameter.requires_grad)]

    with readable_path():
        expected = torch.autograd.grad(unit(x).square().mean(), wanted, allow_unused=True)
    found = torch.autograd.grad(unit(x).square().mean(), wanted, allow_unused=True)

    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


def test_function_transforms_use_the_definition() -> None:
    """`torch.func` cannot look into functions of our own."""
    unit = build_unit(2)
    x = torch.randn(3, 8, 5, 5, dtype=torch.float64)
    before = copy.deepcopy(dict(unit.named_buffers()))
    parameters = {name: p.detach().clone() for name, p in unit.named_parameters()}

    def compute(parameters: dict[str, Tensor]) -> Tensor:
        buffers = {name: buffer.clone() for name, buffer in before.items()}
        output = torch.func.functional_call(unit, {**parameters, **buffers}, (x,))
        return output.square().mean()

    found = torch.func.grad(compute)(parameters)

    expected = train_step(unit, x)
    torch.testing.assert_close(found, {name: expected[name] for name in found})


def test_nothing_but_the_convolutions_outputs_is_stored() -> None:
    """The definition stores activations too; memory limits the batch size."""
    unit = SKConv(64, (Branch(), Branch(dilation=2)))
    x = torch.randn(4, 64, 16, 16)
    large: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.numel() >= x.numel():
            large[tensor.data_ptr()] = tensor.numel() // x.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        unit(x)

    assert sorted(large.values()) == [1, 1, 1]  # the input and two outputs


def test_not_a_number_is_not_hidden() -> None:
    """A diverged training must be seen as such."""
    unit = build_unit(2).train()
    x = torch.randn(3, 8, 5, 5, dtype=torch.float64)
    x[1, 2, 3, 3] = torch.nan

    assert not unit(x).isfinite().all()


def test_one_value_per_channel_is_refused() -> None:
    """As by PyTorch: its variance is unknown."""
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        build_unit(2)(torch.randn(1, 8, 1, 1, dtype=torch.float64))


def test_selection_weights_are_recorded(calls: list[int]) -> None:
    """On the fast path as by the definition."""
    network = create_model("sknet_tiny").double().eval()
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)

    with torch.inference_mode(), record_selection(network) as found:
        network(x)
    with torch.inference_mode(), readable_path(), record_selection(network) as expected:
        network(x)

    assert found
    assert calls
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_hooks_are_called(part: int) -> None:
    """On every layer of a branch, so whoever watches a layer sees it."""
    unit = build_unit(2)
    seen: list[nn.Module] = []
    unit.branches[0][part].register_forward_hook(lambda layer, *_: seen.append(layer))

    unit(torch.randn(3, 8, 5, 5, dtype=torch.float64))

    assert seen == [unit.branches[0][part]]


@pytest.mark.parametrize(
    "change",
    [
        lambda unit: unit.half(),
        lambda unit: unit.eval(),  # while gradients are needed
        lambda unit: unit.branches.__delitem__(1),
        lambda unit: unit.branches[1].register_forward_hook(print),
        lambda unit: setattr(unit.branches[0][1], "momentum", None),
        lambda unit: unit.branches[0].__setitem__(1, nn.BatchNorm2d(8, track_running_stats=False)),
        lambda unit: unit.branches[0].__setitem__(1, nn.GroupNorm(2, 8)),
        lambda unit: unit.branches[0].__setitem__(2, nn.ReLU6()),
    ],
)
def test_unusual_units_use_the_definition(change: Callable[[SKConv], object]) -> None:
    """The fast path is only for what it was written for."""
    unit = build_unit(2)
    x = torch.randn(3, 8, 5, 5, dtype=torch.float64)
    assert can_fuse(x, list(unit.branches))

    change(unit)

    assert not can_fuse(x, list(unit.branches))


def test_autocast_uses_the_definition(calls: list[int]) -> None:
    """The kernels know no bfloat16."""
    with torch.autocast("cpu", torch.bfloat16):
        SKConv(8, min_width=4, branches=BRANCHES[:2])(torch.randn(2, 8, 4, 4))

    assert calls == []


def test_without_numba_the_definition_is_used(
    monkeypatch: pytest.MonkeyPatch, calls: list[int]
) -> None:
    """It is an optional dependency of the networks."""
    monkeypatch.setattr(fused, "has_kernels", lambda: False)

    build_unit(2)(torch.randn(3, 8, 5, 5, dtype=torch.float64))

    assert calls == []


def test_an_exported_network_has_only_known_operators() -> None:
    """Other programs load it without this package."""
    network = create_model("sknet_tiny").eval()
    x = torch.randn(2, 3, 32, 32)

    exported = torch.export.export(network, (x,)).module()

    torch.testing.assert_close(exported(x), network(x))


@pytest.mark.parametrize("size", [1, 4, 7])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 2), (2, 2), (2, 3), (2, 4), (3, 3), (4, 2)])
def test_subsampling_changes_no_bit(stride: int, dilation: int, kernel: int, size: int) -> None:
    """A strided, dilated convolution equals one on a grid of its input."""
    torch.manual_seed(0)
    padding = dilation * (kernel // 2)
    layer = CentredConv2d(4, 4, kernel, stride, padding, dilation, groups=2).double()
    x = torch.randint(-8, 8, (2, 4, size, size + 1)).double()  # sums of integers are exact
    layer.weight.data.round_()

    with readable_path():
        expected = layer(x)

    assert torch.equal(layer(x), expected)
