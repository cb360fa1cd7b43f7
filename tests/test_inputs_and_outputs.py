"""Networks of symbolic values: several inputs, several outputs, any wiring."""

import copy
import pickle

import numpy as np
import pytest
import ranvier as rv
from ranvier import diagnostics


def tower(dtype="float64", seed=0):
    """Return a network of two inputs and two outputs, in which one value is read twice."""
    image, table = rv.Input((1, 6, 6)), rv.Input((5,))
    h = rv.ReLU()(rv.Conv2d(1, 2, 3)(image))
    h = rv.Concat()([rv.Flatten()(h), table])
    h = rv.Tanh()(rv.Linear(37, 8)(h))
    h = rv.Add()([h, rv.Linear(5, 8)(table)])
    return rv.Network(
        inputs={"image": image, "table": table},
        outputs={"digit": rv.Linear(8, 3)(h), "age": rv.Linear(8, 1)(h)},
        seed=seed,
        dtype=dtype,
    )


LOSS = rv.JointLoss({"digit": rv.CrossEntropyLoss(), "age": rv.MSELoss()}, weights={"age": 0.1})


def data(n=40, seed=1):
    rng = np.random.default_rng(seed)
    x = {"image": rng.standard_normal((n, 1, 6, 6)), "table": rng.standard_normal((n, 5))}
    return x, {"digit": rng.integers(0, 3, n), "age": rng.standard_normal(n)}


def torch_tower(state):
    torch = pytest.importorskip("torch")

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = torch.nn.Conv2d(1, 2, 3)
            self.joined, self.table = torch.nn.Linear(37, 8), torch.nn.Linear(5, 8)
            self.digit, self.age = torch.nn.Linear(8, 3), torch.nn.Linear(8, 1)

        def forward(self, image, table):
            h = torch.relu(self.convolution(image)).flatten(1)
            h = torch.tanh(self.joined(torch.cat([h, table], 1))) + self.table(table)
            return self.digit(h), self.age(h)

    module = Module().double()
    names = dict(zip(dict(module.named_parameters()), state, strict=True))
    module.load_state_dict({own: torch.from_numpy(state[name].copy()) for own, name in names.items()})
    return torch, module, names


def tensors(torch, arrays, **options):
    return {name: torch.tensor(array, **options) for name, array in arrays.items()}


def joint_loss(torch, module, x, y, weights=None):
    digit, age = module(x["image"], x["table"])
    each = torch.nn.functional.cross_entropy(digit, y["digit"], reduction="none")
    each = each + 0.1 * (age[:, 0] - y["age"]) ** 2
    return each.mean() if weights is None else (weights * each).sum() / weights.sum()


def test_parameters_are_named_by_the_order_of_the_layers():
    net = tower()
    assert [type(layer).__name__ for layer in net.layers] == [
        "Conv2d", "ReLU", "Flatten", "Concat", "Linear", "Tanh", "Linear", "Add", "Linear", "Linear",
    ]  # fmt: skip
    assert list(net.state_dict())[::2] == [f"{i}.weight" for i in (0, 4, 6, 8, 9)]


def test_predictions_gradients_and_a_step_are_those_of_torch():
    net, (x, y) = tower(), data()
    torch, module, names = torch_tower(net.state_dict())
    inputs = tensors(torch, x, requires_grad=True)
    loss = joint_loss(torch, module, inputs, tensors(torch, y))
    loss.backward()
    predicted = net.predict(x)
    for expected, (name, got) in zip(module(inputs["image"], inputs["table"]), predicted.items(), strict=True):
        np.testing.assert_allclose(got, expected.detach().numpy(), rtol=1e-12, atol=1e-12, err_msg=name)
    assert predicted["age"].shape == (40, 1)
    for name, gradient in net.loss_gradients(x, y, loss=LOSS).items():
        own = next(parameter for own, parameter in module.named_parameters() if names[own] == name)
        np.testing.assert_allclose(gradient, own.grad.numpy(), rtol=1e-10, atol=1e-12, err_msg=name)
    outputs = net.forward(x)
    wanted = {"digit": y["digit"], "age": y["age"][:, None]}
    assert LOSS(outputs, wanted) == pytest.approx(loss.item(), rel=1e-12)
    gradients = net.backward(LOSS.gradient(outputs, wanted), input_gradient=True)
    for name, tensor in inputs.items():
        np.testing.assert_allclose(gradients[name], tensor.grad.numpy(), rtol=1e-10, atol=1e-13, err_msg=name)
    net.zero_grad()
    assert net.train_step(x, y, loss=LOSS, optimizer=rv.SGD(0.1)) == pytest.approx(loss.item(), rel=1e-12)
    torch.optim.SGD(module.parameters(), 0.1).step()
    for own, name in names.items():
        np.testing.assert_allclose(net.state_dict()[name], module.state_dict()[own].numpy(), rtol=1e-10, atol=1e-12)


