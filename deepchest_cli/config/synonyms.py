"""Other programs' names for our flags and values, from which suggestions are made.

Each table maps our name to its synonyms, separated by blanks; case and punctuation do not matter.
Where several of our names have a synonym, the first that exists in that place is suggested.
"""

import re
from collections.abc import Iterable, Mapping

MIN_SIMILARITY = 0.61  # difflib's ratio; below it a suggestion would be a guess

# a flag may have a value with it, or what else has the same effect
FLAGS: Mapping[str, str] = {
    # before the flags: what other programs call their input is predict's own
    "IMAGE (no flag)": "image images img input inputs input-dir input-path i file files path "
    "source src folder image-path image-dir data data-dir",
    "--learning-rate": "lr lr0 base-lr init-lr initial-lr max-lr blr lr-rate learn-rate eta",
    "--batch-size": "b bs batch bsz train-batch-size eval-batch-size val-batch-size mini-batch "
    "minibatch-size per-device-train-batch-size per-device-eval-batch-size imgs-per-batch",
    "--weight-decay": "wd decay l2 l2-reg weight-decay-rate",
    "--epochs": "e ep epoch n-epochs num-epochs max-epochs num-train-epochs nb-epochs total-epochs",
    "--max-steps": "steps n-steps num-steps iters iterations max-iters total-steps train-steps "
    "max-train-steps num-iterations limit-train-batches",
    "--warmup-steps": "warmup warmup-iters num-warmup-steps lr-warmup-steps warmup-epochs "
    "lr-warmup-epochs warmup-ratio",
    "--optimizer": "opt optim optimizer",
    "--schedule": "sched scheduler lr-scheduler lr-schedule lr-scheduler-type lr-policy",
    "--loss": "criterion loss-fn loss-function loss-type objective",
    "--pos-weight-power": "pos-weight class-weight class-weights",
    "--clip-grad-norm": "clip clip-grad grad-clip grad-clip-norm max-grad-norm "
    "max-norm gradient-clip-val gradient-clipping",
    "--grad-accum-steps": "accum accum-iter accum-steps grad-accum update-freq "
    "accumulate-grad-batches gradient-accumulation gradient-accumulation-steps",
    "--grad-checkpoint": "checkpointing grad-checkpointing gradient-checkpoint use-checkpoint "
    "gradient-checkpointing activation-checkpointing activation-checkpoint recompute remat",
    "--freeze": "frozen freeze-backbone freeze-encoder freeze-layers freeze-n-layers freeze-trunk "
    "num-frozen-layers n-frozen-layers freeze-features lock-image-tower",
    "--unfreeze-epoch": "unfreeze unfreeze-at unfreeze-at-epoch unfreeze-after freeze-epochs",
    "--layer-decay": "llrd layer-lr-decay layer-wise-decay layer-wise-lr-decay layer-decay-rate "
    "lr-layer-decay discriminative-lr",
    "--drop-path": "drop-path-rate dpr stochastic-depth stochastic-depth-prob drop-connect "
    "stochastic-depth-rate drop-connect-rate",
    "--dropout": "drop drop-rate dropout-rate dropout-p head-dropout classifier-dropout",
    "--ema": "ema-decay model-ema model-ema-decay use-ema",
    "--patience": "early-stop early-stopping early-stopping-patience",
    "--sampling": "sampler oversample class-balanced balanced-sampling",
    "--augment": "aug augs augmentation augmentations data-augmentation aa auto-augment transforms",
    "--flip": "hflip horizontal-flip random-flip fliplr",
    "--precision": "dtype torch-dtype",
    "--precision fp16": "fp16 half float16 use-fp16",
    "--precision bf16": "bf16 bfloat16 use-bf16",
    "--precision fp32": "fp32 float32 no-amp full-precision tf32",
    "--precision auto": "amp use-amp mixed-precision autocast",
    "--compile": "torch-compile use-compile jit",
    "--deterministic": "reproducible cudnn-deterministic use-deterministic-algorithms",
    "--sync-batchnorm": "sync-bn",
    "--cache": "cache-images cache-data cache-dataset ram",
    "--track": "tracker trackers tracking logger loggers log writer report-to log-with",
    "--track tensorboard": "tensorboard tb use-tensorboard tensorboard-dir tensorboard-log",
    "--track mlflow": "mlflow use-mlflow mlflow-tracking",
    "--track wandb": "wandb use-wandb weights-and-biases wandb-project",
    "--linear-probe": "probe linear-probing linear-eval linear-evaluation linear-classifier lp "
    "frozen-backbone feature-extraction",
    "--head": "classifier classifier-head head-type",
    "--weighter": "weighters weighting loss-weighting task-weighting task-weights "
    "weight-method mtl mtl-method balancer w",
    "--weighter-option": "weighter-options weighter-args weighter-kwargs weighter-params",
    "--weighters": "weighter methods weightings arms w",
    "--model": "m checkpoint ckpt ckpt-path checkpoint-path model-path model-name-or-path "
    "load-model model-dir run run-dir weights load-from resume trained-model model-file onnx",
    "--backbone": "arch architecture a model model-name model-type model-arch net network "
    "encoder encoder-name backbone-name model-name-or-path base-model",
    "--resume": "resume-from resume-from-checkpoint ckpt-path continue restore auto-resume "
    "load-checkpoint resume-path",
    "--weights imagenet": "pretrained pretrain use-pretrained imagenet is-pretrained",
    "--weights": "checkpoint ckpt checkpoint-path init-weights initial-weights "
    "initial-checkpoint pretrained-weights pretrained-path pretrained-model load-from "
    "load-weights finetune finetune-from transfer state-dict",
    "--device cuda": "gpu gpus cuda use-cuda use-gpu ngpu num-gpus n-gpus gpu-id gpu-ids g",
    "--device cpu": "cpu no-cuda no-gpu use-cpu",
    "--device mps": "mps metal",
    "--device": "devices accelerator dev d",
    "--image-size": "img-size imgsz img image-sz im-size size input-size input-resolution res "
    "resolution crop-size resize crop-pct",
    "--size": "img-size image-size imgsz resolution resize target-size output-size s",
    "--seeds": "seed n-seeds num-seeds repeats runs n-runs num-runs trials",
    "--seed": "s random-seed manual-seed rng-seed random-state",
    "--source": "input input-dir in-dir i src src-dir raw raw-dir image-dir images-dir "
    "image-folder dataset dataset-dir data-dir data-root root data-path",
    "--out": "o output output-dir output-path output-file out-dir out-file save-dir save-path "
    "save-to save log-dir run-dir work-dir results-dir project exp-name experiment "
    "experiment-name run-name name default-root-dir dest destination",
    "--data": "dataset dataset-dir dataset-path data-dir data-root data-path data-folder root "
    "shards shard-dir train-dir image-dir input input-dir output output-dir out out-dir o dest "
    "d",
    "--format csv > FILE": "o output output-dir output-path output-file out out-file csv save "
    "save-path save-to output-csv predictions",
    "--format": "fmt f output-format export-format type",
    "--force": "f overwrite overwrite-output-dir exist-ok replace yes y clobber",
    "--workers": "j num-workers n-workers nproc n-jobs num-procs threads num-threads jobs "
    "dataloader-num-workers cores processes",
    "--config": "c cfg conf config-file config-path yaml yml params settings hparams",
    "--recipe": "preset template",
    "--quiet": "q silent no-progress no-progress-bar",
    "--verbose": "v vv verbosity log-level",
    "--debug": "traceback trace",
    "--dry-run": "n no-act simulate test-run",
    "--labels-csv": "labels label-csv label-file labels-file csv csv-file metadata annotations "
    "table",
    "--path-column": "image-column image-col path-col file-column filename-column x-col",
    "--patient-column": "patient-col patient-id patient-id-column group-column group-col groups",
    "--label-columns": "label-cols label-column labels-columns label-names classes targets y-col",
    "--unit": "level per-study study-level by-study per-patient patient-level by-patient aggregate "
    "aggregation granularity",
    "--view-weight": "view-weights views-weight weight-by-view",
    "--validation-fraction": "val-fraction val-frac val-split val-size val-ratio "
    "valid-fraction validation-split validation-size validation-ratio dev-fraction",
    "--test-fraction": "test-split test-size test-ratio test-frac",
    "--split-scheme": "split splits split-file split-method split-by split-type",
    "--split": "part subset fold set partition",
    "--label-map": "map mapping label-mapping labels-map class-map class-mapping taxonomy ontology",
    "--findings": "finding classes class-names pathologies diseases terms tasks",
    "--uncertain": "uncertainty uncertain-policy u-policy uncertainty-policy uncertain-labels",
    "--allow-missing": "ignore-missing skip-missing ignore-errors skip-errors skip-broken",
    "--predictions": "preds pred prediction prediction-file predictions-file pred-file probs "
    "scores",
    "--labels": "targets target ground-truth gt truth y-true label-file labels-file annotations",
    "--validation": "val valid val-predictions dev validation-predictions",
    "--compare-to": "compare compare-with vs versus",
    "--reference": "references published benchmark paper",
    "--bootstrap-replicates": "bootstrap n-bootstrap bootstraps num-bootstrap "
    "bootstrap-samples n-boot n-resamples resamples",
    "--fail-under": "gate quality-gate min-auroc min-auc fail-below cov-fail-under",
    "--report": "report-dir report-folder html html-report plots",
    "--fail-if-inferior": "gate non-inferiority non-inferior fail-under",
    "--folds": "n-folds num-folds k-fold k-folds cv n-splits k cross-validate",
    "--threshold": "t thresh thresholds conf confidence cutoff conf-thres operating-point",
    "--top": "k topk top-n",
    "--tta": "test-time-augmentation augment ten-crop five-crop",
    "--embeddings": "embedding embed features feature feature-file save-features vectors latents "
    "representations",
    "--heatmap": "heatmaps cam gradcam saliency attribution explain visualize overlay",
    "--finding": "findings class classes label labels target disease pathology",
    "--null": "0 print0 null-data zero-terminated",
}

