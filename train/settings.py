"""How to fine-tune: one set of settings for texts alone and for texts and pictures together."""

from dataclasses import asdict, dataclass

from rubrika.encode.text import Pooling

# These say how long to train and what to write on the way, not what is trained: a resumed run may change them.
_FREE = {"minutes", "checkpoint_minutes", "checkpoint_steps"}


@dataclass(frozen=True, slots=True)
class FinetuneSettings:
    """What to train, and how.

    Args:
        epochs: how often every product is seen.
        minutes: stop after so long, the learning rate having fallen to nothing by then; None: after the epochs.
        batch: products a step at most.
        batch_tokens: tokens a step at most, padding included.
        max_tokens: longer texts are cut; None: as the base says.
        pooling: how a vector is made of tokens; None: as the base says.
        prompt: precedes every text; None: as the base says.
        rate: the learning rate of pretrained weights.
        head_rate: the learning rate of weights that start from nothing.
        warmup: the part of the way on which rates rise; on the rest they fall to nothing.
        decay: weight decay.
        clip: the longest gradient.
        contrast: weight of the supervised contrastive term beside cross-entropy (Khosla et al. 2020); 0: none.
        temperature: of that term.
        freeze_layers: embeddings and so many first layers stay as they are; None: everything is trained.
        half: compute in half precision where layers bear it, which a CPU needs to be made for; None: on a GPU.
        holdout: the part of the products that is held out to measure on, whole groups where products carry one.
        validate_steps: measure after so many steps; None: ten times on the way.
        checkpoint_minutes: write what a killed run resumes from after so many minutes.
        checkpoint_steps: also after so many steps.
        seed: of the held-out part, the first weights, the order of products, and dropout.
    """

    epochs: int = 3
    minutes: float | None = None
    batch: int = 32
    batch_tokens: int = 4_096
    max_tokens: int | None = None
    pooling: Pooling | None = None
    prompt: str | None = None
    rate: float = 5e-5
    head_rate: float = 5e-3
    warmup: float = 0.1
    decay: float = 0.01
    clip: float = 1.0
    contrast: float = 0.0
    temperature: float = 0.1
    freeze_layers: int | None = None
    half: bool | None = None
    holdout: float = 0.1
    validate_steps: int | None = None
    checkpoint_minutes: float = 10.0
    checkpoint_steps: int | None = None
    seed: int = 0

    def training(self) -> dict[str, object]:
        """The settings that decide what is trained."""
        return {name: value for name, value in asdict(self).items() if name not in _FREE}
