"""The names that may not change unnoticed."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest

import cervello
from cervello import recording

NAMES = [
    "AgentsLostError", "BridgeError", "DrainingError", "LateAnswerError", "RefusedError", "ServerGoneError",
    "Actions", "AgentError", "Batched", "Batcher", "Frame", "Runtime", "SnapshotError", "Watch", "watch", "CervelloError", "Clip",
    "CompilationError", "ConfigurationError", "EpisodeStart",
    "Epsilon", "ExecutionError", "Fill", "FormatError", "FrameStack", "GraphError", "Guard", "Image", "Inferer", "InputError",
    "MemoryPlan", "MissingFileError", "Model", "ModelError", "Normalize", "PlanError", "Policy", "PolicySpec", "PreviousAction",
    "RecordingError", "Recurrent", "Sample", "Specs", "TensorSpec", "UnsupportedError", "View", "Wrapper", "WrapperError", "heads",
    "inferers", "load", "noise", "spaces", "wrappers"]
ROOMS = {
    "cervello.inferers": ["Basic", "Dynamic", "Fixed", "InfererConfig", "Memoizing", "ModelInferer", "choose"],
    "cervello.heads": ["Bernoulli", "Beta", "Categorical", "Deterministic", "EpsilonGreedy", "Gaussian", "Head", "MultiDiscrete",
                       "TanhGaussian"],
    "cervello.wrappers": ["Clip", "EpisodeStart", "Epsilon", "Fill", "FrameStack", "Guard", "Image", "Normalize", "Passive",
                          "PreviousAction", "Recurrent", "Sample", "Slab", "Stack", "suggest_wrappers", "take_input", "take_output",
                          "without"],
    "cervello.batcher": ["Batched", "Batcher", "Queue", "ScratchPad"],
    "cervello.recording": ["Converted", "Episode", "Log", "MinariRecording", "Recording", "Writer", "as_episode", "read", "same",
                           "to_minari"],
    "cervello.statistics": ["PairedDifference", "bca", "bootstrap", "calibrated", "effective_sample_size", "empirical_bernstein",
                            "hoeffding", "interquartile_mean", "paired_difference", "pareto_tail_index", "percentile",
                            "probability_of_improvement", "student_t"],
    "cervello.bridge": ["Answer", "AsyncClient", "AsyncPolicy", "Client", "Limits", "Options", "Pending", "RemotePolicy", "Server"],
    "cervello.description": ["Description", "load", "read"],
    "cervello.agents": ["Actions", "AgentTable", "Frame", "Policy", "Runtime", "Watch", "load", "watch"],
}
METHODS = {
    cervello.Policy: {
        "begin_agent": ["agent", "stream", "episode"], "begin_agents": ["ids", "stream", "episode"], "end_agent": ["agent"],
        "end_agents": ["ids"], "restart_agents": ["ids", "stream", "episode"], "infer": ["observations", "deterministic"],
        "infer_batch": ["ids", "inputs", "deterministic", "out"], "infer_single": ["agent", "observation", "deterministic"],
        "replace": ["new", "wrappers", "inferer"], "update_weights": ["weights"], "snapshot": ["ids", "out"], "restore": ["state"]},
    cervello.Runtime: {
        "add": ["name", "policy", "measure"], "remove": ["name"], "clear": [], "begin_agent": ["name", "agent", "stream", "episode"],
        "end_agent": ["name", "agent"], "push": ["name", "agent", "observation", "deterministic"],
        "push_batch": ["name", "ids", "inputs", "deterministic"], "infer_single": ["name", "agent", "observation", "deterministic"],
        "run": ["budget_s", "rows"], "submit": ["budget_s", "rows"], "snapshot": [], "restore": ["state"],
        "set_level": ["name", "agent", "every", "priority", "hold"]},
    cervello.Model: {"load": ["source", "share", "outputs", "strict", "progress"], "run": ["inputs", "out", "seed", "deterministic"],
                     "bind": ["inputs", "out", "seed", "deterministic"], "plan": ["n_rows"]},
    recording.Writer: {
        "begin": ["n", "observation", "agent", "match", "seed", "infos"],
        "step": ["episodes", "observation", "action", "reward", "terminated", "truncated", "infos", "log_prob", "deterministic", "pre_tanh",
                 "pre_clip", "source", "overridden", "version", "stream", "tick"],
        "decide": ["episodes", "observation", "action", "infos", "log_prob", "deterministic", "pre_tanh", "pre_clip", "source",
                   "overridden", "version", "stream", "tick"],
        "outcome": ["episodes", "reward", "action", "step"], "end": ["episodes", "observation", "terminated", "truncated"],
        "sync": [], "close": []},
    cervello.Batcher: {"push": ["agent", "observation"], "extend": ["observations"], "execute": ["deterministic"], "clear": [],
                       "discard": ["agent"], "batched": []},
}
HOOKS = {
    cervello.Inferer: ["begin_agent", "end_agent", "infer_raw", "inputs", "outputs", "raw_inputs", "raw_outputs", "select_batch_size"],
    cervello.Wrapper: ["attach", "begin", "commit", "end", "inward", "outward", "reserve"],
}


def test_the_names_of_the_package_are_pinned() -> None:
    assert sorted(cervello.__all__) == sorted(NAMES)
    assert all(hasattr(cervello, name) for name in NAMES)


@pytest.mark.parametrize("room", ROOMS)
def test_the_names_of_the_rooms_are_pinned(room: str) -> None:
    module = importlib.import_module(room)
    assert sorted(module.__all__) == ROOMS[room]
    assert all(hasattr(module, name) for name in ROOMS[room])


@pytest.mark.parametrize("owner", METHODS, ids=lambda owner: owner.__name__)
def test_arguments_are_only_ever_added(owner: type) -> None:
    for name, arguments in METHODS[owner].items():
        found = [argument for argument in inspect.signature(getattr(owner, name)).parameters if argument != "self"]
        assert found[:len(arguments)] == arguments, f"{owner.__name__}.{name}"


def test_load_takes_what_the_design_says() -> None:
    found = list(inspect.signature(cervello.load).parameters)
    assert found[:9] == ["source", "inferer", "wrappers", "seed", "threads", "precision", "outputs", "share", "strict"]


@pytest.mark.parametrize("protocol", HOOKS, ids=lambda protocol: protocol.__name__)
def test_a_protocol_grows_no_hook_that_users_classes_lack(protocol: type) -> None:
    assert sorted(name for name in vars(protocol) if not name.startswith("_")) == HOOKS[protocol]


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_described(name: str) -> None:
    assert (getattr(cervello, name).__doc__ or "").strip(), name


def test_a_first_action_waits_for_no_runtime() -> None:
    script = ("import sys, cervello, numpy\nfrom cervello.demo import policy_path\n"
              "policy = cervello.load(policy_path('hunter'), wrappers='auto')\npolicy.begin_agent(1)\n"
              "policy.infer({1: {'obs': numpy.zeros(9)}})\n"
              "print(sorted({'cervello.agents.runtime', 'concurrent.futures', 'sysconfig'} & set(sys.modules)))\n"
              "from cervello import Frame, Runtime\nprint(Runtime is cervello.agents.Runtime, Frame is cervello.Frame)\n")
    for _ in range(2):  # compiling needs them: the first run fills the cache
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "True True"]


@pytest.mark.parametrize("module", [cervello, cervello.agents])
def test_a_name_that_is_not_there_is_an_attribute_error(module: object) -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Runtimes'"):
        module.Runtimes  # type: ignore[attr-defined]  # noqa: B018


def test_importing_the_package_imports_neither_the_game_nor_gymnasium() -> None:
    script = ("import sys, cervello; "
              "heavy = {'gymnasium', 'matplotlib', 'onnxruntime', 'scipy', 'pytest', 'rich', 'h5py', 'minari', 'cervello.demo'}; "
              "print(sorted(heavy & set(sys.modules)))")
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() == "[]"
