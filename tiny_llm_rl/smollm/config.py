"""Sizes and conventions of a model of the Llama family, and how `config.json` states them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tiny_llm_rl._checks import choice, positive_scalar, shown, whole

__all__ = ["FAMILY", "LlamaConfig", "RopeScaling", "from_json", "to_json"]

FAMILY: Final = ("llama", "qwen2")
"""The `model_type`s that are read: they differ in which projections have a bias."""


@dataclass(frozen=True)
class RopeScaling:
    """Longer contexts as in Llama 3: slow rotations are slowed by `factor`, fast ones stay, between them a blend.

    Args:
        factor: at least 1.
        low: rotations within `length` positions below which a pair is slowed fully.
        high: rotations above which it stays; more than `low`.
        length: positions the model was trained on first.

    Raises:
        ValueError: for a factor below 1, or limits in the wrong order.
        TypeError: for what is no number.
    """

    factor: float
    low: float
    high: float
    length: int

    def __post_init__(self) -> None:
        """Refuse what cannot be blended."""
        for name in ("factor", "low", "high"):
            positive_scalar(name, getattr(self, name), "take the number of config.json")
        whole("length", self.length, "take original_max_position_embeddings of config.json")
        if self.factor < 1 or self.high <= self.low:
            raise ValueError(
                f"factor must be at least 1 and high above low, got factor={self.factor}, low={self.low}, "
                f"high={self.high}; take the numbers of config.json"
            )


@dataclass(frozen=True)
class LlamaConfig:
    """Size, conventions and number types of a `Llama`.

    Args:
        vocabulary: tokens V.
        width: D of the stream.
        layers: L.
        heads: H of the queries, a multiple of `kv_heads`.
        kv_heads: K of the keys and values; fewer than H is grouped-query attention.
        head_width: d, coordinates of a head, even.
        hidden: units of a layer's perceptron.
        theta: base of the rotary frequencies theta^(-2i/d).
        epsilon: added to the mean square in a norm.
        tied: whether the head is the embedding.
        scaling: of the rotary frequencies; None leaves them.
        dtype: of trained parameters: "float32" or "bfloat16".
        compute: of the products: "float32" or "bfloat16"; norms, softmax and logits are float32.
        remat: activations inside a layer are computed again when the gradient needs them, instead of kept.
        rows: sequences that `chosen` runs, and differentiates, at a time; their gradients are added up. 0 is all.
        alpha: adapters of rank r are added with the factor alpha / r.

    Raises:
        ValueError: for a size out of range, naming field, value and remedy.
        TypeError: for a size that is no integer.

    >>> LlamaConfig(49152, 576, 30, 9, 3, 64, 1536).parameters  # SmolLM2-135M
    134515008
    """

    vocabulary: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    hidden: int
    theta: float = 10000.0
    epsilon: float = 1e-5
    tied: bool = True
    scaling: RopeScaling | None = None
    dtype: str = "float32"
    compute: str = "float32"
    remat: bool = False
    rows: int = 0
    alpha: float = 16.0

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        whole("vocabulary", self.vocabulary, "count the tokens of the tokenizer", least=2)
        for name in ("width", "layers", "heads", "kv_heads", "head_width", "hidden"):
            whole(name, getattr(self, name), "take the number of config.json")
        if self.heads % self.kv_heads:
            raise ValueError(
                f"heads must be a multiple of kv_heads={self.kv_heads}, got {self.heads}; each key serves as many "
                "queries"
            )
        if self.head_width % 2:
            raise ValueError(f"head_width must be even, got {self.head_width}; rotary pairs need it")
        for name in ("theta", "epsilon", "alpha"):
            positive_scalar(name, getattr(self, name), "take a positive number")
        choice("dtype", self.dtype, ("float32", "bfloat16"))
        choice("compute", self.compute, ("float32", "bfloat16"))
        whole("rows", self.rows, "take 0 for all at once", least=0)

    def shapes(self) -> dict[str, tuple[int, int]]:
        """Outputs and inputs of the projections of a layer."""
        width, keys = self.width, self.kv_heads * self.head_width
        queries = self.heads * self.head_width
        return {
            "q": (queries, width),
            "k": (keys, width),
            "v": (keys, width),
            "o": (width, queries),
            "gate": (self.hidden, width),
            "up": (self.hidden, width),
            "down": (width, self.hidden),
        }

    @property
    def parameters(self) -> int:
        """Number of weights, biases and adapters aside."""
        per_layer = sum(out * inner for out, inner in self.shapes().values()) + 2 * self.width
        return (2 - self.tied) * self.vocabulary * self.width + self.layers * per_layer + self.width


def _rope(found: Mapping[str, Any]) -> tuple[float, RopeScaling | None]:
    """Theta and scaling, which newer files keep under rope_parameters."""
    nested = dict(found.get("rope_parameters") or found.get("rope_scaling") or {})
    theta = float(nested.get("rope_theta", found.get("rope_theta", 10000.0)))
    kind = nested.get("rope_type", nested.get("type", "default"))
    if kind == "default":
        return theta, None
    if kind != "llama3":
        raise ValueError(f"rope_type must be default or llama3, got {shown(kind)}; other scalings are not read")
    return theta, RopeScaling(
        float(nested["factor"]),
        float(nested["low_freq_factor"]),
        float(nested["high_freq_factor"]),
        int(nested["original_max_position_embeddings"]),
    )


def from_json(found: Mapping[str, Any]) -> LlamaConfig:
    """The config that `config.json` of a Hugging Face directory states.

    Args:
        found: its entries.

    Returns:
        `LlamaConfig` in float32.

    Raises:
        ValueError: for another architecture, an activation or a rotary scaling that is not read, or a missing entry.

    >>> from_json(to_json(LlamaConfig(9, 8, 1, 2, 1, 4, 16))) == LlamaConfig(9, 8, 1, 2, 1, 4, 16)
    True
    """
    choice("model_type", found.get("model_type"), FAMILY)
    choice("hidden_act", found.get("hidden_act", "silu"), ("silu",))
    for name in ("mlp_bias", "use_sliding_window"):
        if found.get(name):
            raise ValueError(f"{name} must be false, got {shown(found[name])}; such models are not read")
    try:
        theta, scaling = _rope(found)
        width, heads = int(found["hidden_size"]), int(found["num_attention_heads"])
        return LlamaConfig(
            vocabulary=int(found["vocab_size"]),
            width=width,
            layers=int(found["num_hidden_layers"]),
            heads=heads,
            kv_heads=int(found.get("num_key_value_heads") or heads),
            head_width=int(found.get("head_dim") or width // heads),
            hidden=int(found["intermediate_size"]),
            theta=theta,
            epsilon=float(found.get("rms_norm_eps", 1e-6)),
            tied=bool(found.get("tie_word_embeddings", False)),
            scaling=scaling,
        )
    except (KeyError, TypeError) as missing:
        raise ValueError(f"config.json lacks {missing}, or holds another kind of value; give a whole one") from None


def to_json(config: LlamaConfig, *, model_type: str = "llama", biases: bool = False) -> dict[str, Any]:
    """Entries of `config.json`, in the words of transformers.

    Args:
        config: of the model.
        model_type: one of `FAMILY`.
        biases: whether a "llama" has biases in its attention.

    Returns:
        What JSON can hold.
    """
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": config.theta}
    if config.scaling is not None:
        rope |= {
            "rope_type": "llama3",
            "factor": config.scaling.factor,
            "low_freq_factor": config.scaling.low,
            "high_freq_factor": config.scaling.high,
            "original_max_position_embeddings": config.scaling.length,
        }
    architecture = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}[choice("model_type", model_type, FAMILY)]
    found: dict[str, Any] = {
        "architectures": [architecture],
        "model_type": model_type,
        "hidden_act": "silu",
        "vocab_size": config.vocabulary,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "intermediate_size": config.hidden,
        "rms_norm_eps": config.epsilon,
        "rope_theta": config.theta,
        "rope_parameters": rope,
        "tie_word_embeddings": config.tied,
    }
    return found | ({"attention_bias": biases, "mlp_bias": False} if model_type == "llama" else {})
