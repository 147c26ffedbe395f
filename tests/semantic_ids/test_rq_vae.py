"""RQ-VAE and residual k-means: a case by hand, a planted tree, the start of the codebooks and dead codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor

from gensr_model.config.model import SemanticIdsConfig
from gensr_model.runtime.files import load_module_tensors, module_tensors, read_tensors, write_tensors
from gensr_model.semantic_ids.k_means import k_means, nearest, residual_codes, residual_k_means, seeded
from gensr_model.semantic_ids.rq_vae import RqVae, quantize

SMALL = SemanticIdsConfig(codes=8, levels=2, hidden=(32,), dim=8)


def planted(branches: int = 8, each: int = 6) -> tuple[Tensor, np.ndarray]:
    """Items (I, 16) at the leaves of a tree of two levels, and their branches (I, 2)."""
    draw = torch.Generator().manual_seed(0)
    top, below = (torch.randn(branches, 16, generator=draw) for _ in range(2))
    place = np.array([(a, b) for a in range(branches) for b in range(branches) for _ in range(each)])
    noise = 0.01 * torch.randn(len(place), 16, generator=draw)
    return top[place[:, 0]] + 0.25 * below[place[:, 1]] + noise, place


def agreement(codes: np.ndarray, place: np.ndarray) -> list[float]:
    """NMI of first codes with first branches, and of whole ids with leaves."""
    base = 1 + int(codes.max())
    return [
        float(normalized_mutual_info_score(place[:, 0], codes[:, 0])),
        float(normalized_mutual_info_score(place @ [8, 1], codes @ [base, 1])),
    ]


def test_a_case_by_hand_with_its_gradients() -> None:
    """GENERATIVE §1. A residual less the straight-through output would give z the gradient (-.4, .05)."""
    z = torch.tensor([[3.2, 0.1]], requires_grad=True)
    first = torch.tensor([[0.0, 0.0], [4.0, 0.0], [9.0, 9.0]], requires_grad=True)
    second = torch.tensor([[0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    result = quantize(z, torch.stack([first, second]), beta=0.25)
    assert result.codes.tolist() == [[1, 2]]
    assert result.vector.tolist() == [[3.0, 0.0]]
    assert result.loss.item() == pytest.approx(0.875)
    result.loss.sum().backward()
    assert z.grad is not None
    assert first.grad is not None
    assert second.grad is not None
    torch.testing.assert_close(z.grad, torch.tensor([[-0.3, 0.1]]))
    torch.testing.assert_close(first.grad, torch.tensor([[0.0, 0.0], [1.6, -0.2], [0.0, 0.0]]))
    torch.testing.assert_close(second.grad, torch.tensor([[0.0, 0.0], [0.0, 0.0], [-0.4, -0.2]]))


def test_every_term_is_summed_over_dimensions_and_beta_weighs_the_commitment() -> None:
    torch.manual_seed(0)
    vectors = torch.randn(5, 16)
    model = RqVae(16, SMALL)
    model.start(vectors.repeat(4, 1), np.random.default_rng(0))
    with torch.no_grad():
        model.books += 0.1
        z = model.encoder(vectors)
        codes = model.codes(vectors)
        chosen = [model.books[level][codes[:, level]] for level in range(2)]
        residuals = [z, z - chosen[0]]
        squared = sum((r - e).pow(2).sum() / 5 for r, e in zip(residuals, chosen, strict=True))
        rebuilt = model.decoder(chosen[0] + chosen[1])
        losses = model(vectors)
    torch.testing.assert_close(losses.quantization, 1.25 * squared)
    torch.testing.assert_close(losses.reconstruction, (vectors - rebuilt).pow(2).sum() / 5)


def test_the_reconstruction_moves_the_encoder_and_leaves_the_codebooks() -> None:
    torch.manual_seed(0)
    model = RqVae(16, SMALL)
    vectors = torch.randn(20, 16)
    model.start(vectors, np.random.default_rng(0))
    model(vectors).reconstruction.backward()
    assert model.books.grad is None
    (first, *_) = model.encoder.parameters()
    assert first.grad is not None
    assert first.grad.abs().sum() > 0


def test_both_methods_find_a_planted_tree() -> None:
    vectors, place = planted()
    books = residual_k_means(vectors, 2, 8, np.random.default_rng(0))
    assert min(agreement(residual_codes(vectors, books).numpy(), place)) > 0.95
    torch.manual_seed(0)
    model = RqVae(16, SMALL)
    model.start(vectors, np.random.default_rng(0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(1_200):
        optimizer.zero_grad()
        torch.stack(model(vectors)).sum().backward()
        optimizer.step()
        if step % 50 == 0:
            model.restart_dead_codes(vectors, np.random.default_rng([0, step]))
    assert min(agreement(model.codes(vectors).numpy(), place)) > 0.95


def test_the_start_is_made_once_and_a_loaded_model_remembers_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    vectors = torch.randn(30, 16)
    model = RqVae(16, SMALL)
    assert not model.started
    model.start(vectors, np.random.default_rng(0))
    books = model.books.detach().clone()
    assert model.started
    assert len(torch.unique(nearest(model.encoder(vectors), books[0])[0])) == 8, "every code is in use"
    write_tensors(tmp_path / "model.safetensors", module_tensors(model))
    loaded = RqVae(16, SMALL)
    load_module_tensors(loaded, read_tensors(tmp_path / "model.safetensors"))
    loaded.start(vectors, np.random.default_rng(1))
    assert torch.equal(loaded.books, books)


def test_k_means_plus_plus_takes_one_vector_of_each_far_cluster() -> None:
    far = 100.0 * torch.arange(6).unsqueeze(1) + torch.rand(6, 50)
    vectors = far.reshape(-1, 1)
    for seed in range(5):
        drawn = seeded(vectors, 6, np.random.default_rng(seed))
        assert sorted((drawn.flatten() / 100).floor().int().tolist()) == list(range(6))
    centres = k_means(vectors, 6, np.random.default_rng(0)).flatten().sort().values
    torch.testing.assert_close(centres, far.mean(dim=1), atol=1e-3, rtol=0)


def test_fewer_different_vectors_than_codes_are_no_error() -> None:
    vectors = torch.tensor([[0.0], [1.0]]).repeat(4, 1)
    codes, distance = nearest(vectors, k_means(vectors, 5, np.random.default_rng(0)))
    assert distance.tolist() == [0.0] * 8
    assert len(torch.unique(codes)) == 2


def test_dead_codes_restart_on_residuals_of_items() -> None:
    torch.manual_seed(0)
    vectors = torch.randn(200, 16)
    model = RqVae(16, SMALL)
    model.start(vectors, np.random.default_rng(0))
    with torch.no_grad():
        model.books[:, 3:] = 1e3  # nearest to nothing
    before = model.books.detach().clone()
    assert len(torch.unique(model.codes(vectors)[:, 0])) <= 3
    assert model.restart_dead_codes(vectors, np.random.default_rng(1)) >= 10
    for level in range(2):
        assert len(torch.unique(model.codes(vectors)[:, level])) >= 7
    used = torch.unique(residual_codes(model.encoder(vectors), before)[:, 0])
    assert torch.equal(model.books[0][used], before[0][used]), "codes in use stay"


def test_distinct_codes_by_hand() -> None:
    """Two items share the codes (0, 1); the one that loses least moves. A prefix of too many items keeps its codes."""
    books = torch.tensor([[[0.0], [100.0]], [[0.0], [2.0]]])
    vectors = torch.tensor([[1.8], [1.2], [100.0], [100.1], [100.2]])
    assert residual_codes(vectors, books).tolist() == [[0, 1], [0, 1], [1, 0], [1, 0], [1, 0]]
    assert residual_codes(vectors, books, distinct=True).tolist() == [[0, 1], [0, 0], [1, 0], [1, 0], [1, 0]]
    first = books[1:]
    assert residual_codes(vectors[:2], first, distinct=True).tolist() == [[1], [0]]