def test_weights_of_samples_count_in_each_loss():
    net, (x, y) = tower(), data()
    torch, module, names = torch_tower(net.state_dict())
    weights = np.random.default_rng(5).uniform(0, 2, 40)
    loss = joint_loss(torch, module, tensors(torch, x), tensors(torch, y), torch.tensor(weights))
    loss.backward()
    gradients = net.loss_gradients(x, y, loss=LOSS, sample_weight=weights)
    for own, parameter in module.named_parameters():
        np.testing.assert_allclose(gradients[names[own]], parameter.grad.numpy(), rtol=1e-10, atol=1e-12)
    assert net.evaluate(x, y, loss=LOSS, sample_weight=weights).loss == pytest.approx(loss.item(), rel=1e-12)


def test_gradients_to_inputs_are_central_differences():
    net, (x, y) = tower(), data(3)
    wanted = {"digit": y["digit"], "age": y["age"][:, None]}
    gradients = net.backward(LOSS.gradient(net.forward(x), wanted), input_gradient=True)
    for name, index in (("image", (1, 0, 2, 3)), ("table", (2, 4))):
        values = []
        for step in (1e-5, -1e-5):
            moved = {key: array.copy() for key, array in x.items()}
            moved[name][index] += step
            values.append(LOSS(net.predict(moved), wanted))
        assert gradients[name][index] == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6)


def test_the_gradients_of_parameters_are_central_differences():
    x, y = data(5)
    assert diagnostics.gradient_check(tower(), x, y, loss=LOSS).passed


def trained(threads, net=None, **options):
    x, y = data(101)
    before = rv.num_threads()
    rv.set_num_threads(threads)
    try:
        net = tower("float32") if net is None else net
        net.fit(x, y, epochs=2, batch_size=16, loss=LOSS, progress=False, **options)
        return net, net.predict(x)
    finally:
        rv.set_num_threads(before)


def same(one, other):
    return all(np.array_equal(one[name], other[name]) for name in one) and one.keys() == other.keys()


def test_bits_do_not_depend_on_threads():
    nets = [trained(threads) for threads in (1, 2, 3)]
    for net, predicted in nets[1:]:
        assert same(nets[0][0].state_dict(), net.state_dict())
        assert same(nets[0][1], predicted)


def test_a_rows_bits_do_not_depend_on_the_others():
    net, (x, _) = tower("float32"), data(33)
    whole = net.predict(x)
    some = net.predict({name: array[7:9] for name, array in x.items()})
    assert all(np.array_equal(whole[name][7:9], some[name]) for name in whole)


def test_steps_are_what_fit_does():
    x, y = data(50)
    fitted, stepped = tower("float32"), tower("float32")
    fitted.fit(x, y, epochs=1, batch_size=10, loss=LOSS, shuffle=False, progress=False)
    for first in range(0, 50, 10):
        rows = slice(first, first + 10)
        stepped.train_step(*({k: a[rows] for k, a in part.items()} for part in (x, y)), loss=LOSS)
    assert same(fitted.state_dict(), stepped.state_dict())


def test_shuffled_rows_are_those_of_the_order():
    x, y = data(50)
    shuffled, ordered = tower("float32"), tower("float32")
    shuffled.fit(x, y, epochs=1, batch_size=10, loss=LOSS, progress=False)
    order = ordered.engine.order(1, 50)
    x, y = ({name: array[order] for name, array in part.items()} for part in (x, y))
    ordered.fit(x, y, epochs=1, batch_size=10, loss=LOSS, shuffle=False, progress=False)
    assert same(shuffled.state_dict(), ordered.state_dict())


def test_a_stream_trains_as_arrays_do():
    x, y = data(50)
    fitted, streamed = tower("float32"), tower("float32")
    fitted.fit(x, y, epochs=2, batch_size=10, loss=LOSS, shuffle=False, progress=False)
    batches = [tuple({k: a[i : i + 10] for k, a in part.items()} for part in (x, y)) for i in range(0, 50, 10)]
    history = streamed.fit(batches, epochs=2, loss=LOSS, validation_data=batches, progress=False)
    assert same(fitted.state_dict(), streamed.state_dict())
    assert history.metrics["val_age_loss"][-1] == pytest.approx(fitted.evaluate(x, y).age_loss, rel=1e-5)


