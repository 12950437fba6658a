"""Keeps what a killed run resumes from in one safetensors file, replaced as a whole; nothing is pickled.

Random numbers need no keeping: every step seeds its own.
Imports torch: import it where used.
"""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from rubrika.errors import EncoderError
from rubrika.train.curve import Moment

CHECKPOINT = "checkpoint.safetensors"

Tensors = dict[str, torch.Tensor]


@dataclass
class State:
    """How far a run is.

    Args:
        step: steps done.
        seconds: time spent.
        losses: the loss of each step since the last measurement.
        history: the measurements.
        best: the trained weights at the best of them.
        scaler: of the gradients in half precision.
    """

    step: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    history: list[Moment] = field(default_factory=list)
    best: Tensors = field(default_factory=dict)
    scaler: dict[str, float] = field(default_factory=dict)

    @property
    def best_f1(self) -> float:
        """The best measurement, -1 before the first."""
        return max((moment.f1 for moment in self.history), default=-1.0)


def trained_weights(module: nn.Module) -> Tensors:
    """All of a module's weights but the frozen ones."""
    frozen = {name for name, weight in module.named_parameters() if not weight.requires_grad}
    return {name: weight for name, weight in module.state_dict().items() if name not in frozen}


def save_checkpoint(
    folder: Path, identity: str, state: State, module: nn.Module, optimiser: torch.optim.Optimizer
) -> None:
    """Write a checkpoint; a kill at any moment leaves this one or the one before."""
    tensors = {f"weight {name}": weight for name, weight in trained_weights(module).items()}
    tensors |= {f"best {name}": weight for name, weight in state.best.items()}
    for name, weight in module.named_parameters():
        tensors |= {f"optimiser {key} {name}": value for key, value in optimiser.state.get(weight, {}).items()}
    numbers = {key: value for key, value in asdict(state).items() if key != "best"}
    metadata = {"identity": identity, "state": json.dumps(numbers)}
    save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, folder / "unfinished", metadata)
    os.replace(folder / "unfinished", folder / CHECKPOINT)


def load_checkpoint(folder: Path, identity: str, module: nn.Module, optimiser: torch.optim.Optimizer) -> State:
    """Put module and optimiser where a run of that identity was; a fresh state when there is no checkpoint.

    Raises:
        EncoderError: the checkpoint is another run's, or damaged.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        return State()
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    except Exception as error:  # safetensors raises its own kind.
        raise EncoderError(f"{path}: it cannot be read ({error}); delete it to start again") from None
    if metadata.get("identity") != identity:
        raise EncoderError(
            f"{folder}: an unfinished run with another base, other products or settings is here; "
            "repeat it as it was, or choose another folder"
        )
    state = State(**json.loads(metadata["state"]))
    state.history = [Moment(**moment) for moment in state.history]  # type: ignore[arg-type]
    state.best = _named(tensors, "best ")
    module.load_state_dict(_named(tensors, "weight "), strict=False)
    for name, weight in module.named_parameters():
        kept = {key: tensors.get(f"optimiser {key} {name}") for key in ("step", "exp_avg", "exp_avg_sq")}
        if kept["step"] is not None:
            # The number of steps stays on the CPU, where AdamW keeps it.
            optimiser.state[weight] = {
                key: value if key == "step" else value.to(weight.device)  # type: ignore[union-attr]
                for key, value in kept.items()
            }
    return state


def _named(tensors: Tensors, prefix: str) -> Tensors:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
