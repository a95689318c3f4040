"""The sections of a recipe as frozen dataclasses. Each field declares its bounds, its help and its other names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from sentopt.measure.label_sets import MOST_LABELS
from sentopt.measure.timing import Figure
from sentopt.recipe.fields import Keys, Spelling, declared, option
from sentopt.runtime.description import Reads
from sentopt.runtime.file_names import refusal
from sentopt.variants import LONG

ENOUGH_STEPS = 300  # `train.min_steps` where nobody states how long to train; see `training.schedule`
TEST_AS_VALIDATION = "test"
SAMPLE_TEXTS = (
    "This is a great product!",
    "I am very disappointed with the service.",
    "It was an average experience.",
    "The movie was not good at all",
    "The movie was amazing",
)
Tracker = Literal["tensorboard", "mlflow", "wandb", "trackio"]
_LARGEST_SEED = 2**32 - 1
_DELIMITERS = ("tab", "\\t", "comma", "semicolon", "pipe", "space")


def _is_folder_name(text: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z0-9][\w.-]*", text)) and not refusal(text)  # con is a device on Windows


def _are_labels(labels: Sequence[str]) -> bool:
    return len(labels) != 1 and len(set(labels)) == len(labels)


def _are_label_columns(columns: Sequence[str]) -> bool:
    return len(columns) != 1 and len(columns) <= MOST_LABELS and all(columns) and len(set(columns)) == len(columns)


def _is_encoding(name: str) -> bool:
    try:
        "".encode(name or "utf-8")
    except (LookupError, ValueError):
        return False
    return True


def _is_delimiter(text: str) -> bool:
    return len(text) < 2 or text in _DELIMITERS


def _is_quote(text: str) -> bool:
    return text == "auto" or len(text) < 2


def _is_grid(cells: Sequence[tuple[int, int]]) -> bool:
    return len(cells) > 0 and all(batch > 0 and tokens > 1 for batch, tokens in cells)


def _are_depths(layers: Sequence[int]) -> bool:
    given = tuple(layers)
    return given == (0,) or (bool(given) and all(0 < n <= 12 for n in given) and len(set(given)) == len(given))


def _is_student_length(tokens: int) -> bool:
    return tokens == 0 or 8 <= tokens <= 8192


def _are_distinct(names: Sequence[str]) -> bool:
    return all(names) and len(set(names)) == len(tuple(names))


def _are_cpus(names: Sequence[str]) -> bool:
    return all(re.fullmatch(r"[A-Za-z0-9][\w.+=,-]*", name) for name in names)


@dataclass(frozen=True)
class RunSection:
    """Name and seed of the run."""

    name: str = field(
        metadata=declared(
            valid=_is_folder_name,
            expected="a folder name of letters, digits, '.', '-' and '_'",
            help="Name of the run: its folder is exports/NAME unless --run-dir names another.",
            also=("run_name",),
        )
    )
    description: str = option("", help="One line about the run, shown by `sentopt recipes` and in the report.")
    seed: int = option(
        42,
        at_least=0,
        at_most=_LARGEST_SEED,
        help="Seed of the splits, the fresh head, shuffling and dropout. train.seed, if it is not 0, overrides it for "
        "shuffling and dropout.",
        also=("seed",),
        like=("random_state", "random_seed"),
    )


@dataclass(frozen=True)
class DataSection:
    """Where texts and labels come from, and how files are read."""

    dataset: str = option(
        "sample",
        valid=bool,
        expected="the name of a dataset",
        help="'sample' is the bundled corpus. With 'files', train, validation and test are paths of tables; with "
        "'hub', split names of hub_id. Other names are those of the dataset table.",
        like=("data", "dataset_name"),
    )
    train: str = option(
        "",
        help="Training texts: a table file, a pattern such as 'data/train-*.parquet', or a split name of hub data.",
        like=("train_file", "train_path", "train_data", "train_dataset"),
    )
    validation: str = option(
        "",
        help="Validation texts, as for train. Empty: split off the training texts. 'test' evaluates on the test split "
        "while training, so that the best checkpoint is chosen by the texts it is then judged by.",
        like=("validation_file", "validation_path", "val", "valid", "dev", "eval_dataset"),
    )
    test: str = option(
        "",
        help="Test texts, as for train. Empty: split off the training texts.",
        like=("test_file", "test_path", "test_data", "test_dataset"),
    )
    unlabelled: str = option(
        "",
        help="File of further texts of the same kind, without labels. A teacher answers them for the model to learn, "
        "and the model for its student. Without a teacher they are evidence, too: the share of their labels that a "
        "variant changes bounds how much accuracy it can lose.",
        like=("unlabeled", "unsupervised"),
    )
    unlabelled_limit: int = option(
        20_000,
        at_least=0,
        unit="texts",
        help="Use at most this many texts without labels; 0 uses all. The teacher answers each of them, or, "
        "without one, every variant that is verified.",
        like=("max_unlabelled_samples",),
        added_later=True,
    )
    corrections: str = option(
        "",
        help="Table with the columns text and corrected, as `sentopt data check --output` writes it. Every row whose "
        "text is there, ignoring case, blanks and Unicode form, gets the label under corrected, in all splits; "
        "<drop> there leaves it out.",
        added_later=True,
    )
    hub_id: str = option(
        "", help="Id of the dataset on the Hugging Face Hub, with dataset = 'hub'.", like=("dataset_id", "hub_dataset")
    )
    hub_config: str = option(
        "", help="Configuration (subset) of the hub dataset.", like=("dataset_config_name", "subset")
    )
    revision: str = option("", help="Commit hash of the hub dataset; hub data must be pinned.")
    text_column: str = option(
        "text",
        help="Column of the texts. data.text is the field text of the column data, if no column has that name.",
        like=("text", "text_column_name", "text_column_names", "text_field", "sentence"),
    )
    label_column: str = option(
        "label",
        help="Column of the labels, or a field inside of one. Where it holds lists, a text has any number of labels.",
        like=("label", "label_column_name", "label_field", "target"),
    )
    label_columns: tuple[str, ...] = option(
        (),
        valid=_are_label_columns,
        expected=f"no columns, or 2 to {MOST_LABELS} different ones",
        help="Columns of 0 and 1, one for each label, whose names are the labels: a text has any number of them "
        "(multi-label). They stand in the place of data.label_column.",
        like=("label_column_names", "target_columns", "targets", "multi_label_columns"),
        added_later=True,
    )
    label_separator: str = option(
        "",
        help="What stands between the labels of a text in data.label_column, as in 'anger;joy': a text has any number "
        "of labels (multi-label), none where the cell is empty. Empty: the cell is one label.",
        like=("label_delimiter", "label_sep", "labels_separator"),
        added_later=True,
    )
    pair_column: str = option(
        "",
        help="Column of second texts, which the model reads with the first ones: an aspect, a hypothesis, a passage. "
        "Every row is then a pair of texts, and may lack one of them. Empty: texts stand alone.",
        like=("text_pair", "text_pair_column", "second_text", "sentence2", "hypothesis", "aspect"),
        added_later=True,
    )
    labels: tuple[str, ...] = option(
        (),
        valid=_are_labels,
        expected="no labels, or at least two different ones",
        help="Labels in the order of the model's outputs; numbers in the data stand for them in that order. Empty: the "
        "labels that occur, sorted.",
        like=("classes", "class_names", "label_list"),
    )
    validation_fraction: float = option(
        0.1,
        above=0,
        below=0.5,
        help="Share of the training texts that is split off for validation where there is no validation split.",
        like=("val_fraction", "validation_size", "val_size", "validation_split"),
    )
    test_fraction: float = option(
        0.0,
        at_least=0,
        below=1,
        help="Share of the texts that is split off for the test where there is no test split. 0: by the number of "
        "texts, a fifth, or up to two fifths where verification needs them. A tuned model is tested on all texts but "
        "those for calibration.",
        like=("test_size", "test_split"),
    )
    train_limit: int = option(
        0,
        at_least=0,
        unit="texts",
        help="Use at most this many training texts; 0 uses all.",
        also=("max_train_samples",),
    )
    validation_limit: int = option(
        0,
        at_least=0,
        unit="texts",
        help="Use at most this many validation texts; 0 uses all.",
        also=("max_eval_samples",),
    )
    test_limit: int = option(
        0,
        at_least=0,
        unit="texts",
        help="Use at most this many test texts; 0 uses all.",
        also=("max_predict_samples",),
    )
    duplicates: Literal["drop", "keep"] = option("drop", help="What becomes of repeated texts.", like=("deduplicate",))
    missing_labels: Literal["error", "drop"] = option("error", help="What becomes of rows without a label.")
    rare_labels: Literal["error", "drop"] = option(
        "error", help="What becomes of labels with fewer texts than there are splits to fill."
    )
    encoding: str = option(
        "",
        valid=_is_encoding,
        expected="a name such as utf-8, utf-16 or windows-1252",
        help="Character encoding of CSV and TSV files; empty detects it.",
    )
    delimiter: str = option(
        "",
        valid=_is_delimiter,
        expected=f"one character or one of {', '.join(_DELIMITERS)}",
        help="Character between the fields of CSV and TSV files; empty detects it.",
        like=("sep", "separator"),
    )
    quote: str = option(
        "auto",
        valid=_is_quote,
        expected="auto, nothing, or one character",
        help="Character around the fields of CSV and TSV files; 'auto' detects it, empty means that there is none.",
        like=("quotechar",),
    )

    @property
    def labelled(self) -> DataSection:
        """With defaults for the keys of texts without labels."""
        return replace(self, unlabelled="", unlabelled_limit=DataSection().unlabelled_limit)

    @property
    def idle(self) -> dict[str, str]:
        """Keys that are set and change nothing, each with the setting that would give it a meaning."""
        is_idle = not self.unlabelled and self != self.labelled
        return {"unlabelled_limit": "data.unlabelled"} if is_idle else {}


@dataclass(frozen=True)
class ModelSection:
    """The pretrained model, and where texts are cut."""

    backbone: str = option(
        "minilm",
        help="Name of the backbone table, local folder, or id on the Hugging Face Hub.",
        also=("model_name_or_path",),
        like=("model", "model_name", "model_id", "base_model", "checkpoint", "pretrained"),
    )
    revision: str = option("", help="Commit hash of a backbone from the hub.", also=("model_revision",))
    max_length: int = option(
        128,
        at_least=8,
        at_most=8192,
        unit="tokens",
        help="Texts are cut at this many tokens; the number of cut texts is reported.",
        also=("max_seq_length",),
        like=("max_len", "maxlen", "max_tokens", "max_seq_len", "seq_length", "sequence_length"),
    )
    tuned: bool = option(
        False,
        help="The model is a fine-tuned classifier already. It is not trained, only exported, verified and measured.",
        like=("fine_tuned", "finetuned"),
    )


@dataclass(frozen=True)
class TrainSection:
    """Hyperparameters of fine-tuning. The spellings of `transformers.TrainingArguments` are accepted."""

    epochs: float = option(
        3.0,
        above=0,
        help="Passes over the training texts; min_steps raises it on few texts.",
        also=("num_train_epochs",),
        like=("epoch", "num_epochs", "n_epochs", "nepochs", "max_epochs", "train_epochs"),
    )
    max_steps: int = option(
        0,
        at_least=0,
        unit="steps",
        help="Train exactly this many optimizer steps; 0 trains for epochs instead.",
        also=(Spelling("max_steps", {-1: 0}),),
        like=("num_train_steps", "train_steps", "num_steps", "steps"),
    )
    min_steps: int = option(
        0,
        at_least=0,
        unit="steps",
        help="Train at least this many optimizer steps: on few texts, epochs are raised, up to 10. 0 trains for "
        f"exactly epochs. A recipe that states neither epochs, max_steps nor min_steps has {ENOUGH_STEPS}. So has one "
        "whose data an override replaces, unless the overrides state one of the three.",
        added_later=True,
    )
    batch_size: int = option(
        32,
        at_least=1,
        unit="texts",
        help="Texts of a batch, over all processes; a step sees batch_size * gradient_accumulation texts.",
        also=("per_device_train_batch_size",),
        like=("bs", "batch", "train_batch_size", "train_bs"),
    )
    eval_batch_size: int = option(
        64,
        at_least=1,
        unit="texts",
        help="Texts of a batch in evaluation.",
        also=("per_device_eval_batch_size",),
        like=("eval_bs", "val_batch_size", "test_batch_size"),
    )
    gradient_accumulation: int = option(
        1,
        at_least=1,
        unit="batches",
        help="Batches whose gradients are summed into one optimizer step.",
        also=("gradient_accumulation_steps",),
        like=("grad_accum", "grad_accumulation", "accumulation_steps"),
    )
    learning_rate: float = option(
        5e-5, above=0, below=1, help="Highest learning rate of AdamW.", like=("lr", "rate", "max_lr")
    )
    weight_decay: float = option(0.01, at_least=0, below=1, help="Weight decay of AdamW.", like=("wd", "decay", "l2"))
    warmup_ratio: float = option(
        0.1,
        at_least=0,
        below=1,
        help="Share of all steps in which the learning rate rises from 0; 'constant' has no warm-up.",
        like=("warmup", "warmup_steps", "warmup_fraction", "warmup_proportion"),
    )
    scheduler: Literal["linear", "cosine", "constant"] = option(
        "linear",
        help="Course of the learning rate after warm-up: 'linear' and 'cosine' fall to 0.",
        also=("lr_scheduler_type",),
        like=("lr_scheduler", "lr_schedule", "schedule", "scheduler_type"),
    )
    label_smoothing: float = option(
        0.0,
        at_least=0,
        below=1,
        help="Share of each target that is spread over all labels; where a text has any number of labels, over having "
        "a label and not having it.",
        also=("label_smoothing_factor",),
        like=("smoothing",),
    )
    ema_decay: float = option(
        0.0,
        at_least=0,
        below=1,
        help="Decay of the exponential moving average (EMA) of the weights, which is then what is evaluated and kept. "
        "It spans about 1 / (1 - ema_decay) steps; 0 keeps the weights themselves.",
        like=("ema", "ema_alpha", "averaging"),
    )
    adversarial: float = option(
        0.0,
        at_least=0,
        at_most=10,
        help="If not 0, each batch is learnt a second time with its word embeddings shifted against the model, by this "
        "many lengths of a word's embedding. Training takes twice as long.",
        like=("fgm", "adversary", "adv_eps", "adversarial_epsilon"),
    )
    class_weights: Literal["none", "balanced"] = option(
        "none",
        help="'balanced' gives every label the same total weight in the loss, however rare it is. Where a text has any "
        "number of labels, the texts with a label together weigh as much as those without it.",
        like=("class_weight", "balanced"),
    )
    calibrate: bool = option(
        True,
        help="Divide the logits by a temperature fitted on the validation split, so that scores are probabilities, if "
        "that helps there by more than chance. No label changes. Where a text has any number of labels, each label has "
        "a temperature of its own.",
        like=("calibration", "temperature", "temperature_scaling"),
    )
    eval_strategy: Literal["epoch", "steps"] = option(
        "epoch",
        help="Evaluate and save after every epoch, or after every eval_steps steps.",
        also=("evaluation_strategy",),
        like=("save_strategy",),
    )
    eval_steps: int = option(
        0,
        at_least=0,
        unit="steps",
        help="Steps between two evaluations with eval_strategy = 'steps'.",
        like=("save_steps", "eval_every", "evaluate_every"),
    )
    logging_steps: int = option(
        10, at_least=1, unit="steps", help="Steps between two logged losses.", like=("log_steps", "log_every")
    )
    metric: Literal["accuracy", "macro_f1", "micro_f1"] = option(
        "macro_f1",
        help="Metric on the validation split that chooses the best checkpoint. With 'macro_f1', verification tests "
        "macro F1, too. Where a text has any number of labels, 'accuracy' is the share of texts whose labels are all "
        "right, and 'micro_f1' the F1 of all labels of all texts; else 'micro_f1' is the accuracy.",
        also=(
            Spelling(
                "metric_for_best_model",
                {"eval_accuracy": "accuracy", "eval_macro_f1": "macro_f1", "eval_micro_f1": "micro_f1"},
            ),
        ),
        like=("best_metric", "eval_metric"),
    )
    report_to: tuple[Tracker, ...] = option(
        (),
        valid=_are_distinct,
        expected="names of trackers, each once",
        help="Trackers that receive losses, metrics and the recipe while training: tensorboard, mlflow, wandb or "
        "trackio. No weights depend on it.",
        also=(Spelling("report_to", {"none": ()}),),
        like=("logger", "tracker", "trackers", "tracking", "tensorboard", "mlflow", "wandb", "trackio"),
        added_later=True,
    )
    save_total_limit: int = option(
        2,
        at_least=1,
        unit="checkpoints",
        help="Checkpoints kept during training; the newest and the best are always kept.",
        like=("max_checkpoints", "keep_checkpoints"),
    )
    group_by_length: bool = option(
        True, help="Build batches of texts of similar length, which need less padding.", like=("bucket_by_length",)
    )
    encoder_dropout: bool = option(
        True,
        help="Dropout inside the encoder. Without it a training step on a CPU is about a third shorter; the head keeps "
        "its own.",
        like=("dropout",),
    )
    freeze_embeddings: bool = option(
        False,
        help="Keep the embeddings as pretrained, which shortens a training step on a CPU by about a tenth.",
        like=("freeze", "freeze_embedding"),
    )
    peft: Literal["none", "lora"] = option(
        "none",
        help="'lora' freezes the encoder and trains small matrices beside its linear layers, and the head. They are "
        "added to the weights before anything is saved, so the checkpoint is an ordinary one. Optimizer and "
        "checkpoints need little memory; the learning rate should be about ten times as high. Needs the extra peft.",
        like=("lora", "adapter", "adapters", "use_lora", "use_peft"),
        added_later=True,
    )
    lora_rank: int = option(
        16,
        at_least=1,
        at_most=1024,
        help="Rank of LoRA's matrices: columns of the first, rows of the second.",
        like=("lora_r", "rank", "r"),
        added_later=True,
    )
    lora_alpha: int = option(
        32,
        at_least=1,
        help="LoRA's product counts lora_alpha / lora_rank times.",
        added_later=True,
    )
    lora_dropout: float = option(
        0.05, at_least=0, below=1, help="Dropout of what LoRA's matrices read.", added_later=True
    )
    lora_target_modules: tuple[str, ...] = option(
        (),
        valid=_are_distinct,
        expected="names of linear layers, each once",
        help="Linear layers of the encoder that get LoRA, by their names or the ends of these, such as query and "
        "value. Empty: all.",
        like=("target_modules", "lora_targets", "lora_modules"),
        added_later=True,
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = option(
        "auto",
        help="Number format of training. 'auto' is BF16 where the hardware has it and, on a CPU, multiplies faster in "
        "it; else FP16 on a GPU, FP32 on a CPU.",
        also=(Spelling("bf16", {True: "bf16", False: "fp32"}), Spelling("fp16", {True: "fp16", False: "fp32"})),
        like=("dtype", "torch_dtype", "mixed_precision", "amp"),
    )
    teacher: tuple[str, ...] = option(
        (),
        valid=_are_distinct,
        expected="names of teachers, each once",
        help="A stronger model, whose answers are learnt beside the labels: a run, the folder of a fine-tuned "
        "classifier, one on the hub as owner/model@COMMIT, or a backbone such as mpnet, which is then tuned on the "
        "training texts first. Several are one teacher, with the mean of their logarithmic probabilities. It answers "
        "data.unlabelled, too.",
        like=("teachers", "teacher_model", "distill_from", "knowledge_distillation"),
        added_later=True,
    )
    teacher_weight: float = option(
        0.7,
        above=0,
        at_most=1,
        help="Share of the teacher's answer in the loss of a text that has a label, too. Other texts have the "
        "teacher's answer alone.",
        like=("kd_weight", "distillation_weight"),
        added_later=True,
    )
    teacher_temperature: float = option(
        2.0,
        above=0,
        at_most=100,
        help="The logits of both are divided by this in the part of the loss that compares them with the teacher's.",
        like=("kd_temperature", "distillation_temperature"),
        added_later=True,
    )
    teacher_copies: int = option(
        0,
        at_least=0,
        at_most=20,
        unit="copies",
        help="Changed copies of each training text that the teacher answers, too: words left out, a part of the text, "
        "parts of two texts.",
        added_later=True,
    )
    without_teacher: bool = option(
        True,
        help="Train a second time without the teacher, on the labels alone, so that the report shows what the teacher "
        "gained. It takes as long as a training without a teacher.",
        like=("baseline", "compare_teacher"),
        added_later=True,
    )
    seed: int = option(
        0,
        at_least=0,
        at_most=_LARGEST_SEED,
        help="If not 0, seed of shuffling and dropout in place of run.seed. Runs that differ in it alone share splits "
        "and starting weights, as `sentopt average` needs them.",
        like=("data_seed", "train_seed", "shuffle_seed"),
    )
    sample_texts: tuple[str, ...] = option(
        SAMPLE_TEXTS, help="Texts whose answers are shown before and after training.", like=("examples", "samples")
    )

    @property
    def idle(self) -> dict[str, str]:
        """Keys that are set and change nothing, each with the setting that would give it a meaning."""
        usual = TrainSection()
        groups = (
            (not self.teacher, "train.teacher", ("teacher_weight", "teacher_temperature", "teacher_copies")),
            (
                self.peft == "none",
                "train.peft = 'lora'",
                ("lora_rank", "lora_alpha", "lora_dropout", "lora_target_modules"),
            ),
            (self.eval_strategy == "epoch", "train.eval_strategy = 'steps'", ("eval_steps",)),
        )
        return {
            key: needed
            for is_missing, needed, keys in groups
            for key in keys
            if is_missing and getattr(self, key) != getattr(usual, key)
        }

    @property
    def decisive(self) -> TrainSection:
        """With defaults for keys that change no weights: trackers, baseline, and those that are idle."""
        usual = TrainSection()
        return replace(
            self,
            without_teacher=usual.without_teacher,
            report_to=usual.report_to,
            **{key: getattr(usual, key) for key in self.idle},
        )


@dataclass(frozen=True)
class DistillSection:
    """The student: a model of fewer layers that learns to answer as the fine-tuned one does."""

    layers: tuple[int, ...] = option(
        (3,),
        valid=_are_depths,
        expected="0, or whole numbers of layers from 1 to 12, each once",
        help="Layers of the student, fewer than those of the model. With several numbers, the one whose cascade is "
        "fastest on the validation split is kept. 0: no student and no cascade.",
        like=("num_layers", "student_layers", "depth", "num_hidden_layers"),
    )
    epochs: float = option(
        2.0,
        above=0,
        qualified=True,
        help="Passes over the training texts, their changed copies and the texts without labels.",
    )
    shared: int = option(
        1,
        at_least=0,
        at_most=11,
        unit="layers",
        help="Leading layers that the student has in common with the model: they are not trained, and a cascade "
        "computes them once. Where max_length is set, there are none.",
        like=("frozen", "freeze_layers"),
    )
    copies: int = option(
        1,
        at_least=0,
        at_most=20,
        unit="copies",
        help="Changed copies of each training text: tokens masked or left out, a part of the text, parts of two texts. "
        "The fine-tuned model answers them, too. There are not more than max_steps can teach.",
        like=("augment", "augmentation"),
    )
    max_steps: int = option(
        4_000,
        at_least=1,
        unit="steps",
        qualified=True,
        help="Train at most this many optimizer steps, whatever the number of texts.",
    )
    batch_size: int = option(32, at_least=1, unit="texts", qualified=True, help="Texts of a batch.")
    learning_rate: float = option(4e-4, above=0, below=1, qualified=True, help="Highest learning rate of AdamW.")
    max_length: int = option(
        0,
        valid=_is_student_length,
        expected="0, or 8 to 8192 tokens",
        qualified=True,
        help="The student reads at most this many tokens of a text; 0 reads as many as the model. Not for models that "
        "read the last token, such as GPT-2.",
    )
    reads: Reads = option(
        "head",
        help="Which tokens of a longer text the student reads: the first ones, or as many first ones as last ones.",
    )

    def depths(self, layers: int) -> list[int]:
        """The numbers of layers to try of a student whose model has `layers`: fewer than that."""
        return [count for count in self.layers if 0 < count < layers]

    def shared_by(self, layers: int) -> int:
        """How many layers a student of `layers` has in common with its model: not the last one, which is its own."""
        return 0 if self.max_length else min(self.shared, layers - 1)


@dataclass(frozen=True)
class ExportSection:
    """The ONNX graphs that are made, and what the bundle holds besides."""

    opset: int = option(17, at_least=14, help="ONNX opset of the traced graph.", like=("opset_version", "onnx_opset"))
    exporter: Literal["auto", "optimum", "torch"] = option(
        "auto",
        help="What traces the graph: Optimum, PyTorch, or Optimum where it is installed with a transformers that it "
        "supports. Lean graphs need neither.",
        added_later=True,
    )
    tolerance: float = option(
        1e-4,
        above=0,
        help="Largest allowed difference of a logit between an FP32 graph and PyTorch.",
        like=("atol", "tol"),
    )
    variants: tuple[str, ...] = option(
        (), help="Names of the variants to make. Empty: every variant that this machine can make and run."
    )
    trim_keep: int = option(
        10_000,
        at_least=0,
        unit="vocabulary entries",
        help="Vocabulary entries that a trimmed variant keeps besides those of the training texts: the first of the "
        "list, which are the most frequent ones in BERT's family and in SentencePiece.",
        like=("trim", "vocab_size"),
    )
    standard_operators: bool = option(
        False,
        help="Write calibrated INT8 with operators of the ONNX standard alone, for engines other than onnxruntime. The "
        "labels are the same; onnxruntime takes a few percent longer.",
        like=("qdq", "contrib", "standard"),
    )
    string_input: bool = option(False, help="Add a graph to the bundle that takes texts instead of token ids.")
    fp32_fallback: bool = option(
        False,
        help="Add the fastest verified FP32 graph to an INT8 bundle, for CPUs whose INT8 answers differ.",
    )
    full_graph: bool = option(
        False,
        help="Add the full model's graph to the bundle of a cascade, for hosts that cannot run its branch (`If`). It "
        "must have passed verification itself.",
        added_later=True,
    )


@dataclass(frozen=True)
class VerifySection:
    """What a variant must prove on the test split before it may ship."""

    margin: float = option(
        1.0,
        at_least=0.1,
        at_most=20,
        unit="percentage points",
        help="A variant must lose less accuracy than this many percentage points against PyTorch; likewise macro F1, "
        "where train.metric is 'macro_f1'.",
        like=("accuracy_margin", "max_loss"),
    )
    recall_margin: float = option(
        3.0,
        at_least=0.1,
        below=100,
        unit="percentage points",
        help="The recall of every label must fall by less than this many percentage points.",
    )
    max_changed: float = option(
        5.0,
        at_least=0.1,
        below=100,
        unit="percent",
        help="Less than this many percent of the labels may change.",
        like=("max_flips", "max_changes"),
    )
    confidence: float = option(
        0.95,  # the score test keeps its level from there on
        at_least=0.95,
        below=1,
        help="Confidence of each verdict.",
        like=("level", "alpha", "confidence_level"),
    )
    order: Literal["auto", "validation", "table"] = option(
        "auto",
        help="Order in which variants are tested, up to the first failure: by agreement on the validation split, or as "
        "in the table of variants; then validation texts count as evidence, too. 'auto' is 'table' with fewer than "
        "1,000 test texts.",
    )
    allow_weak_reference: bool = option(
        False, help="Ship even where PyTorch itself is not proven better than always answering the majority label."
    )
    cpu: tuple[str, ...] = option(
        ("EPYC-Milan",),
        valid=_are_cpus,
        expected="names of CPU models, such as EPYC-Milan and neoverse-n1",
        help="CPU models that qemu-user emulates, where it is installed, to check INT8 answers on other instruction "
        "sets. ARM64 models need `sentopt emulator --yes` once.",
        like=("cpus", "emulate", "qemu"),
    )
    cpu_texts: int = option(
        16,
        at_least=0,
        unit="texts",
        help="Test texts that are answered on each emulated CPU, the first ones of the split; 0 skips it.",
    )


@dataclass(frozen=True)
class BenchSection:
    """What is measured."""

    rounds: int = option(5, at_least=1, unit="rounds", help="Rounds in which the variants are timed in turn.")
    texts: int = option(100, at_least=1, unit="texts", help="Test texts that are timed one by one in each round.")
    throughput_texts: int = option(
        128, at_least=1, unit="texts", help="Test texts that are answered at once to measure throughput."
    )
    grid: tuple[tuple[int, int], ...] = option(
        ((1, 16), (1, 32), (1, 64), (1, 128), (16, 32), (16, 128)),
        valid=_is_grid,
        expected="[batch, tokens] cells, at least one, with batches of 1 or more texts and 2 or more tokens",
        help="Cells of the full benchmark, as [batch, tokens].",
    )
    threads: int = option(
        0, at_least=0, unit="threads", help="Threads of a session; 0 uses the cores that are available."
    )


@dataclass(frozen=True)
class SelectSection:
    """Which of the verified variants ships."""

    objective: Literal["latency", "throughput"] = option(
        "latency", help="'latency' is the time of one text, 'throughput' the texts per second of many."
    )
    percentile: Figure = option(
        "mean",
        help="The figure of the time of one text that the objective 'latency' minimizes, and that `speedup` compares. "
        "The median of a cascade says nothing of the texts that it defers; the mean counts every text.",
        added_later=True,
    )
    tie: float = option(
        0.03,
        at_least=0,
        below=1,
        help="Variants that are slower than the fastest by at most this share count as equally fast; agreement with "
        "PyTorch decides among them.",
    )


@dataclass(frozen=True)
class Recipe:
    """A complete, checked recipe."""

    run: RunSection
    data: DataSection = field(default_factory=DataSection)
    model: ModelSection = field(default_factory=ModelSection)
    train: TrainSection = field(default_factory=TrainSection)
    distill: DistillSection = field(default_factory=DistillSection)
    export: ExportSection = field(default_factory=ExportSection)
    verify: VerifySection = field(default_factory=VerifySection)
    bench: BenchSection = field(default_factory=BenchSection)
    select: SelectSection = field(default_factory=SelectSection)

    @property
    def counts_unlabelled(self) -> bool:
        """Whether texts without labels are evidence: not where the model has learnt a teacher's answers to them."""
        return bool(self.data.unlabelled) and not self.train.teacher

    @property
    def has_long_texts(self) -> bool:
        """Whether attention in tiles is of use; its operator is onnxruntime's own."""
        return self.model.max_length >= LONG and not self.export.standard_operators


KEYS = Keys(Recipe)
