"""Sizes of models: the shapes behind the rows of Table 6, and from them the bytes of weights.

One formula for all who name gigabytes (10^9 bytes): parameters of the shape times the bytes of
each. A row of no known shape counts by the size it is called by ("7B").
"""

from dataclasses import dataclass

from boxes.models.table import ModelSpec, size_number

GB = 1e9
WEIGHT_WIDTH = 2  # bytes of a weight on the hub and on a GPU: bfloat16 or float16
MEASURED = "measured"  # the status of a row of data/bench/shapes.csv that has numbers
# Architectures whose output matrix is the embedding, whatever the size.
TIED = {"gemma", "gemma3"}


@dataclass(frozen=True)
class Shape:
    """What decides a model's size and speed."""

    architecture: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    ffn: int
    vocabulary: int
    shared: bool = False  # the output matrix is the embedding, as in small models of some families

    @property
    def tied(self) -> bool:
        """Whether the output matrix is the embedding."""
        return self.shared or self.architecture in TIED

    @property
    def layer_parameters(self) -> int:
        """Weights in the matrices of all layers."""
        attention = 2 * self.hidden * self.head_size * (self.heads + self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.ffn)

    @property
    def head_parameters(self) -> int:
        """Weights in the output matrix."""
        return self.hidden * self.vocabulary

    @property
    def parameters(self) -> int:
        """All weights; a tied output matrix counts once."""
        norms = (2 * self.layers + 1) * self.hidden
        return self.layer_parameters + self.head_parameters * (1 if self.tied else 2) + norms


SHAPES = {  # architecture, hidden, layers, heads, KV heads, head size, ffn, vocabulary
    "100m": Shape("llama", 768, 12, 12, 12, 64, 2048, 8192),  # for CPUs; no real model
    "7b": Shape("llama", 4096, 32, 32, 32, 128, 11008, 32000),  # Llama 2
    "13b": Shape("llama", 5120, 40, 40, 40, 128, 13824, 32000),  # Llama 2
    "34b": Shape("llama", 8192, 48, 64, 8, 128, 22016, 32000),  # Code Llama, but for 16 tokens more
    "70b": Shape("llama", 8192, 80, 64, 8, 128, 28672, 32000),  # Llama 2
    "mistral-7b": Shape("mistral", 4096, 32, 32, 8, 128, 14336, 32000),
    "gemma-7b": Shape("gemma", 3072, 28, 16, 16, 256, 24576, 256000),
    "deepseek-7b": Shape("llama", 4096, 30, 32, 32, 128, 11008, 102400),
}
SMALL_SHAPES = {  # of the profile `small`; the bench of shapes does without them
    "smollm2-135m": Shape("llama", 576, 30, 9, 3, 64, 1536, 49152, shared=True),
    "smollm2-360m": Shape("llama", 960, 32, 15, 5, 64, 2560, 49152, shared=True),
    "llama-3.2-1b": Shape("llama", 2048, 16, 32, 8, 64, 8192, 128256, shared=True),
    "qwen2.5-0.5b": Shape("qwen2", 896, 24, 14, 2, 64, 4864, 151936, shared=True),
    "qwen2.5-1.5b": Shape("qwen2", 1536, 28, 12, 2, 128, 8960, 151936, shared=True),
    "gemma-3-270m": Shape("gemma3", 640, 18, 4, 1, 256, 2048, 262144),
    "gemma-3-1b": Shape("gemma3", 1152, 26, 4, 1, 256, 6912, 262144),
    "olmo-2-1b": Shape("olmo2", 2048, 16, 16, 16, 128, 8192, 100352),
}


def shape_of(spec: ModelSpec) -> Shape | None:
    """The shape of a row; None where it is not known."""
    return (SHAPES | SMALL_SHAPES)[spec.shape] if spec.shape else None


def parameter_count(spec: ModelSpec) -> float:
    """Weights of a row: of its shape, else by the size it is called by."""
    shape = shape_of(spec)
    if shape:
        return shape.parameters
    return size_number(spec.size)


def weight_bytes(spec: ModelSpec, width: int = WEIGHT_WIDTH) -> float:
    """Bytes of a row's weights in memory, at `width` bytes each."""
    return width * parameter_count(spec)


def file_bytes(spec: ModelSpec) -> float:
    """Bytes of a row's weights on disk and on the hub."""
    return weight_bytes(spec, 4 if spec.float32_files else WEIGHT_WIDTH)


def download_bytes(spec: ModelSpec) -> float:
    """Bytes that are fetched of a row's weights: of packages, or its files on the hub."""
    return spec.packaged.size if spec.packaged else file_bytes(spec)


def gigabytes(size: float) -> str:
    """10^9 bytes, to one digit."""
    return f"{size / GB:.1f} GB"
