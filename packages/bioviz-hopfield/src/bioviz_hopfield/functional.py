"""Retrieval from a modern Hopfield memory: one function for a tensor, one for the whole record.

Stored patterns are the rows `x_i` of `keys (M, A)`, a state is `q`, and one update is

    q' = sum_i p_i x_i,   p = separation(beta * similarity(q, x_i))

With dot products and softmax it is attention with keys = values (Ramsauer et al. 2020).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from bioviz_hopfield.errors import NotConvergedWarning
from bioviz_hopfield.separations import SEPARATIONS, Separation, SeparationName
from bioviz_hopfield.similarities import SIMILARITIES, Similarity, SimilarityName
from bioviz_hopfield.streaming import pieces, read_pieces

Detail = Literal["weights", "k90"]
SETTLED = 1e-6
"""Residual, relative as `tol`, below which a state counts as converged where no `tol` is given."""


@dataclass(frozen=True, slots=True)
class RetrievalInfo:
    """What a retrieval did, for each query.

    `output` is what `retrieve` returns, `state` the last state in the space of the keys (the same
    where there are no values); `steps` counts its updates and `residual` is `|f(state) - state|`.
    `energy` is None where the similarity or separation has none. `weights (..., Q, M)` and `k90`,
    the least number of patterns with 0.9 of the weight, are there when asked for.
    """

    output: Tensor
    state: Tensor
    steps: Tensor
    converged: Tensor
    residual: Tensor
    lse: Tensor
    energy: Tensor | None
    weights: Tensor | None = None
    k90: Tensor | None = None


def retrieve(
    query: Tensor,
    keys: Tensor,
    values: Tensor | None = None,
    *,
    beta: float | Tensor,
    steps: int = 1,
    tol: float | None = None,
    max_steps: int = 100,
    separation: SeparationName = "softmax",
    similarity: SimilarityName = "dot",
    key_mask: Tensor | None = None,
    normalize_weights: bool = True,
    chunk_size: int | None = None,
) -> Tensor:
    """The pattern (or value) that each query brings back.

    `query` is `(..., Q, A)` or `(A,)`; `keys` `(M, A)`, or with leading axes that are the last
    leading axes of `query`, as in `(H, M, A)` for heads; `values` `(..., M, V)`. `beta` is a number
    or a tensor of the shape of these leading axes, `key_mask (..., M)` is true where a row counts.

    `steps` is the number of updates; given `values`, the last of them reads these. With `tol`, each
    state is updated until `|q' - q| <= tol (1 + |q'|)`, whatever its batch mates do, at most
    `max_steps` times. A query whose rows are all masked gets zeros. Half precision is computed in
    float32. `chunk_size` reads that many rows at a time, with softmax.
    """
    memory = _Memory.of(
        query, keys, values, beta, separation, similarity, key_mask, normalize_weights, chunk_size
    )
    output, _, _ = memory.run(steps=steps, tol=tol, max_steps=max_steps)
    return memory.unfold(output)


def retrieval_info(
    query: Tensor,
    keys: Tensor,
    values: Tensor | None = None,
    *,
    beta: float | Tensor,
    steps: int = 1,
    tol: float | None = None,
    max_steps: int = 100,
    separation: SeparationName = "softmax",
    similarity: SimilarityName = "dot",
    key_mask: Tensor | None = None,
    normalize_weights: bool = True,
    chunk_size: int | None = None,
    details: Sequence[Detail] = (),
) -> RetrievalInfo:
    """As `retrieve`, with the last state, its energy, and whether it had settled."""
    if unknown := set(details) - set(get_args(Detail)):
        raise ValueError(f"details may hold {get_args(Detail)}, got {sorted(unknown)}")
    memory = _Memory.of(
        query, keys, values, beta, separation, similarity, key_mask, normalize_weights, chunk_size
    )
    output, state, taken = memory.run(steps=steps, tol=tol, max_steps=max_steps)
    moved = memory.read(state, memory.keys) - state
    residual = moved.norm(dim=-1)
    bound = (SETTLED if tol is None else tol) * (1 + (state + moved).norm(dim=-1))
    weights = memory.weights(state) if details else None
    lse = memory.lse(state)
    has_energy = similarity == "dot" and memory.separation.alpha is not None
    return RetrievalInfo(
        output=memory.unfold(output),
        state=memory.unfold(state),
        steps=memory.unfold(taken),
        converged=memory.unfold((residual <= bound) | ~memory.alive[:, None]),
        residual=memory.unfold(residual),
        lse=memory.unfold(lse),
        energy=memory.unfold(memory.energy(state, constants=True)) if has_energy else None,
        weights=memory.unfold(weights) if weights is not None and "weights" in details else None,
        k90=memory.unfold(_k90(weights)) if weights is not None and "k90" in details else None,
    )


def energy(
    query: Tensor,
    keys: Tensor,
    *,
    beta: float | Tensor,
    separation: SeparationName = "softmax",
    key_mask: Tensor | None = None,
    constants: bool = True,
) -> Tensor:
    """`E(q) = -Omega*(beta X q) / beta + q.q / 2 + (ln M) / beta + R^2 / 2`, one per query.

    `Omega*` is the log-sum-exp for softmax, and the conjugate of the Tsallis negentropy for the
    sparse separations, whose `Omega` of uniform weights then stands for `-ln M`. `R` is the largest
    norm of a row. An update with dot products never raises it, and `0 <= E <= 2 R^2` in the ball
    of radius `R`. Without `constants` the last two terms are left out. Masked rows do not count;
    where all are masked, `q.q / 2` remains.
    """
    memory = _Memory.of(query, keys, None, beta, separation, "dot", key_mask, True, None)
    if memory.separation.alpha is None:
        raise ValueError(f"the separation {separation!r} has no energy")
    return memory.unfold(memory.energy(memory.query, constants=constants))


def _k90(weights: Tensor) -> Tensor:
    mass = weights.sort(dim=-1, descending=True).values.cumsum(-1)
    # Rounding may keep the full sum of many weights below 0.9 only where all are masked: then 0.
    return (mass < 0.9 * mass[..., -1:]).sum(-1) + (mass[..., -1] > 0)


@dataclass(frozen=True, slots=True)
class _Memory:
    """A validated problem with its leading axes folded into groups `G` of one memory each.

    `query (G, N, A)`, `keys (G, M, A)`, `values (G, M, V)`, `mask (G, M)`, `beta (G, 1, 1)`. Batch
    axes that the memory lacks lie in `N`, so a shared memory is never copied for the batch.
    """

    query: Tensor
    keys: Tensor
    values: Tensor | None
    mask: Tensor | None
    alive: Tensor
    beta: Tensor
    separation: Separation
    similarity: Similarity
    normalized: bool
    chunk_size: int | None
    shape: tuple[int, ...]
    groups: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(
        cls,
        query: Tensor,
        keys: Tensor,
        values: Tensor | None,
        beta: float | Tensor,
        separation: str,
        similarity: str,
        key_mask: Tensor | None,
        normalized: bool,
        chunk_size: int | None,
    ) -> _Memory:
        """Check everything once and fold."""
        _check_shapes(query, keys, values)
        _check_names(separation, similarity, normalized=normalized, chunk_size=chunk_size)
        groups, rows = tuple(keys.shape[:-2]), keys.shape[-2]
        beta = _checked_beta(beta, groups)
        # Scores and softmax in float32 at least: half precision cannot tell close patterns apart.
        dtype = query.dtype
        work = torch.promote_types(dtype, torch.float32)
        shape = tuple(query.shape[:-1])
        extra = shape[: len(shape) - 1 - len(groups)] if shape else ()
        folded = query.reshape(*extra, *groups, -1, query.shape[-1]).to(work)
        folded = folded.reshape(-1, *folded.shape[len(extra) :]).movedim(0, -3)
        count = beta.numel()
        mask, alive = None, torch.ones(count, dtype=torch.bool, device=query.device)
        if key_mask is not None:
            mask = _checked_mask(key_mask, keys).reshape(count, rows)
            alive = mask.any(-1)
            # A group without a row reads anything, and its answer is zeroed: so no NaN arises.
            mask = mask | ~alive[:, None]
        return cls(
            query=folded.reshape(count, -1, query.shape[-1]),
            keys=keys.reshape(count, rows, keys.shape[-1]).to(work),
            values=None if values is None else values.reshape(count, rows, -1).to(work),
            mask=mask,
            alive=alive,
            beta=beta.reshape(count, 1, 1).to(query.device, work),
            separation=SEPARATIONS[separation],
            similarity=SIMILARITIES[similarity],
            normalized=normalized,
            chunk_size=chunk_size,
            shape=shape,
            groups=groups,
            dtype=dtype,
        )

    def unfold(self, answer: Tensor) -> Tensor:
        """An answer `(G, N, ...)` in the axes of the query that was given."""
        tail = answer.shape[2:]
        own = self.shape[-1:] if self.shape else (1,)
        extra = self.shape[: len(self.shape) - 1 - len(self.groups)] if self.shape else ()
        batch = answer.reshape(*self.groups, -1, *own, *tail).movedim(len(self.groups), 0)
        answer = batch.reshape(*extra, *self.groups, *own, *tail)
        answer = answer.reshape((*self.shape, *tail))
        return answer.to(self.dtype) if answer.is_floating_point() else answer

    def group(self, index: int, query: Tensor) -> _Memory:
        """One group's memory, with some of its states."""
        pick = slice(index, index + 1)
        return _Memory(
            query,
            self.keys[pick],
            None,
            None if self.mask is None else self.mask[pick],
            self.alive[pick],
            self.beta[pick],
            self.separation,
            self.similarity,
            self.normalized,
            self.chunk_size,
            self.shape,
            self.groups,
            self.dtype,
        )

    def scores(self, query: Tensor) -> Tensor:
        """`beta * similarity`, -inf at masked rows."""
        scores = self.beta * self.similarity.measure(query, self.keys)
        if self.mask is None:
            return scores
        return scores.masked_fill(~self.mask[:, None, :], -torch.inf)

    def weights(self, query: Tensor) -> Tensor:
        """The weight of each row, zero for a query without rows."""
        scores = self.scores(query)
        if self.normalized:
            weights = self.separation.weights(scores)
        else:
            weights = (scores - self.beta * self.similarity.largest).exp()
        return weights * self.alive[:, None, None]

    def read(self, query: Tensor, rows: Tensor) -> Tensor:
        """One read of `rows (G, M, V)`."""
        if self.chunk_size is not None:
            masks = None if self.mask is None else pieces(self.mask, self.chunk_size, dim=-1)
            output, _ = read_pieces(
                query,
                zip(
                    pieces(self.keys, self.chunk_size, dim=-2),
                    pieces(rows, self.chunk_size, dim=-2),
                    strict=True,
                ),
                beta=self.beta,
                similarity=self.similarity.measure,
                masks=masks,
            )
        elif self.normalized and self.is_attention:
            mask = None if self.mask is None else self.mask[:, None, :]
            # Beta goes into the query, so that it may differ between heads and has a gradient.
            output = scaled_dot_product_attention(
                self.beta * query, self.keys, rows, attn_mask=mask, scale=1.0
            )
        else:
            return self.weights(query) @ rows
        return torch.where(self.alive[:, None, None], output, 0.0)

    @property
    def is_attention(self) -> bool:
        """Dot products and softmax, for which torch has fused kernels."""
        return self.separation.alpha == 1.0 and self.similarity is SIMILARITIES["dot"]

    def run(self, *, steps: int, tol: float | None, max_steps: int) -> tuple[Tensor, ...]:
        """Output, last state, and the updates that each state took."""
        if steps < 0 or max_steps < 1:
            raise ValueError(f"steps must be >= 0 and max_steps >= 1, got {steps} and {max_steps}")
        taken = torch.zeros(self.query.shape[:2], dtype=torch.int64, device=self.query.device)
        if tol is not None:
            if not tol > 0:
                raise ValueError(f"tol must be positive, got {tol}. Typical values: 1e-10 to 1e-3")
            state, taken = self._settle(tol, max_steps)
            output = state if self.values is None else self.read(state, self.values)
            return output, state, taken
        if self.values is None:
            state = self.query
            for _ in range(steps):
                state = self.read(state, self.keys)
            return state, state, taken + steps
        if steps == 0:
            raise ValueError(
                "steps=0 returns the query: give no values, or read them at least once"
            )
        state = self.query
        for _ in range(steps - 1):
            state = self.read(state, self.keys)
        return self.read(state, self.values), state, taken + steps - 1

    def _settle(self, tol: float, max_steps: int) -> tuple[Tensor, Tensor]:
        """Update each state until it moves no more; a settled one leaves the computation."""
        settled, counts, moving = [], [], 0
        for index in range(len(self.keys)):
            state = self.query[index]
            taken = torch.zeros(len(state), dtype=torch.int64, device=state.device)
            active = torch.arange(len(state), device=state.device)
            for step in range(1, max_steps + 1):
                if not len(active):
                    break
                before = state[active]
                after = self.group(index, before[None]).read(before[None], self.keys[[index]])[0]
                state = state.index_copy(0, active, after)
                taken[active] = step
                bound = tol * (1 + after.norm(dim=-1))
                still = (after - before).norm(dim=-1) > bound
                # NaN compares false and would count as settled; it never does, so drop it here.
                active = active[still]
            moving += len(active)
            settled.append(state)
            counts.append(taken)
        if moving:
            warnings.warn(
                f"{moving} states still move after {max_steps} updates (tol {tol}): raise "
                "max_steps, or tol",
                NotConvergedWarning,
                stacklevel=4,
            )
        return torch.stack(settled), torch.stack(counts)

    def lse(self, query: Tensor) -> Tensor:
        """`logsumexp(beta s) / beta`, -inf for a query without rows."""
        lse = torch.logsumexp(self.scores(query), -1) / self.beta[..., 0]
        return lse.masked_fill(~self.alive[:, None], -torch.inf)

    def energy(self, query: Tensor, *, constants: bool) -> Tensor:
        """One number per state."""
        beta = self.beta[..., 0]
        attraction = self.separation.conjugate(self.scores(query)) / beta
        if constants:
            uniform, largest = self._constants()
            attraction = attraction + uniform[:, None] / beta - largest[:, None] / 2
        own = query.square().sum(-1) / 2
        return torch.where(self.alive[:, None], own - attraction, own)

    def _constants(self) -> tuple[Tensor, Tensor]:
        """The negentropy of uniform weights, and `R^2`, over the rows that count."""
        squares = self.keys.square().sum(-1)
        mask = torch.ones_like(squares, dtype=torch.bool) if self.mask is None else self.mask
        uniform = mask / mask.sum(-1, keepdim=True)
        return self.separation.negentropy(uniform.to(squares)), (squares * mask).amax(-1)


