"""Tiny models made in the test, saved as the real ones are, so that the real code loads them without a network.

What makes them is imported where they are made: it takes seconds, and most tests of the files that can need none.
"""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

TITLES = [
    "кроссовки женские беговые",
    "кеды",
    "чехол силиконовый для телефона прозрачный с рисунком",
    "корм для кошек сухой с курицей 2 кг",
    "шапка зимняя",
    "платье летнее в цветочек из хлопка длинное",
]
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


@cache
def tokenizer() -> "PreTrainedTokenizerFast":
    """A WordPiece vocabulary of the titles; made once, as training breaks ties by chance."""
    from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors, trainers
    from tokenizers.models import WordPiece
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(WordPiece(unk_token=SPECIALS[1]))
    made.normalizer = normalizers.BertNormalizer(strip_accents=False)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=SPECIALS, show_progress=False)
    made.train_from_iterator([*TITLES, "query:"], trainer)
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), SPECIALS, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=made, **names)


def as_downloaded(cache: Path, name: str) -> Path:
    """The folder where huggingface_hub would have put a model."""
    home = cache / f"models--{name.replace('/', '--')}"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text("c0ffee" * 6 + "cafe")
    return home / "snapshots" / ("c0ffee" * 6 + "cafe")


def save_bert(folder: Path, *, pooler: bool = True) -> Path:
    """A BERT of two layers, 32 wide, that takes 64 tokens."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(7)
    words = tokenizer()
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config, add_pooling_layer=pooler).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def save_vit(folder: Path, *, seed: int = 7) -> Path:
    """A ViT of one layer, 32 wide, that looks at pictures of 32 pixels."""
    import torch
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    torch.manual_seed(seed)
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    ViTModel(ViTConfig(image_size=32, patch_size=8, **shape)).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder
