# A scene's script: attach it to a Node. CartPoles that a Cervello server plays: `cervello serve examples --listen tcp://127.0.0.1:5577`.
# One request a frame; `poll()` never waits, so no frame does. In a web export the address is `ws://host:port`.
extends Node

const Client := preload("cervello_client_4.gd")
const POLICY := "cartpole"
const FRAMES := 100

@export var address := "tcp://127.0.0.1:5577"
var client := Client.new()
var ids: Array[int] = []
var observations := PackedFloat32Array() # 4 of each agent


func _ready() -> void:
	for id in range(16):
		ids.append(id)
	observations.resize(4 * ids.size())
	play()


func _process(_delta: float) -> void:
	client.poll()


func play() -> void:
	if await failed(client.connect_to(address, "example-godot4")):
		return
	if await failed(client.begin(POLICY, ids)):
		return
	for frame in range(FRAMES):
		var pending := client.infer(POLICY, ids, {"obs": client.codec.floats(observations)}, {"tick": frame})
		# the frame's physics run here, while the server decides
		if await failed(pending):
			return
		var actions := client.codec.to_ints(pending.result["outputs"]["action"])
		var rewards := PackedFloat32Array()
		for row in range(actions.size()):
			observations[4 * row + 2] += 0.01 if actions[row] == 1 else -0.01
			rewards.append(1.0)
		client.notify_server("reward", {"policy": POLICY, "agents": ids, "reward": client.codec.floats(rewards)})
	print("%d frames" % FRAMES)
	client.close()


# Waits for a reply; true, and the reason printed, where it is an error.
func failed(pending: Client.Pending) -> bool:
	await pending.settled()
	if pending.error != null:
		printerr("%s: %s" % [pending.error.kind, pending.error.message()])
	return pending.error != null
