"""The known datasets. To add one, add a row; recipes refer to it as `data.dataset`."""

from __future__ import annotations

from dataclasses import dataclass, field

from sentopt.run_dir import Split


@dataclass(frozen=True)
class MirrorFile:
    """A file below `SENTOPT_DATA_DIR`, or the rows `start` to `stop` of one; `stop=None` means to the end."""

    path: str
    start: int = 0
    stop: int | None = None


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset on the hub at a pinned revision, and the same data in a local mirror."""

    name: str
    hub_id: str
    revision: str
    hub_splits: dict[Split, str]
    mirror: dict[Split, MirrorFile]
    text_column: str
    label_column: str
    labels: tuple[str, ...]
    hub_text_column: str = ""
    hub_label_column: str = ""
    note: str = field(default="", compare=False)


DATASETS: dict[str, DatasetSpec] = {
    spec.name: spec
    for spec in (
        DatasetSpec(
            name="sst2",
            hub_id="stanfordnlp/sst2",
            revision="8d51e7e4887a4caaa95b3fbebbf53c0490b58bbb",
            hub_splits={"train": "train", "validation": "validation", "test": "test"},
            mirror={
                "train": MirrorFile("sst2/train.csv.gz"),
                "validation": MirrorFile("sst2/validation.csv"),
                "test": MirrorFile("sst2/test.csv"),
            },
            text_column="sentence",
            label_column="label",
            labels=("negative", "positive"),
            note="Socher et al. 2013. The hub hides the test labels.",
        ),
        DatasetSpec(
            name="tweets",
            hub_id="mteb/tweet_sentiment_extraction",
            revision="d604517c81ca91fe16a244d1248fc021f9ecee7a",
            hub_splits={"train": "train", "test": "test"},
            mirror={"train": MirrorFile("tweets/train.csv.gz"), "test": MirrorFile("tweets/test.csv")},
            text_column="text",
            label_column="label",
            labels=("negative", "neutral", "positive"),
            note="Kaggle Tweet Sentiment Extraction, CC BY 4.0.",
        ),
        DatasetSpec(
            name="imdb",
            hub_id="stanfordnlp/imdb",
            revision="e6281661ce1c48d982bc483cf8a173c1bbeb5d31",
            hub_splits={"train": "train", "test": "test"},
            mirror={
                "train": MirrorFile("imdb/movie_reviews_20k.csv.gz", 0, 8_000),
                "validation": MirrorFile("imdb/movie_reviews_20k.csv.gz", 8_000, 10_000),
                "test": MirrorFile("imdb/movie_reviews_20k.csv.gz", 10_000, 20_000),
            },
            text_column="review",
            label_column="sentiment",
            labels=("negative", "positive"),
            hub_text_column="text",
            hub_label_column="label",
            note="Maas et al. 2011. The mirror holds the first 20,000 reviews of the published CSV order.",
        ),
    )
}