VALUES: Mapping[str, str] = {
    # devices and where images are kept
    "cuda": "gpu gpus nvidia rocm amd hip cuda:all all",
    "mps": "metal apple m1",
    "device": "gpu vram cuda",
    "host": "ram memory cpu main",
    "auto": "best any default mixed amp",
    # precision
    "fp32": "float32 float 32 32-true full single tf32 highest no-amp",
    "fp16": "float16 half 16 16-mixed fp16-mixed 16-true",
    "bf16": "bfloat16 brain bf16-mixed bf16-true",
    # optimization
    "adamw": "adam adamw-torch fused-adamw adamw-fused nadam radam",
    "sgd": "momentum nesterov sgdm",
    "rmsprop": "rms rmsprop-tf",
    "cosine": "cos cosine-annealing cosineannealinglr cosine-lr onecycle linear",
    "constant": "const fixed flat constant-with-warmup",
    "bce": "bcewithlogits bcewithlogitsloss bceloss binary-cross-entropy ce cross-entropy "
    "logloss nll sigmoid default",
    "focal": "focal-loss fl sigmoid-focal-loss",
    "asymmetric": "asl asymmetric-loss",
    "balanced": "weighted oversample oversampling class-balanced weighted-random",
    "uniform": "shuffle shuffled natural plain",
    # models, augmentation
    "linear": "fc dense single",
    "features": "feature representation representations embedding",
    "parameters": "params weights shared shared-parameters",
    "standard": "default basic mild light true yes on",
    "imagenet": "pretrained default true yes imagenet1k imagenet1k-v1 imagenet1k-v2 torchvision",
    "none": "no off false random scratch disk null never",
    "densenet121": "chexnet dense densenet-121-res224-all",
    "resnet18": "basic",
    "efficientnet_v2_s": "efficientnetv2",
    "mobilenet_v3_large": "mobilenetv3",
    "resnext50_32x4d": "resnext50",
    "resnext101_32x8d": "resnext101",
    "wide_resnet50_2": "wideresnet50 wideresnet wrn50",
    "vit_b_16": "vit-base vit-b vit-base-patch16 vit-base-patch16-224 deit-base",
    "vit_b_32": "vit-base-patch32 vit-base-patch32-224",
    "vit_l_16": "vit-large vit-l vit-large-patch16 vit-large-patch16-224",
    "swin_t": "swin-tiny swin-tiny-patch4-window7-224",
    "swin_s": "swin-small swin-small-patch4-window7-224",
    "swin_b": "swin-base swin-base-patch4-window7-224 swin-base-patch4-window12-384",
    # data
    "validation": "val valid dev eval tune",
    "train": "training trn fit learn",
    "test": "testing tst holdout",
    "nih": "nih14 chestxray14 cxr14 cxr8 chestxray8",
    "nih-parquet": "parquet huggingface hf timm datasets",
    "chestmnist": "medmnist medmnist-chest",
    "mimic-cxr": "mimic mimic-cxr-jpg",
    "vindr": "vindr-cxr vinbig vinbigdata vinbigdata-chest",
    "rsna": "rsna-pneumonia rsna2018 kaggle-pneumonia",
    "siim": "siim-acr siim-pneumothorax acr",
    "openi": "indiana iu iu-xray nlmcxr",
    "chexpert": "chexpert-small chexpert-v1",
    "csv": "table custom generic tsv excel",
    "random": "patient patients by-patient group shuffle",
    "official": "nih default original",
    "frontal": "pa ap front",
    "ignore": "u-ignore nan mask skip unknown",
    "zero": "0 zeros u-zeros negative absent neg",
    "one": "1 ones u-ones positive present pos",
    "chexpert-paper": "chexpert irvin mixed mix best",
    "onnx": "onnxruntime ort",
    "torch": "torchscript pt pt2 pth jit pytorch torch-export script",
    "jsonl": "jsonlines ndjson",
    "table": "text txt pretty plain human",
    # metrics, signals, thresholds
    "auroc": "auc roc roc-auc auc-roc macro-auc macro-auroc auroc-macro mean-auc mauc",
    "worst_auroc": "min-auroc worst-auc min-auc lowest-auroc",
    "average_precision": "ap map auprc aupr pr-auc auc-pr mean-average-precision",
    "average-precision": "ap map auprc aupr pr-auc auc-pr",
    "accuracy": "acc",
    "balanced_accuracy": "bacc balanced-acc bal-acc",
    "balanced-accuracy": "bacc balanced-acc bal-acc",
    "f1": "f1-score dice fscore",
    "best_f1": "f1 max-f1 f1-score f1-max",
    "youden": "j youden-j youdens-j optimal default",
    "sensitivity_90": "sens90 sensitivity recall90 tpr90 sensitivity-0-9",
    "specificity_90": "spec90 specificity tnr90 specificity-0-9",
    "platt": "platt-scaling sigmoid logistic",
    "temperature": "temp ts temperature-scaling",
    # weighters and recipes
    "equal": "ew none uniform sum mean average baseline ls unweighted linear-scalarization",
    "uncertainty": "uw kendall homoscedastic uncertainty-weighting uncert",
    "rlw": "random random-loss-weighting",
    "dwa": "dynamic-weight-average dynamic-weight-averaging",
    "gls": "geometric geometric-loss geometric-loss-strategy",
    "fixed": "static manual constant custom",
    "prevalence": "inverse-frequency class-frequency inverse-prevalence",
    "mgda": "mgda-ub min-norm",
    "upgrad": "jd unconflicting torchjd jacobian-descent",
    "graddrop": "gradient-dropout grad-sign-dropout",
    "pcgrad": "gradient-surgery surgery",
    "paper": "authors reproduction deepchest original",
    "default": "baseline standard none",
    # commands
    "compare-weighters": "compare comparison benchmark compare-weights ablation",
    "evaluate": "eval score validate metrics val",
    "predict": "infer inference classify detect",
    "prepare": "convert preprocess download data dataset shard import",
    "doctor": "check info env diagnose version",
    "runs": "run history experiments models status",
    "export": "onnx save deploy",
    "weighters": "list ls methods weights",
}


def plain(word: str) -> str:
    """Return a word without case and punctuation, as words are compared."""
    return re.sub(r"[\W_]", "", word.lower())


def synonym(word: str, known: Iterable[str], table: Mapping[str, str] = VALUES) -> str | None:
    """Return the known name that is meant: by case and punctuation alone, or by the table.

    With the table of flags that is the flag and what follows it.
    """
    names = list(known)
    same = [name for name in names if plain(name) == plain(word)]
    if same:
        return same[0]
    for ours, others in table.items():
        if ours.split()[0] in names and plain(word) in map(plain, others.split()):
            return ours
    return None


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that is spelled most like this one, where one is."""
    return next(iter(most_alike(word, known, 1, MIN_SIMILARITY)), None)


def most_alike(word: str, known: Iterable[str], count: int, least: float = 0.0) -> list[str]:
    """Return the known words that are spelled most like this one, the nearest first.

    least: similarity of those that count, as difflib's ratio.
    """
    from difflib import get_close_matches

    spelled = {plain(name): name for name in known}
    found = get_close_matches(plain(word), spelled, n=count, cutoff=least)
    return [spelled[name] for name in found]
