"""What a step cannot go below: its matrix products, and the memory that Adam reads and writes.

Each product is computed in several ways (PyTorch's library, oneDNN where PyTorch offers it;
operands in either layout; the result or its transpose), and the fastest way is taken for each.
NumPy's library is none of them: its threads, looking for work, take the cores from the next
product. Operands and results are there before and stay in the cache. From the time of a call that
of the same call on matrices of one number is subtracted, so that neither Python nor the library's
entry counts.

Adam reads a parameter, its gradient and both moments, and writes all but the gradient: 7 numbers
for each parameter. The bandwidth is that of `a += b` over two pairs of arrays, each as large as
the model, which are 6 numbers for each parameter and as much memory in use as Adam has.

On a GPU the calls are launched from a graph and nothing is subtracted.
"""

import itertools
import time

import torch
import torch.nn.functional as F

BLOCK = 0.005  # seconds of calls in a row, when ways are compared
TRIES = 3  # such blocks, of which the fastest counts


def seconds(call, n, device="cpu"):
    """The seconds that n calls take."""
    if device == "cpu":
        begun = time.perf_counter()
        for _ in range(n):
            call()
        return time.perf_counter() - begun
    graph = torch.cuda.CUDAGraph()
    call()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        for _ in range(n):
            call()
    begun = time.perf_counter()
    graph.replay()
    torch.cuda.synchronize()
    return time.perf_counter() - begun


def fastest(calls, device="cpu"):
    """The number of the fastest call, and its seconds."""
    best = []
    for call in calls:
        n = max(1, min(1000, round(BLOCK / max(seconds(call, 3, device) / 3, 1e-7))))
        best.append(min(seconds(call, n, device) for _ in range(TRIES)) / n)
    least = min(range(len(best)), key=best.__getitem__)
    return least, best[least]


def laid_out(rows, columns, transposed, device):
    """A random matrix, stored by rows or by columns."""
    shape = (columns, rows) if transposed else (rows, columns)
    matrix = torch.randn(shape, device=device)
    return matrix.t() if transposed else matrix


def ways(m, k, n, device="cpu"):
    """Ways to compute an (m, k) by (k, n) product, as functions without arguments, by name."""
    found = {}
    for layouts in itertools.product((False, True), repeat=3):
        a, b = laid_out(m, k, layouts[0], device), laid_out(k, n, layouts[1], device)
        c = laid_out(m, n, layouts[2], device)
        name = "".join("t" if transposed else "n" for transposed in layouts)
        found[f"torch {name}"] = by_torch(a, b, c)
        if device == "cpu" and torch.backends.mkldnn.is_available() and not layouts[2]:
            found[f"oneDNN {name}"] = by_onednn(a, b.t())
    return found


def by_torch(a, b, c):
    return lambda: torch.mm(a, b, out=c)


def by_onednn(a, b):
    multiply = torch.ops.mkldnn._linear_pointwise.default
    return lambda: multiply(a, b, None, "none", [], "")


def sizes_of_step(w):
    """The products of a step as (m, k, n): forward, then by the weights and by the inputs."""
    d, h, z, b = w.x_shape[0], w.hidden, w.latent_dim, w.batch_size
    sizes = []
    for i, o in ((d, h), (h, 2 * z), (z, h), (h, d)):
        sizes += [(b, i, o), (o, b, i)] + ([(b, o, i)] if i != d else [])
    return sizes


def products(w):
    """The matrix products of a step; a turn tells their seconds, without those of the calls."""
    if w.kind != "mlp" or w.particles > 1:
        return None
    calls = []
    with torch.inference_mode():
        empty = ways(1, 1, 1, w.device)
        for size in sizes_of_step(w):
            found = ways(*size, w.device)
            name = [*found][fastest(found.values(), w.device)[0]]
            calls.append((found[name], empty[name]))

    @torch.inference_mode()
    def advance(n):
        total = 0.0
        for call, nothing in calls:
            taken = seconds(call, n, w.device)
            if w.device == "cpu":
                taken -= seconds(nothing, n)
            total += max(taken, 0.0)
        return total

    return advance


def traffic(w):
    """The memory traffic of Adam over the parameters of a model."""
    if w.kind != "mlp" or w.particles > 1:
        return None
    size = sum(p.numel() for p in w.vae().parameters())
    p, g, m, v = (torch.ones(size, device=w.device) for _ in range(4))
    one, other = torch.ones(1), torch.ones(1)

    def stream(p, g, m, v):
        p.add_(g)
        m.add_(v)

    @torch.inference_mode()
    def advance(n):
        taken = seconds(lambda: stream(p, g, m, v), n, w.device)
        if w.device == "cpu":
            taken -= seconds(lambda: stream(one, other, one, other), n)
        return max(taken, 0.0) * 7 / 6

    return advance


# --- Evaluation ----------------------------------------------------------------------------------

CHUNKS = (128, 512, 2048, 8192)  # samples at once


def decoder_products(w, total):
    """The decoder's matrix products for so many samples, in chunks of the best size."""
    best = []
    with torch.inference_mode():
        for chunk in CHUNKS:
            calls = []
            for i, o in ((w.latent_dim, w.hidden), (w.hidden, w.x_shape[0])):
                found = [*ways(chunk, i, o).values()]
                calls.append(found[fastest(found)[0]])
            taken = sum(fastest([call])[1] for call in calls)
            best.append((taken / chunk, chunk, calls))
    chunk, calls = min(best, key=lambda item: item[0])[1:]

    @torch.inference_mode()
    def advance(n):
        each = [seconds(call, max(1, n * total // chunk)) for call in calls]
        return sum(each)

    return advance


def density_pass(w, total):
    """The rest of a sample's arithmetic, element by element, by the faster of two programs.

    That is drawing z, the activations of the hidden layer, and log p(x | z), in chunks that stay
    in the cache; the second program is the first, compiled.
    """
    chunk = 512
    x = w.data(1)
    logits, hidden = torch.randn(chunk, *w.x_shape), torch.randn(chunk, w.hidden)
    loc, scale = torch.zeros(w.latent_dim), torch.ones(w.latent_dim)

    def density(logits, hidden):
        noise = torch.randn(chunk, w.latent_dim)
        z = loc + scale * noise
        log_ratio = (noise.square() - z.square()).sum(-1) / 2
        fits = (x * logits - F.softplus(logits)).sum(-1)
        return torch.tanh(hidden), fits + log_ratio

    calls = [lambda: density(logits, hidden)]
    with torch.inference_mode():
        try:
            compiled = torch.compile(density)
            compiled(logits, hidden)
            calls.append(lambda: compiled(logits, hidden))
        except RuntimeError:  # there is no compiler
            pass
        call = calls[fastest(calls)[0]]

    @torch.inference_mode()
    def advance(n):
        return seconds(call, max(1, n * total // chunk))

    return advance


def log_marginal(w, rows, samples):
    """Our estimate of log p(x)."""
    import pyro_vae as pv

    vae, x = w.vae().eval(), w.data(rows)

    def advance(n):
        for _ in range(n):
            pv.log_marginal(vae, x, samples)

    return advance