def _check_shapes(query: Tensor, keys: Tensor, values: Tensor | None) -> None:
    if keys.dim() < 2 or keys.shape[-2] == 0:
        raise ValueError(f"keys must be (..., M, A) with at least one row, got {_size(keys)}")
    groups = keys.shape[:-2]
    if query.dim() < 1 or query.shape[-1] != keys.shape[-1]:
        raise ValueError(f"query {_size(query)} and keys {_size(keys)} differ in their last axis")
    if groups and tuple(query.shape[:-2])[-len(groups) :] != tuple(groups):
        raise ValueError(
            f"the leading axes {tuple(groups)} of keys must be the last leading axes of the query "
            f"{_size(query)}"
        )
    if values is not None and values.shape[:-1] != keys.shape[:-1]:
        raise ValueError(f"values {_size(values)} need one row for each of keys {_size(keys)}")


def _check_names(
    separation: str, similarity: str, *, normalized: bool, chunk_size: int | None
) -> None:
    for name, value, known in (
        ("separation", separation, SEPARATIONS),
        ("similarity", similarity, SIMILARITIES),
    ):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    plain = separation == "softmax" and normalized
    if not normalized and separation != "softmax":
        raise ValueError(f"only softmax weights go without normalizing, not {separation!r}")
    if chunk_size is not None and (chunk_size < 1 or not plain):
        raise ValueError(
            f"chunk_size={chunk_size} must be at least 1, with normalized softmax: the other "
            "separations compare all scores at once"
        )


def _checked_beta(beta: float | Tensor, groups: tuple[int, ...]) -> Tensor:
    # A Python number keeps double precision: float32 would cost a float64 retrieval 1e-8.
    given = beta if isinstance(beta, Tensor) else torch.tensor(beta, dtype=torch.float64)
    if given.dim() and tuple(given.shape) != groups:
        raise ValueError(f"beta must be a number or of shape {groups}, got {_size(given)}")
    if not bool((given > 0).all()) or not bool(given.isfinite().all()):
        raise ValueError(f"beta must be positive and finite, got {beta}")
    return given.expand(groups)


def _checked_mask(mask: Tensor, keys: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        raise ValueError(f"key_mask must be bool, true where a row counts, got {mask.dtype}")
    try:
        return mask.expand(keys.shape[:-1])
    except RuntimeError as error:
        raise ValueError(
            f"key_mask {_size(mask)} does not fit the rows {tuple(keys.shape[:-1])} of keys"
        ) from error


def _size(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)