def test_the_history_has_the_losses_and_metrics_of_each_output():
    net, (x, y) = tower(), data(60)
    history = net.fit(
        x, y, epochs=2, loss=LOSS, progress=False, validation_split=0.25, metrics={"age": ["rmse"], "digit": [worst]}
    )
    names = ["digit_loss", "digit_accuracy", "digit_worst", "age_loss", "age_r2", "age_mae", "age_rmse"]
    assert list(history.metrics) == names + [f"val_{name}" for name in names]
    losses = history.metrics
    assert history.loss[0] == pytest.approx(losses["digit_loss"][0] + 0.1 * losses["age_loss"][0], rel=1e-9)
    evaluation = net.evaluate({k: a[45:] for k, a in x.items()}, {k: a[45:] for k, a in y.items()})
    predicted = net.predict({k: a[45:] for k, a in x.items()})
    assert evaluation.digit_accuracy == np.mean(predicted["digit"].argmax(1) == y["digit"][45:])
    assert evaluation.age_mae == pytest.approx(np.abs(predicted["age"][:, 0] - y["age"][45:]).mean(), rel=1e-12)
    assert evaluation.digit_accuracy == losses["val_digit_accuracy"][-1]


def worst(y_true, y_pred):
    return float(np.max(y_pred))


def test_early_stopping_follows_the_loss_of_one_output():
    x, y = data(20)
    stop = rv.EarlyStopping(monitor="val_age_loss", patience=1)
    history = tower().fit(x, y, epochs=3, loss=LOSS, validation_data=(x, y), callbacks=[stop], progress=False)
    assert len(history) >= 1


@pytest.mark.parametrize("way", ["file", "pickle", "copy", "deepcopy"])
def test_a_network_comes_back(way, tmp_path):
    net, predicted = trained(1)
    if way == "file":
        net.save(tmp_path / "net.safetensors", training_state=True)
        twin = rv.load(tmp_path / "net.safetensors")
    elif way == "pickle":
        twin = pickle.loads(pickle.dumps(net))
    else:
        twin = net.copy() if way == "copy" else copy.deepcopy(net)
    x, y = data(101)
    assert same(twin.predict(x), predicted)
    assert twin.evaluate(x, y).loss == net.evaluate(x, y).loss
    assert twin.loss == LOSS
    assert same(trained(1, net)[1], trained(1, twin)[1])


def test_a_predictor_takes_and_gives_dicts(tmp_path):
    net, predicted = trained(1)
    x, _ = data(101)
    p = net.predictor()
    assert all(np.allclose(predicted[name], p(x)[name], atol=1e-6) for name in predicted)
    p.save(tmp_path / "p.safetensors")
    for twin in (pickle.loads(pickle.dumps(p)), rv.load_predictor(tmp_path / "p.safetensors")):
        assert same(twin(x), p(x))
    with pytest.raises(ValueError, match="no 'table'"):
        p({"image": x["image"]})


def test_one_input_and_output_without_names_is_like_a_list():
    x = rv.Input((6,))
    h = rv.Linear(6, 6)(x)
    net = rv.Network(inputs=x, outputs=rv.Add()([rv.ReLU()(h), x]), seed=0)
    plain = rv.Network([rv.Residual([rv.Linear(6, 6), rv.ReLU()])], seed=0)
    samples, targets = np.random.default_rng(0).standard_normal((2, 9, 6)).astype(np.float32)
    assert np.array_equal(net.predict(samples), plain.predict(samples))
    for network in (net, plain):
        network.fit(samples, targets, epochs=2, loss=rv.MSELoss(), progress=False)
    assert np.array_equal(net.predict(samples), plain.predict(samples))
    assert same(net.activations(samples), {i: net.activations(samples, [i])[i] for i in range(3)})


@pytest.mark.parametrize("summands", [2, 3, 6])
def test_a_sum_of_many_values_has_all_of_them(summands):
    x = [rv.Input((5, 3)) for _ in range(summands)]
    net = rv.Network(inputs={f"x{i}": value for i, value in enumerate(x)}, outputs=rv.LeakyReLU(0.25)(rv.Add()(x)))
    samples = {f"x{i}": np.random.default_rng(i).standard_normal((300, 5, 3), np.float32) for i in range(summands)}
    total = sum(value.astype(np.float64) for value in samples.values())
    for predict in (net.predict, net.predictor()):
        np.testing.assert_allclose(predict(samples), np.maximum(total, 0.25 * total), atol=1e-5)


