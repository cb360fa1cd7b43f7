"""REINFORCE (Williams 1992) balances gymnasium's CartPole-v1, which counts as solved from a mean reward of 475 on.

The gradient of the policy is that of the cross-entropy of the actions taken, times what they were worth.
"""

import gymnasium
import numpy as np
import ranvier as rv

EPISODES, DISCOUNT = 10, 0.99  # episodes an update

env = gymnasium.make("CartPole-v1")
rng = np.random.default_rng(0)
policy = rv.Network([rv.Linear(4, 64), rv.Tanh(), rv.Linear(64, 2)], seed=0)
loss, optimizer = rv.CrossEntropyLoss(), rv.Adam(0.01)


def play(choose):
    """Return the states, actions and rewards of an episode."""
    states, actions, rewards = [], [], []
    state, ended = env.reset(seed=int(rng.integers(2**31)))[0], False
    while not ended:
        action = choose(policy.predict(state[None])[0])
        states.append(state)
        actions.append(action)
        state, reward, terminated, truncated, _ = env.step(action)
        rewards.append(reward)
        ended = terminated or truncated
    return states, actions, rewards


def draw(logits):
    return int(rng.random() < 1 / (1 + np.exp(logits[0] - logits[1])))


def rewards_to_go(rewards):
    total, worth = 0.0, []
    for reward in reversed(rewards):
        total = reward + DISCOUNT * total
        worth.append(total)
    return worth[::-1]


for update in range(1, 101):
    episodes = [play(draw) for _ in range(EPISODES)]
    states, actions = (np.concatenate([episode[part] for episode in episodes]) for part in (0, 1))
    worth = np.concatenate([rewards_to_go(rewards) for _, _, rewards in episodes])
    worth = (worth - worth.mean()) / worth.std()
    policy.backward(loss.gradient(policy.forward(states), actions) * worth[:, None])
    policy.step(optimizer)
    mean = len(states) / EPISODES
    if update % 10 == 0:
        print(f"update {update}: mean reward {mean:.1f}")
    if mean == 500:
        break

rewards = [len(play(np.argmax)[0]) for _ in range(100)]
print(f"mean reward of 100 episodes after {update} updates: {np.mean(rewards):.1f}")
