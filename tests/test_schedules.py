"""Learning-rate schedules: their formulas, PyTorch's rates, and trainings that go on."""

import math

import numpy as np
import pytest
import ranvier as rv
from ranvier.schedules import LRScheduler

PER_EPOCH = 7
SCHEDULES = [
    rv.StepLR(0.1, 2, gamma=0.5),
    rv.ExponentialLR(0.1, 0.9),
    rv.InverseTimeLR(0.1, 0.3),
    rv.CosineAnnealingLR(0.1, 5, eta_min=0.01),
    rv.OneCycleLR(0.1, 5),
    rv.WarmUp(0.1, 1.5),
    rv.WarmUp(rv.CosineAnnealingLR(0.1, 3), 2),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_rates_are_positive_numbers_wherever_they_begin(schedule):
    whole = schedule.rates(0, 6 * PER_EPOCH, PER_EPOCH)
    assert whole.dtype == np.float64
    assert whole.shape == (6 * PER_EPOCH,)
    assert (whole >= 0).all()
    assert whole.max() <= 0.1 + 1e-15
    for first in (0, 3, PER_EPOCH, 40):
        np.testing.assert_array_equal(schedule.rates(first, 2, PER_EPOCH), whole[first : first + 2])


def test_steps_and_powers_are_constant_within_an_epoch():
    step = rv.StepLR(0.1, 2, gamma=0.5).rates(0, 5 * PER_EPOCH, PER_EPOCH).reshape(5, PER_EPOCH)
    np.testing.assert_allclose(step, np.array([[0.1, 0.1, 0.05, 0.05, 0.025]]).T.repeat(PER_EPOCH, 1), rtol=1e-15)
    power = rv.ExponentialLR(0.1, 0.9).rates(0, 3 * PER_EPOCH, PER_EPOCH).reshape(3, PER_EPOCH)
    np.testing.assert_allclose(power, np.array([[0.1, 0.09, 0.081]]).T.repeat(PER_EPOCH, 1), rtol=1e-14)


def test_inverse_time_is_one_over_the_time():
    rates = rv.InverseTimeLR(0.1, 0.5).rates(0, 50 * PER_EPOCH, PER_EPOCH)
    for k, rate in enumerate(rates):
        assert rate == pytest.approx(0.1 / (1 + 0.5 * k / PER_EPOCH), rel=1e-14)
    for decay in (0, -1, "half"):
        with pytest.raises((TypeError, ValueError), match="decay"):
            rv.InverseTimeLR(0.1, decay)


def test_cosine_goes_down_from_batch_to_batch_and_stays():
    rates = rv.CosineAnnealingLR(0.1, 4, eta_min=0.02).rates(0, 6 * PER_EPOCH, PER_EPOCH)
    for k in range(4 * PER_EPOCH):
        assert rates[k] == pytest.approx(0.02 + 0.04 * (1 + math.cos(math.pi * k / (4 * PER_EPOCH))), rel=1e-14)
    np.testing.assert_allclose(rates[4 * PER_EPOCH :], 0.02, rtol=1e-14)


def test_one_cycle_goes_up_and_down():
    rates = rv.OneCycleLR(0.5, 10, pct_start=0.2, div_factor=10, final_div_factor=100).rates(0, 120, 10)
    assert rates[0] == pytest.approx(0.05)
    assert rates.argmax() == 19
    assert rates[19] == pytest.approx(0.5)
    np.testing.assert_allclose(rates[99:], 0.0005)
    assert (np.diff(rates[:20]) > 0).all()
    assert (np.diff(rates[19:100]) < 0).all()


@pytest.mark.parametrize("pct_start", [0.0, 0.01, 0.99])
def test_a_one_cycle_without_room_is_finite(pct_start):
    rates = rv.OneCycleLR(0.5, 1, pct_start=pct_start).rates(0, 4, 2)
    assert np.isfinite(rates).all()
    assert rates.max() <= 0.5


def test_warm_up_ends_at_the_rate_and_begins_the_schedule():
    inner = rv.CosineAnnealingLR(0.1, 3)
    rates = rv.WarmUp(inner, 2).rates(0, 5 * PER_EPOCH, PER_EPOCH)
    warm = 2 * PER_EPOCH
    np.testing.assert_allclose(rates[:warm], 0.1 * np.arange(1, warm + 1) / warm, rtol=1e-14)
    np.testing.assert_allclose(rates[warm:], inner.rates(0, 3 * PER_EPOCH, PER_EPOCH), rtol=1e-14)


def torch_rates(make, updates):
    torch = pytest.importorskip("torch", reason="PyTorch's schedulers need torch: pip install torch==2.13.0")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    rates = []
    for _ in range(updates):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def warm_cosine(module, optimizer):
    warm = module.LinearLR(optimizer, start_factor=1 / (2 * PER_EPOCH), total_iters=2 * PER_EPOCH - 1)
    cosine = module.CosineAnnealingLR(optimizer, 3 * PER_EPOCH)
    return module.SequentialLR(optimizer, [warm, cosine], milestones=[2 * PER_EPOCH])


PEERS = {  # PyTorch's, what one of its steps is to us, how many to compare
    rv.StepLR(0.1, 2, gamma=0.5): (lambda m, o: m.StepLR(o, 2, gamma=0.5), 1, 7),
    rv.ExponentialLR(0.1, 0.9): (lambda m, o: m.ExponentialLR(o, 0.9), 1, 7),
    rv.CosineAnnealingLR(0.1, 5, 0.01): (
        lambda m, o: m.CosineAnnealingLR(o, 5 * PER_EPOCH, eta_min=0.01),
        PER_EPOCH,
        5 * PER_EPOCH,
    ),
    rv.OneCycleLR(0.3, 5, pct_start=0.4): (
        lambda m, o: m.OneCycleLR(o, 0.3, epochs=5, steps_per_epoch=PER_EPOCH, pct_start=0.4, cycle_momentum=False),
        PER_EPOCH,
        5 * PER_EPOCH - 1,
    ),
    rv.WarmUp(rv.CosineAnnealingLR(0.1, 3), 2): (warm_cosine, PER_EPOCH, 5 * PER_EPOCH),
}


@pytest.mark.parametrize("schedule", PEERS, ids=str)
@pytest.mark.filterwarnings("ignore")  # SequentialLR steps in a way that PyTorch itself warns of
def test_rates_are_pytorchs(schedule):
    make, per_epoch, updates = PEERS[schedule]
    ours = schedule.rates(0, updates, per_epoch)
    np.testing.assert_allclose(ours, torch_rates(make, updates), rtol=1e-9, atol=1e-12)


def problem(n=60):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 4)).astype(np.float32)
    return x, (x[:, 0] > x[:, 1]).astype(int)


