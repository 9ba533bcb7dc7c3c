"""The mixture of kNN-LM as its Python implementations compute it, on given vectors: for cross-checks.

    p_kNN(y | x) ∝ Σ over the k nearest (key, value) with value = y of exp(−‖key − query‖² / T)
    p(y | x) = λ p_kNN(y | x) + (1 − λ) p_LM(y | x)

Neighbors are found exactly (faiss IndexFlatL2, squared distances), weighted by a softmax, added up
over the vocabulary with scatter_add and mixed in log space, in the order knn-transformers (Alon et
al. 2022) takes these steps. Weights are summed in float64 here; there they are float32.

    python bench/peers/knn_reference.py --keys keys.f16 --values values.i32 --queries queries.f16
        --targets targets.i32 --lm lm.f32 --vocab V --dim d
        [--k 1024] [--temperature 1] [--lambda 0.25] [--out FOLDER] [--json]

Arrays are raw and row-major, the type is the suffix (f16, f32, f64, u16, i32, i64), or .npy. `--lm` is
either (q, V) log-probabilities or (q) of the targets alone. With `--out`: neighbors.i64 (q, k),
distances.f32 (q, k), knn.f64 (q), mixture.f64 (q), and for a (q, V) --lm mixture_all.f32 (q, V).
The last line of standard output is JSON.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import faiss
import numpy as np
import torch

TYPES = {
    ".f16": np.float16,
    ".f32": np.float32,
    ".f64": np.float64,
    ".u16": np.uint16,
    ".i32": np.int32,
    ".i64": np.int64,
}


def read(path: Path, columns: int | None = None) -> np.ndarray:
    """(n) or, with `columns`, (n, columns)."""
    if not path.is_file():
        sys.exit(f"error: there is no file {path}.")
    if path.suffix == ".npy":
        array = np.load(path, mmap_mode="r")
    elif path.suffix in TYPES:
        array = np.memmap(path, TYPES[path.suffix], "r")
    else:
        sys.exit(f"error: {path} ends in none of .npy {' '.join(TYPES)}. Name the file after its type.")
    if columns is None:
        return array.reshape(-1)
    if array.size % columns:
        sys.exit(
            f"error: {path} has {array.size} numbers, which is no multiple of the width {columns}. Mend --dim or "
            "--vocab."
        )
    return array.reshape(-1, columns)


def search(keys: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """-> (q, k) squared distances, nearest first, and (q, k) rows of `keys`."""
    index = faiss.IndexFlatL2(keys.shape[1])
    for start in range(0, len(keys), 65_536):
        index.add(np.ascontiguousarray(keys[start : start + 65_536], np.float32))
    # faiss takes distances of large batches as |q|² + |k|² − 2qk, which cancels; taken anew below, as differences.
    found = index.search(np.ascontiguousarray(queries, np.float32), k)[1]
    distances = np.empty(found.shape, np.float64)
    for row, (query, ids) in enumerate(zip(queries, found)):
        distances[row] = np.square(keys[ids].astype(np.float64) - query.astype(np.float64)).sum(1)
    order = np.argsort(distances, axis=1, kind="stable")
    return np.take_along_axis(distances, order, 1), np.take_along_axis(found, order, 1)


def knn_log_probs(distances: np.ndarray, values: np.ndarray, vocab: int, temperature: float) -> torch.Tensor:
    """(q, k) distances and values -> (q, V) log-probabilities, -inf where no neighbor voted."""
    weights = torch.softmax(torch.from_numpy(-distances / temperature), dim=-1)
    votes = torch.zeros(len(distances), vocab, dtype=torch.float64)
    votes.scatter_add_(1, torch.from_numpy(values.astype(np.int64)), weights)
    return votes.log()


def interpolate(lm: torch.Tensor, knn: torch.Tensor, weight: float) -> torch.Tensor:
    """Log-probabilities of the mixture; the ends are taken as they are, since log 0 + −inf has no difference."""
    if weight == 0:
        return lm
    if weight == 1:
        return knn
    return torch.logaddexp(knn + math.log(weight), lm + math.log1p(-weight))


def main() -> None:
    args = parse_arguments()
    faiss.omp_set_num_threads(args.threads)
    torch.set_num_threads(args.threads)
    keys, queries = read(args.keys, args.dim), read(args.queries, args.dim)
    values, targets = read(args.values), read(args.targets).astype(np.int64)
    lm = read(args.lm)
    check(args, keys, values, queries, targets, lm)
    distances, ids = search(keys, queries, min(args.k, len(keys)))
    full = lm.size != len(targets)
    lm = lm.reshape(len(targets), -1)
    knn, mixture, everything = [], [], []
    for start in range(0, len(queries), 64):
        rows = slice(start, start + 64)
        voted = knn_log_probs(distances[rows], values[ids[rows]], args.vocab, args.temperature)
        target = torch.from_numpy(targets[rows, None])
        knn.append(voted.gather(1, target)[:, 0])
        base = torch.from_numpy(lm[rows].astype(np.float64))
        mixed = interpolate(base, voted if full else knn[-1][:, None], args.weight)
        mixture.append(mixed.gather(1, target)[:, 0] if full else mixed[:, 0])
        everything += [mixed.float()] if full and args.out else []
    knn, mixture = torch.cat(knn).numpy(), torch.cat(mixture).numpy()
    own = lm[np.arange(len(targets)), targets] if full else lm[:, 0]
    if args.out:
        write(args.out, ids, distances, knn, mixture, torch.cat(everything).numpy() if full else None)
    report = {
        "what": "knn-reference",
        "entries": len(keys),
        "queries": len(queries),
        "k": ids.shape[1],
        "temperature": args.temperature,
        "lambda": args.weight,
        "perplexity": {"lm": perplexity(own), "knnlm": perplexity(mixture)},
        "found": float(np.isfinite(knn).mean()),
        "firstDistances": distances[:4, 0].tolist(),
        "versions": {"faiss": faiss.__version__, "torch": torch.__version__, "numpy": np.__version__},
    }
    if not args.json:
        print(f"perplexity {report['perplexity']['lm']:.3f} alone, {report['perplexity']['knnlm']:.3f} with neighbors")
    print(json.dumps(report))


def perplexity(log_probs: np.ndarray) -> float | None:
    """None (JSON's null) where a target has probability zero, as it can with lambda 1."""
    value = float(np.exp(-log_probs.astype(np.float64).mean()))
    return value if math.isfinite(value) else None


def check(args, keys, values, queries, targets, lm) -> None:
    if len(keys) != len(values):
        sys.exit(
            f"error: {args.keys} has {len(keys)} keys but {args.values} {len(values)} values. Name files of one "
            "datastore."
        )
    if len(queries) != len(targets):
        sys.exit(
            f"error: {args.queries} has {len(queries)} queries but {args.targets} {len(targets)} targets. Name "
            "files of one text."
        )
    if lm.size not in (len(targets), len(targets) * args.vocab):
        sys.exit(
            f"error: {args.lm} has {lm.size} numbers, but {len(targets)} or {len(targets) * args.vocab} are needed. "
            "Mend --lm or --vocab."
        )
    highest = max(int(values.max()), int(targets.max()))
    if highest >= args.vocab:
        sys.exit(f"error: token {highest} is outside a vocabulary of {args.vocab}. Mend --vocab.")


def write(folder: Path, ids, distances, knn, mixture, everything) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    ids.astype(np.int64).tofile(folder / "neighbors.i64")
    distances.astype(np.float32).tofile(folder / "distances.f32")
    knn.astype(np.float64).tofile(folder / "knn.f64")
    mixture.astype(np.float64).tofile(folder / "mixture.f64")
    if everything is not None:
        everything.tofile(folder / "mixture_all.f32")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    for name, what in (
        ("keys", "(n, d) stored keys"),
        ("values", "(n) stored tokens"),
        ("queries", "(q, d) keys of the text"),
        ("targets", "(q) its next tokens"),
        ("lm", "(q, V) or (q) log-probabilities of the model alone"),
    ):
        add(f"--{name}", type=Path, required=True, help=what)
    add("--dim", type=int, required=True, help="width of a key")
    add("--vocab", type=int, required=True, help="tokens in the vocabulary")
    add("--k", type=int, default=1024, help="neighbors (default: 1024)")
    add("--temperature", type=float, default=1.0, help="T, divides squared distances (default: 1)")
    add("--lambda", dest="weight", type=float, default=0.25, help="weight of the neighbors, 0 to 1 (default: 0.25)")
    add("--threads", type=int, default=2, help="threads of faiss and PyTorch (default: 2)")
    add("--out", type=Path, help="folder for the arrays of results")
    add("--json", action="store_true", help="print the JSON line only")
    args = parser.parse_args()
    if not 0 <= args.weight <= 1:
        parser.error(f"--lambda is {getattr(args, 'lambda')}, but must be from 0 to 1")
    for name in ("dim", "vocab", "k", "temperature", "threads"):
        if not getattr(args, name) > 0:
            parser.error(f"--{name} is {getattr(args, name)}, but must be above 0")
    return args


if __name__ == "__main__":
    main()
