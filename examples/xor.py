"""Exclusive or, the smallest problem that needs a hidden layer."""

import numpy as np
import ranvier as rv

x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
y = np.array([0, 1, 1, 0])
net = rv.Network([rv.Linear(2, 8), rv.Tanh(), rv.Linear(8, 1)], seed=0)
net.fit(x, y, epochs=500, batch_size=4, loss=rv.BCEWithLogitsLoss(), optimizer=rv.Adam(0.05), progress=False)
for row, logit in zip(x, net.predict(x)[:, 0], strict=True):
    print(f"{row[0]} xor {row[1]} = {int(logit > 0)}")
