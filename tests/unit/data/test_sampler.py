"""The data order: complete, reproducible, resumable at any batch, shared among processes."""

from __future__ import annotations

from itertools import chain

import pytest
import torch

from app.training.sampler import BatchSampler, SamplerStateError, epoch_order


def take_epoch(sampler: BatchSampler) -> list[list[int]]:
    return [sampler.next_batch().tolist() for _ in range(len(sampler))]


def test_an_epoch_visits_every_sample_once_with_a_ragged_last_batch():
    sampler = BatchSampler(10, 4, seed=1)
    batches = take_epoch(sampler)
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert sorted(chain.from_iterable(batches)) == list(range(10))
    assert (sampler.epoch, sampler.position) == (1, 0)


def test_epochs_and_seeds_have_orders_of_their_own():
    sampler = BatchSampler(50, 50, seed=1)
    first, second = sampler.next_batch(), sampler.next_batch()
    assert not torch.equal(first, second)
    assert torch.equal(first, BatchSampler(50, 50, seed=1).next_batch())
    # Neighbouring seeds must not share epochs, as `seed + epoch` would make them.
    assert not torch.equal(second, BatchSampler(50, 50, seed=2).next_batch())


def test_the_order_is_pinned_so_that_old_checkpoints_keep_their_meaning():
    assert epoch_order(8, 1337, 0).tolist() == [6, 0, 4, 3, 7, 2, 5, 1]
    assert epoch_order(8, 1337, 0).dtype == torch.int32


def test_the_global_random_state_is_left_alone():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    take_epoch(BatchSampler(10, 3, seed=1))
    assert torch.equal(before, torch.get_rng_state())


def test_without_shuffling_samples_come_in_order():
    assert take_epoch(BatchSampler(5, 2, seed=1, shuffle=False)) == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize("taken", range(8))
def test_resume_continues_at_the_very_next_batch_of_any_epoch(taken: int):
    straight = BatchSampler(10, 4, seed=3)
    expected = [straight.next_batch().tolist() for _ in range(9)]

    first = BatchSampler(10, 4, seed=3)
    for _ in range(taken):
        first.next_batch()
    second = BatchSampler(10, 4, seed=3)
    second.load_state_dict(first.state_dict())
    third = BatchSampler(10, 4, seed=3)  # resumed a second time, one batch later
    head = [second.next_batch().tolist()]
    third.load_state_dict(second.state_dict())
    assert head + [third.next_batch().tolist() for _ in range(8 - taken)] == expected[taken:]


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_processes_share_each_global_batch(world_size: int):
    alone = BatchSampler(25, 12, seed=5)
    ranks = [
        BatchSampler(25, 12 // world_size, seed=5, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for _ in range(2):
        shares = [rank.next_batch().tolist() for rank in ranks]
        assert list(chain.from_iterable(shares)) == alone.next_batch().tolist()
    # One sample is left, too few for all processes: everyone goes on to the next epoch together.
    assert {(rank.epoch, rank.position) for rank in ranks} == {(1, 0)}
    assert alone.next_batch().numel() == 1


def test_a_ragged_global_batch_is_dealt_out_evenly():
    ranks = [BatchSampler(7, 4, seed=5, rank=rank, world_size=2) for rank in range(2)]
    shares = [rank.next_batch() for rank in ranks]
    assert [len(share) for share in shares] == [3, 4]
    assert sorted(torch.cat(shares).tolist()) == list(range(7))


def test_a_checkpoint_fits_another_number_of_processes():
    alone = BatchSampler(24, 4, seed=5)
    alone.next_batch()
    pair = BatchSampler(24, 2, seed=5, rank=1, world_size=2)
    pair.load_state_dict(alone.state_dict())
    assert pair.next_batch().tolist() == alone.next_batch().tolist()[2:]


def test_foreign_states_are_refused():
    sampler = BatchSampler(10, 4, seed=3)
    state = sampler.state_dict()
    with pytest.raises(SamplerStateError, match=r"has version 2 .* reads version 1"):
        sampler.load_state_dict({**state, "version": 2})
    with pytest.raises(SamplerStateError, match="'extra'"):
        sampler.load_state_dict({**state, "extra": 0})
    with pytest.raises(SamplerStateError, match=r"data's windows is 10, but .* made with 11"):
        sampler.load_state_dict({**state, "num_samples": 11})
    with pytest.raises(SamplerStateError, match=r"`seed` is 3, but .* made with 4"):
        sampler.load_state_dict({**state, "seed": 4})
    with pytest.raises(SamplerStateError, match=r"epoch 0, sample 10; it must be in \[0, 10\)"):
        sampler.load_state_dict({**state, "position": 10})
    assert sampler.state_dict() == state


def test_impossible_sizes_are_refused_by_name():
    with pytest.raises(ValueError, match=r"`num_samples` is 0; it must be >= 1"):
        BatchSampler(0, 4, seed=1)
    with pytest.raises(ValueError, match=r"`batch_size` is 0; it must be >= 1"):
        BatchSampler(4, 0, seed=1)
    with pytest.raises(ValueError, match=r"`rank` is 2; it must be in \[0, 2\)"):
        BatchSampler(4, 1, seed=1, rank=2, world_size=2)
    with pytest.raises(ValueError, match=r"`num_samples` is 1; it must be >= world_size \(2\)"):
        BatchSampler(1, 1, seed=1, rank=0, world_size=2)