def network(seed=0):
    return rv.Network([rv.Linear(4, 6), rv.Tanh(), rv.Dropout(0.2), rv.Linear(6, 2)], seed=seed)


def assert_same(first, second):
    for name, value in first.state_dict().items():
        np.testing.assert_array_equal(second.state_dict()[name], value)


@pytest.mark.parametrize("optimizer", [rv.SGD, rv.Adam, rv.AdamW, rv.RMSprop, rv.Adagrad])
def test_training_takes_the_rates_batch_by_batch(optimizer):
    x, y = problem()
    schedule = rv.WarmUp(rv.CosineAnnealingLR(0.05, 2), 1)
    net, by_hand = network(), network()
    net.fit(x, y, epochs=3, batch_size=25, optimizer=optimizer(schedule), progress=False)

    state = optimizer(0.05).create(by_hand.engine.parameters)
    trainer = by_hand.engine.trainer((4,), 25)
    rates = iter(schedule.rates(0, 9, 3))
    for _ in range(3):
        by_hand.epochs_trained += 1
        order = by_hand.shuffled(60)
        for start in (0, 25, 50):
            state.set_learning_rates(next(rates))
            batch = order[start : start + 25]
            trainer.train_epoch(x, y, batch, 25, ("softmax_cross_entropy", {}), state, None, "raise", None)
    assert_same(net, by_hand)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_a_training_that_goes_on_from_a_file_has_the_same_bits(schedule, tmp_path):
    x, y = problem()
    optimizer = rv.Adam(schedule)
    whole, parts = network(), network()
    whole.fit(x, y, epochs=5, batch_size=16, optimizer=optimizer, progress=False)
    parts.fit(x, y, epochs=2, batch_size=16, optimizer=optimizer, progress=False)
    parts.save(tmp_path / "net", training_state=True)
    again = rv.load(tmp_path / "net")
    assert again._training.optimizer == optimizer
    again.fit(x, y, epochs=3, batch_size=16, optimizer=rv.Adam(schedule), progress=False)
    assert_same(whole, again)


