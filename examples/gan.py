"""A generative adversarial network that learns to draw small digits (Goodfellow et al. 2014).

A generator makes images of random numbers, and a discriminator tells them from real ones. Each trains on what the other
does: the gradient to the generator's images is what the discriminator's way back gives for its input.
"""

import numpy as np
import ranvier as rv
from sklearn.datasets import load_digits

EPOCHS, BATCH, NOISE = 30, 64, 16
rng = np.random.default_rng(0)
images, labels = load_digits(return_X_y=True)
images = (images / 8 - 1).reshape(-1, 1, 8, 8).astype(np.float32)  # from -1 to 1, as tanh gives them

generator = rv.Network(
    [
        rv.ConvTranspose2d(NOISE, 32, 2),
        rv.ReLU(),
        rv.ConvTranspose2d(32, 32, 4, stride=2, padding=1),
        rv.GroupNorm(4, 32),
        rv.ReLU(),
        rv.ConvTranspose2d(32, 1, 4, stride=2, padding=1),
        rv.Tanh(),
    ],
    seed=0,
)
discriminator = rv.Network(
    [
        rv.Conv2d(1, 32, 4, stride=2, padding=1),
        rv.LeakyReLU(0.2),
        rv.Conv2d(32, 64, 4, stride=2, padding=1),
        rv.LeakyReLU(0.2),
        rv.Flatten(),
        rv.Linear(64 * 2 * 2, 1),
    ],
    seed=1,
)
loss = rv.BCEWithLogitsLoss()
for_generator, for_discriminator = rv.Adam(1e-3, betas=(0.5, 0.999)), rv.Adam(5e-4, betas=(0.5, 0.999))


def noise(count):
    """Return what the generator makes images of."""
    return rng.standard_normal((count, NOISE, 1, 1)).astype(np.float32)


for _ in range(EPOCHS):
    order = rng.permutation(len(images))
    for first in range(0, len(images) - BATCH + 1, BATCH):
        real, is_real = images[order[first : first + BATCH]], np.ones((BATCH, 1), np.float32)
        made = generator.forward(noise(BATCH))

        # The discriminator learns that the real ones are, and the others are not.
        for samples, truth in ((real, is_real), (made, 1 - is_real)):
            discriminator.backward(loss.gradient(discriminator.forward(samples), truth))
        discriminator.step(for_discriminator)

        # The generator learns to have its images taken for real.
        gradient = loss.gradient(discriminator.forward(made), is_real)
        generator.backward(discriminator.backward(gradient, input_gradient=True))
        discriminator.zero_grad()
        generator.step(for_generator)

# What does a classifier that knows the real digits see in them?
classifier = rv.Network([rv.Conv2d(1, 16, 3, padding=1), rv.ReLU(), rv.Flatten(), rv.Linear(1024, 10)], seed=0)
classifier.fit(images, labels, epochs=10, batch_size=32, optimizer=rv.Adam(1e-3), progress=False)
drawn = generator.predict(noise(1000))
probabilities = classifier.predict_proba(drawn)
sure = probabilities.max(axis=1) > 0.9
seen = np.bincount(probabilities.argmax(axis=1)[sure], minlength=10)
for row in drawn[:4, 0]:
    for line in row:
        print("".join(" .:*#"[round(value)] for value in 2 * line + 2))
print(f"digits drawn of 1000: {' '.join(map(str, seen))}")
print(f"of which the classifier is sure: {sure.mean():.2f}")