def test_bytes_are_fractions_of_255():
    images = np.random.default_rng(0).integers(0, 256, (7, 1, 6, 6), dtype=np.uint8)
    table = data(7)[0]["table"]
    net = tower("float32")
    fractions = images / np.float32(255)
    assert same(net.predict({"image": images, "table": table}), net.predict({"image": fractions, "table": table}))


def test_a_value_may_be_read_twice_by_one_layer_and_be_an_output():
    x = rv.Input((3,))
    h = rv.Linear(3, 3)(x)
    net = rv.Network(inputs={"x": x}, outputs={"h": h, "both": rv.Concat()([h, h])}, seed=0, dtype="float64")
    samples = np.ones((2, 3))
    predicted = net.predict({"x": samples})
    assert np.array_equal(predicted["both"], np.concatenate([predicted["h"]] * 2, axis=1))
    net.forward({"x": samples})
    grad = net.backward({"h": np.ones((2, 3)), "both": np.ones((2, 6))}, input_gradient=True)
    np.testing.assert_allclose(grad, 3 * np.ones((2, 3)) @ net.state_dict()["0.weight"])


def test_the_summary_tells_what_each_layer_reads():
    text = str(tower().summary())
    assert "3  Concat()" in text
    assert "2, table" in text
    assert "-> digit" in text


def test_layers_without_parameters_may_be_called_twice():
    x, act = rv.Input((2,)), rv.ReLU()
    net = rv.Network(inputs=x, outputs=act(rv.Linear(2, 2)(act(x))))
    assert net.predict(np.ones((1, 2))).shape == (1, 2)


def test_adapt_reaches_layers_behind_inputs_and_others():
    left, right = rv.Input((3,)), rv.Input((2, 4, 4))
    h = rv.Linear(32, 3)(rv.Flatten()(rv.Standardize(2)(right)))
    joined = rv.Concat()([rv.Standardize(3)(left), rv.Standardize(3)(h)])
    rng = np.random.default_rng(0)
    x = {"left": rng.normal(5, 3, (300, 3)), "right": rng.normal(-2, 0.5, (300, 2, 4, 4))}
    predicted = []
    for given in (x, [({name: a[i : i + 100] for name, a in x.items()}, None) for i in (0, 100, 200)]):
        net = rv.Network(inputs={"left": left, "right": right}, outputs=joined, seed=0, dtype="float64")
        with pytest.raises(RuntimeError, match="adapt"):
            net.predict(x)
        net.adapt(given)
        predicted.append(net.predict(x))
    np.testing.assert_allclose(predicted[0].mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(predicted[0].std(0), 1, rtol=1e-12)
    np.testing.assert_allclose(predicted[1], predicted[0], rtol=1e-9)


# --- what is refused --------------------------------------------------------------------------------------------


def test_wirings_that_make_no_sense_are_refused():
    a, b = rv.Input((2,)), rv.Input((2,))
    shared = rv.Linear(2, 2)
    with pytest.raises(ValueError, match=r"Linear.*called twice"):
        rv.Network(inputs={"a": a, "b": b}, outputs=rv.Add()([shared(a), shared(b)]))
    with pytest.raises(ValueError, match="none needs 'b'"):
        rv.Network(inputs={"a": a, "b": b}, outputs=shared(a))
    with pytest.raises(ValueError, match="not among them"):
        rv.Network(inputs={"a": a}, outputs=rv.Add()([a, b]))
    with pytest.raises(ValueError, match=r"layer \(Linear\): expected 3 .*\(2,\)"):
        rv.Linear(3, 2)(a)
    with pytest.raises(ValueError, match=r"\(Add\): expected samples of one shape, got \(2,\) and \(3,\)"):
        rv.Add()([a, rv.Linear(2, 3)(a)])
    with pytest.raises(ValueError, match=r"\(Concat\): expected at least two inputs"):
        rv.Concat()([a])
    with pytest.raises(ValueError, match=r"\(ReLU\): expected one input, got 2"):
        rv.ReLU()([a, b])
    with pytest.raises(TypeError, match="Input"):
        rv.Linear(2, 2)(np.ones((3, 2)))
    with pytest.raises(TypeError, match="outputs"):
        rv.Network([a, rv.Linear(2, 2)])
    with pytest.raises(ValueError, match="at least two inputs"):
        rv.Network([rv.Add()]).predict(np.ones((1, 2)))
    with pytest.raises(TypeError, match="both"):
        rv.Network([rv.ReLU()], inputs=a, outputs=rv.ReLU()(a))
    with pytest.raises(ValueError, match="inputs alone"):
        rv.Network(inputs=a, outputs=a)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: x.pop("table"), r"x: expected \['image', 'table'\], got no 'table'"),
        (lambda x, y: x.update(tabel=x["table"]), "got 'tabel', too"),
        (lambda x, y: x.update(table=x["table"][:9]), r"x\['table'\]: expected as many samples.*40, got 9"),
        (lambda x, y: x.update(table=x["table"][:, :2]), r"x\['table'\]: expected samples of shape \(5,\), got \(2,\)"),
        (lambda x, y: y.pop("age"), "y: .*got no 'age'"),
        (lambda x, y: y.update(age=y["age"][:9]), r"y\['age'\]: expected one target for each of 40"),
        (lambda x, y: y.update(digit=y["digit"] + 1), r"y\['digit'\].*3"),
        (lambda x, y: y.update(age=y["age"] * np.nan), r"y\['age'\]: contains NaN"),
    ],
)
def test_arrays_that_do_not_fit_are_named(change, message):
    net, (x, y) = tower(), data()
    before = net.state_dict()
    change(x, y)
    with pytest.raises(ValueError, match=message):
        net.fit(x, y, loss=LOSS, progress=False)
    assert same(net.state_dict(), before)