def test_the_factor_multiplies_every_rate_and_is_saved(tmp_path):
    x, y = problem()

    def halve(network, epoch, history):
        network.learning_rate_factor = 0.5

    halved, by_hand = network(), network()
    halved.fit(x, y, epochs=3, optimizer=rv.SGD(0.25), callbacks=[halve], progress=False)
    by_hand.fit(x, y, epochs=1, optimizer=rv.SGD(0.25), progress=False)
    by_hand.fit(x, y, epochs=2, optimizer=rv.SGD(0.125), progress=False)
    assert_same(halved, by_hand)

    halved.save(tmp_path / "net", training_state=True)
    again = rv.load(tmp_path / "net")
    assert again.learning_rate_factor == 0.5
    for net in (halved, again):
        net.fit(x, y, epochs=1, optimizer=rv.SGD(0.25), progress=False)
    by_hand.fit(x, y, epochs=1, optimizer=rv.SGD(0.125), progress=False)
    assert_same(halved, again)
    assert_same(halved, by_hand)
    halved.fit(x, y, optimizer=rv.SGD(0.5), progress=False)
    assert halved.learning_rate_factor == 1

    with pytest.raises(ValueError, match="learning_rate_factor: expected a number from 0, got -1"):
        halved.learning_rate_factor = -1


def test_equal_schedules_are_one_optimizer():
    assert rv.Adam(rv.WarmUp(0.1, 5)) == rv.Adam(rv.WarmUp(np.float64(0.1), 5.0))
    assert hash(rv.SGD(rv.StepLR(0.1, 5))) == hash(rv.SGD(rv.StepLR(0.1, 5)))
    assert rv.Adam(rv.CosineAnnealingLR(0.1, 5)) != rv.Adam(rv.CosineAnnealingLR(0.1, 6))


def test_a_schedule_of_ones_own_trains_but_is_not_saved(tmp_path):
    class Halving(LRScheduler):
        def at(self, updates, updates_per_epoch):
            return 0.5**updates

    x, y = problem()
    net = network()
    net.fit(x, y, optimizer=rv.SGD(Halving()), progress=False)
    with pytest.raises(ValueError, match=r"schedule lr \(Halving\)"):
        net.save(tmp_path / "net", training_state=True)
    net.save(tmp_path / "net")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: rv.StepLR(-0.1, 2), ValueError, "lr: expected a number from 0, got -0.1"),
        (lambda: rv.StepLR(0.1, 0), ValueError, "step_size: expected at least 1"),
        (lambda: rv.StepLR(0.1, 1.5), TypeError, "step_size: expected an int"),
        (lambda: rv.ExponentialLR(0.1, 0), ValueError, "gamma: expected a number above 0"),
        (lambda: rv.CosineAnnealingLR(0.1, 0), ValueError, "T_max: expected a number above 0"),
        (lambda: rv.CosineAnnealingLR("0.1", 3), TypeError, "lr: expected a number"),
        (
            lambda: rv.OneCycleLR(0.1, 3, pct_start=1),
            ValueError,
            "pct_start: expected a number from 0 to below 1",
        ),
        (lambda: rv.OneCycleLR(0.1, 3, div_factor=0), ValueError, "div_factor"),
        (lambda: rv.WarmUp("cosine", 3), TypeError, "lr: expected a number"),
        (lambda: rv.WarmUp(0.1, math.inf), ValueError, "epochs: expected a finite number"),
        (lambda: rv.Adam(rv.CosineAnnealingLR), TypeError, "lr: expected a number"),
    ],
)
def test_bad_settings_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
