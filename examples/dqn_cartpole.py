"""Deep Q-learning (Mnih et al. 2015) balances gymnasium's CartPole-v1, solved from a mean reward of 475 on.

Only the action taken has a target; those of the others are NaN, and their gradient is 0. The best action is chosen by
the network that learns, and valued by its copy (van Hasselt et al. 2016).
"""

import gymnasium
import numpy as np
import ranvier as rv

STEPS, MEMORY, BATCH, DISCOUNT = 100_000, 10_000, 128, 0.99

env, trials = gymnasium.make("CartPole-v1"), gymnasium.make("CartPole-v1")
rng = np.random.default_rng(0)
net = rv.Network([rv.Linear(4, 128), rv.ReLU(), rv.Linear(128, 128), rv.ReLU(), rv.Linear(128, 2)], seed=0)
target_net, optimizer = net.copy(), rv.AdamW(1e-3, clip_norm=10.0)

states, next_states = np.empty((2, MEMORY, 4), np.float32)
actions, rewards, alive = np.empty(MEMORY, int), np.empty(MEMORY, np.float32), np.empty(MEMORY, np.float32)


def best_action(state):
    return int(net.predict(state[None])[0].argmax())


def learn(batch):
    rows = np.arange(BATCH)
    following = target_net.predict(next_states[batch])[rows, net.predict(next_states[batch]).argmax(1)]
    target = np.full((BATCH, 2), np.nan, np.float32)
    target[rows, actions[batch]] = rewards[batch] + DISCOUNT * alive[batch] * following
    error = net.forward(states[batch]) - target
    net.backward(np.where(np.isnan(target), 0, error.clip(-1, 1)) / BATCH)  # of the Huber loss
    net.step(optimizer)


def reward_of_an_episode():
    total, state, ended = 0.0, trials.reset(seed=int(rng.integers(2**31)))[0], False
    while not ended:
        state, reward, terminated, truncated, _ = trials.step(best_action(state))
        total += reward
        ended = terminated or truncated
    return total


state = env.reset(seed=0)[0]
for step in range(STEPS):
    explore = rng.random() < max(0.05, 1 - step / 5000)
    place, action = step % MEMORY, int(rng.integers(2)) if explore else best_action(state)
    states[place], actions[place] = state, action
    state, rewards[place], terminated, truncated, _ = env.step(action)
    next_states[place], alive[place] = state, not terminated
    if terminated or truncated:
        state = env.reset()[0]
    if step >= 1000:
        learn(rng.integers(min(step, MEMORY), size=BATCH))
    if step % 500 == 499:
        target_net = net.copy()
        if all(reward_of_an_episode() == 500 for _ in range(10)):
            break

rewards = [reward_of_an_episode() for _ in range(100)]
print(f"mean reward of 100 episodes after {step + 1} steps: {np.mean(rewards):.1f}")
