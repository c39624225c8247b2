"""`Spaces`: the spaces of an environment, and their mapping to a policy, which no file contains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cervello.errors import ConfigurationError, did_you_mean
from cervello.spaces.kinds import is_space, kind

BOXES = ("clip", "unscale")


class Spaces:
    """The observation and action space of one agent, and their mapping to a policy. Immutable.

    Args:
      env: a Gymnasium environment, a vector environment, a Stable-Baselines3 VecEnv, an EnvPool, a PettingZoo environment, or a pair
        (observation space, action space).
      box: how float actions enter a bounded Box: "clip" cuts them off at its bounds, as PPO and A2C do; "unscale" maps -1 to 1 onto
        them, as SAC, TD3 and DDPG do. No file says which one its trainer used. Other action spaces refuse it.
      keys: {key of the observation: input of the file}; positions for a Tuple, None for a plain space. {key: None} leaves a key out.
      action: the output that is the action, or holds its logits or values. Default: the only output, else the one that is called
        action, actions or logits.
      greedy: the output holds values, one per action: the largest one is chosen, and with this probability any action, each as likely.
      agent: whose spaces, for a PettingZoo environment whose agents differ.

    Attributes:
      observation_space, action_space: of one agent, unbatched.

    Raises:
      ConfigurationError: no spaces were found, or an option is invalid.
    """

    def __init__(self, env: Any, *, box: str | None = None, keys: Mapping[Any, str | None] | None = None, action: str | None = None,
                 greedy: float | None = None, agent: Any = None):
        self.observation_space, self.action_space = _spaces_of(env, agent)
        if box is not None and (not isinstance(box, str) or box not in BOXES):
            raise ConfigurationError(f"spaces, box: expected one of {list(BOXES)} or None, got {box!r}{did_you_mean(box, BOXES)}")
        if box is not None and kind(self.action_space) != "Box":
            raise ConfigurationError(f"spaces, box: expected none for {self.action_space}, which is no Box, got {box!r}; leave it out "
                                     "(--box on the command line)")
        if keys is not None and not (isinstance(keys, Mapping) and all(v is None or isinstance(v, str) for v in keys.values())):
            raise ConfigurationError(f"spaces, keys: expected {{key of the observation: input of the file, or None}}, got {keys!r}")
        if action is not None and not (isinstance(action, str) and action):
            raise ConfigurationError(f"spaces, action: expected the name of an output, got {action!r}")
        number = isinstance(greedy, (int, float)) and not isinstance(greedy, bool)
        if greedy is not None and not (number and 0 <= greedy <= 1):
            raise ConfigurationError(f"spaces, greedy: expected a probability, 0 ≤ greedy ≤ 1, got {greedy!r}")
        self.box, self.action, self.greedy = box, action, None if greedy is None else float(greedy)
        self.keys: dict[Any, str | None] = dict(keys or {})

    @classmethod
    def of(cls, given: Any) -> Spaces:
        """Returns `given` if it is a `Spaces`, else the spaces of an environment or of a pair of spaces, without options.

        Raises:
          ConfigurationError: no spaces were found.
        """
        return given if isinstance(given, cls) else cls(given)

    def __repr__(self) -> str:
        options = "".join(f", {name}={value!r}" for name in ("box", "keys", "action", "greedy")
                          if (value := getattr(self, name)) not in (None, {}))
        return f"Spaces(({self.observation_space}, {self.action_space}){options})"


def _spaces_of(env: Any, agent: Any) -> tuple[Any, Any]:
    """(observation space, action space) of one agent."""
    if isinstance(env, tuple) and len(env) == 2:
        pair = env
    elif hasattr(env, "single_observation_space"):  # a vector environment of Gymnasium
        pair = env.single_observation_space, env.single_action_space
    elif callable(getattr(env, "observation_space", None)) and not is_space(env.observation_space):
        pair = _spaces_of_agent(env, agent)
    else:
        pair = getattr(env, "observation_space", None), getattr(env, "action_space", None)
    for what, space in zip(("an observation space", "an action space"), pair, strict=True):
        if not is_space(space):
            raise ConfigurationError(f"spaces: expected {what} of Gymnasium, got {space!r} from {env!r:.200}; give an environment "
                                     "or a pair (observation space, action space)")
    return pair


def _spaces_of_agent(env: Any, agent: Any) -> tuple[Any, Any]:
    """The spaces of one agent of a PettingZoo environment; of any one when all have the same."""
    if agent is not None:
        try:
            return env.observation_space(agent), env.action_space(agent)
        except (KeyError, LookupError, AssertionError, AttributeError) as error:
            raise ConfigurationError(f"spaces, agent: expected an agent of the environment, got {agent!r}") from error
    agents = list(getattr(env, "possible_agents", None) or getattr(env, "agents", None) or ())
    pairs = [(env.observation_space(each), env.action_space(each)) for each in agents]
    if not pairs or any(pair != pairs[0] for pair in pairs):
        raise ConfigurationError(f"spaces: expected agents of equal spaces, got {agents or 'no agents yet'}, whose spaces differ; "
                                 "name one: Spaces(env, agent=…)")
    return pairs[0]
