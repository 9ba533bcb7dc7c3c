"""FAISS as the other side of ivf.js: reads one JSON line of settings, builds one index, then answers one line each.

The index is taken from its file when it is there. A line asks for a search: all queries one by one (batch 1, with every time) or in one batch; ids and distances go to files.
Keys are given to the index as float32 and freed before searching.
"""
import json
import os
import resource
import sys
import time

import faiss
import numpy as np

s = json.loads(sys.stdin.readline())
k = s["k"]
faiss.omp_set_num_threads(s["threads"])


def rows(source, most):
    dtype = "<f2" if source["dtype"] == "fp16" else "<f4"
    flat = np.fromfile(source["path"], dtype, offset=source["byteOffset"], count=most * source["dim"])
    return flat.reshape(-1, source["dim"])


keys = rows(s["keys"], s["n"])
queries = rows(s["queries"], s["queries"]["count"])[s["picks"]].astype(np.float32)
about = {"version": faiss.__version__}
if not os.path.exists(s["path"]):
    start = time.perf_counter()
    index = faiss.index_factory(s["keys"]["dim"], s["index"])
    if not index.is_trained:
        faiss.extract_index_ivf(index).cp.niter = 10
        step = max(1, s["n"] // (64 * s["lists"]))
        index.train(keys[::step].astype(np.float32))
    for first in range(0, s["n"], 100_000):
        index.add(keys[first : first + 100_000].astype(np.float32))
    about["buildSeconds"] = time.perf_counter() - start
    faiss.write_index(index, s["path"] + ".tmp")
    os.rename(s["path"] + ".tmp", s["path"])
    del index
del keys
index = faiss.read_index(s["path"])
about["diskBytes"] = os.path.getsize(s["path"])
with open("/proc/self/statm") as statm:
    about["memoryBytes"] = int(statm.read().split()[1]) * resource.getpagesize()
print(json.dumps(about), flush=True)

for line in sys.stdin:
    command = json.loads(line)
    parameters = None
    if "HNSW" in s["index"]:
        parameters = faiss.SearchParametersHNSW(efSearch=command["setting"])
    elif "IVF" in s["index"]:
        parameters = faiss.SearchParametersIVF(nprobe=command["setting"])
    some = queries[: command["count"]]
    times = []
    if command["batch"] == 1:
        for i in range(len(some)):
            begin = time.perf_counter()
            index.search(some[i : i + 1], k, params=parameters)
            times.append(time.perf_counter() - begin)
        print(json.dumps({"times": times}), flush=True)
        continue
    begin = time.perf_counter()
    distances, ids = index.search(some, k, params=parameters)
    times.append(time.perf_counter() - begin)
    ids.astype("<i4").tofile(command["out"] + ".ids")
    distances.astype("<f4").tofile(command["out"] + ".distances")
    print(json.dumps({"times": times}), flush=True)