def test_a_sample_that_is_not_finite_is_named():
    net, (x, y) = tower(), data()
    x["table"][7, 1] = np.nan
    with pytest.raises(FloatingPointError, match="sample 7 of the input"):
        net.fit(x, y, loss=LOSS, shuffle=False, progress=False)


def test_losses_that_do_not_fit_are_named():
    net, (x, y) = tower(), data()
    with pytest.raises(TypeError, match=r"loss: expected one for each of \['digit', 'age'\]"):
        net.fit(x, y, progress=False)
    with pytest.raises(ValueError, match="none for 'age'"):
        net.fit(x, y, loss={"digit": rv.CrossEntropyLoss()}, progress=False)
    with pytest.raises(ValueError, match="one for 'name', too"):
        net.fit(x, y, loss={**LOSS.losses, "name": rv.MSELoss()}, progress=False)
    with pytest.raises(TypeError, match="dict or JointLoss"):
        net.fit(x, y, loss=rv.MSELoss(), progress=False)
    with pytest.raises(TypeError, match="one output"):
        rv.Network([rv.Linear(2, 2)]).fit(np.ones((1, 2)), [0], loss=LOSS, progress=False)
    with pytest.raises(ValueError, match="weights"):
        rv.JointLoss({"a": rv.MSELoss()}, weights={"b": 1})
    with pytest.raises(TypeError, match="metrics: expected a dict"):
        net.fit(x, y, loss=LOSS, metrics=["mae"], progress=False)
    a = rv.Input((2,))
    ends = rv.Network(inputs=a, outputs={"p": rv.Softmax()(a), "q": rv.Linear(2, 1)(a)})
    losses = {"p": rv.CrossEntropyLoss(), "q": rv.MSELoss()}
    with pytest.warns(UserWarning, match="Softmax"):
        ends.fit(np.ones((2, 2)), {"p": [0, 1], "q": [0.0, 1.0]}, loss=losses, progress=False)


def test_what_needs_a_list_of_layers_says_so():
    net, (x, _) = tower(), data(3)
    with pytest.raises(ValueError, match="Standardize"):
        net.adapt(x)
    with pytest.raises(TypeError, match="one output"):
        net.predict_classes(x)
    with pytest.raises(TypeError, match="one output"):
        net.classes_ = [1, 2]
    a = rv.Input((2,))
    single, x = rv.Network(inputs=a, outputs=rv.Linear(2, 2)(a)), np.ones((3, 2))
    with pytest.raises(TypeError, match="one behind the other"):
        single.fit(x, [0, 1, 1], callbacks=[diagnostics.DeadUnits(x)], progress=False)


def test_a_file_with_a_wiring_that_makes_no_sense_is_refused(tmp_path):
    net = tower()
    wiring = net._wiring.to_json()
    wiring["sources"][0] = [3]
    from ranvier.wiring import wiring_from_json

    with pytest.raises(ValueError, match="before layer 0"):
        wiring_from_json(wiring, net.layers)
