# What the tests ask of the Godot 4 client. A page has the arguments and the given lines in its pack; elsewhere DRIVER has the arguments,
# and the last of them names the file of given lines. Lines of ours begin with `> `.
extends Node

const Client := preload("cervello_client_4.gd")
const Codec := preload("cervello_codec_4.gd")
var client := Client.new()
var codec := Codec.new()


func bin(text: String) -> PackedByteArray:
	return text.hex_decode()


func dump(value: Variant) -> String:
	var parts := PackedStringArray()
	match typeof(value):
		TYPE_NIL:
			return "n"
		TYPE_BOOL:
			return "t" if value else "u"
		TYPE_INT:
			return str(value)
		TYPE_FLOAT:
			return str(int(value)) if value == int(value) else "f" + str(value)
		TYPE_STRING:
			return "s" + value.to_utf8_buffer().hex_encode()
		TYPE_PACKED_BYTE_ARRAY:
			return "b" + value.hex_encode()
		TYPE_ARRAY:
			for item: Variant in value:
				parts.append(dump(item))
			return "[" + ",".join(parts) + "]"
	var by_hex := {}
	for key: String in value:
		by_hex[key.to_utf8_buffer().hex_encode()] = dump(value[key])
	var keys := by_hex.keys()
	keys.sort()
	for key: String in keys:
		parts.append(key + ":" + by_hex[key])
	return "{" + ",".join(parts) + "}"


func told(pending: Client.Pending) -> void:
	await pending.settled()
	if pending.error == null:
		print("> ", dump(pending.result))
	else:
		var failure := pending.error
		print("> %s|%s|%s|%s" % [failure.kind, failure.step, str(failure.code) if failure.code else "", failure.message()])


func replied(pending: Client.Pending) -> Variant:
	await pending.settled()
	return pending.result


func lines_of(path: String) -> PackedStringArray:
	return FileAccess.get_file_as_string(path).trim_suffix("\n").split("\n")


func read_codec(path: String) -> void:
	for line in lines_of(path):
		var value: Variant = codec.decode(bin(line))
		if codec.error != "":
			print("> ", codec.error)
		else:
			print("> ", dump(value), " ", codec.encode(value).hex_encode())


# What TCP brings, without a socket: replies in pieces of 1 to 7 bytes, then a frame that is too long.
func read_pieces(path: String) -> void:
	var frames: Array[PackedByteArray] = []
	var pendings: Array[Client.Pending] = []
	var bytes := PackedByteArray()
	for line in lines_of(path):
		frames.append(bin(line))
		bytes.append_array(bin(line))
	client._tcp = StreamPeerTCP.new()
	for at in range(frames.size()):
		pendings.append(client._new_pending("last", 20000))
		var message: Variant = codec.decode(frames[at].slice(4))
		client._pending[message[1] if message is Array else 1000000] = pendings[at]
	var at := 0
	while at < bytes.size():
		var until := at + 1 + at % 7
		client._in.append_array(bytes.slice(at, until))
		client._take_frames()
		at = until
	for pending in pendings:
		told(pending)


func _ready() -> void:
	var is_page := OS.has_feature("web")
	var text := FileAccess.get_file_as_string("res://arguments.txt") if is_page else OS.get_environment("DRIVER")
	var given := Array(text.split(" "))
	if is_page and given.size() == 1:
		given.append("res://given.hex")
	while given.size() < 5:
		given.append("")
	await play(given[0], given[1], given[2], given[3], given[4])
	client.close()
	if is_page:
		print("> over")
	else:
		get_tree().quit()


func _process(_delta: float) -> void:
	client.poll()


# How long `poll()` takes, in microseconds, median and longest, from the first handshake on; and whether the reply has come.
func time_frames(hello: Client.Pending, policy: String, row: PackedByteArray) -> void:
	var took: Array[int] = []
	var last := hello
	for _frame in range(100):
		var start := Time.get_ticks_usec()
		client.poll()
		took.append(Time.get_ticks_usec() - start)
		if last == hello and client.is_ready():
			last = client.infer(policy, [1], {"obs": row})
		OS.delay_msec(2)
	took.sort()
	print("> %d %d %s" % [took[50], took[99], "replied" if last.done else "waits"])


func play(scenario: String, address: String, policy: String, rest: String, steps: String) -> void:
	if scenario == "codec":
		read_codec(address)
		return
	if scenario == "pieces":
		read_pieces(address)
		return
	var obs := codec.floats([0.5, -0.25, 0.125, 1.0, -1.0, 0.75, 0.0, 2.0])
	var row := obs.slice(0, 16)
	var most := 9007199254740991
	client.timeout_ms = 20000
	var hello := client.connect_to(address, "golden", null, 300 if scenario == "connect" else 20000)
	if scenario == "connect":
		await told(hello)
		return
	if scenario == "frames":
		time_frames(hello, policy, row)
		return
	await hello.settled()
	if hello.error != null:
		await told(hello)
		return
	match scenario:
		"golden":
			await told(client.ping())
			await told(client.spec(policy))
			await told(client.begin(policy, [1, 2], {"streams": bin("07000000000000000000000000000040")}))
			await told(client.infer(policy, [1, 2], {"obs": obs}))
			await told(client.infer(policy, [3], {"obs": row}, {"begin": true, "deterministic": bin("01"), "deadline_us": 5000000,
				"outputs": ["action"], "tick": most}))
			await told(client.infer(policy, [], {"obs": PackedByteArray()}))
			await told(client.infer(policy, [1], {"obs": row}, {"outputs": []}))
			await told(client.reward(policy, [1, 2], codec.floats([1.0, -0.5])))
			await told(client.reward(policy, [3], codec.floats([0.5]), {"actions": {"action": bin("0100000000000000")}, "tick": most}))
			await told(client.snapshot(policy, {"agents": [1, 2]}))
			await told(client.end(policy, [1, 2], {"terminated": bin("0100"), "truncated": bin("0001"), "inputs": {"obs": obs}}))
			await told(client.end(policy, [3], {"terminated": true}))
			await told(client.stats())
			client.notify_server("reward", {"policy": policy, "agents": [1, 2], "reward": codec.floats([1.0, -0.5])})
			client.notify_server("end", {"policy": policy, "agents": [1, 2]})
			await told(client.ping())
		"fail":
			await told(client.infer(policy, [1], {"obs": row}, {}, int(rest)))
		"overtaken":
			var late := client.infer("overtaken", [1, 2], {"obs": obs})
			await told(client.ping())
			await told(late)
		"restart":
			await told(client.begin(policy, [1, 2]))
			await told(client.infer(rest, [1], {"obs": row}))
			await told(client.ping())
			await client.connect_to(address, "golden").settled()
			await told(client.infer(policy, [1, 2], {"obs": obs}))
			await told(client.begin(policy, [1, 2]))
			await told(client.infer(policy, [1, 2], {"obs": obs}))
		"play":
			await play_served(policy, int(rest), int(steps))
		"unpolled": # calls on after the server has gone, without a poll in between
			await told(client.begin(policy, [1, 2, 3]))
			OS.delay_msec(int(steps))
			var last: Client.Pending = null
			for _call in range(3):
				last = client.infer(policy, [1, 2, 3], grid(3, int(rest), 0))
				OS.delay_msec(50)
			await told(last)
		"outlive": # plays until the server has gone
			await told(client.begin(policy, [1, 2, 3]))
			var last: Client.Pending = null
			while last == null or last.error == null:
				last = client.infer(policy, [1, 2, 3], grid(3, int(rest), 0))
				await last.settled()
			await told(last)


# Against a real server: see played() of test_served.py.
func play_served(policy: String, width: int, steps: int) -> void:
	var ids := [1, 2, 3]
	await told(client.begin(policy, ids, {"streams": bin("070000000000000008000000000000000000000000000040")}))
	for step in range(steps):
		await told(client.infer(policy, ids, grid(3, width, step), {"tick": step}))
		await told(client.reward(policy, ids, codec.floats([1.0, 0.5, -1.0]), {"tick": step}))
	var saved: Dictionary = await replied(client.snapshot(policy))
	var after: Dictionary = await replied(client.infer(policy, ids, grid(3, width, 1)))
	await told(client.restore(policy, saved["state"]))
	var again: Dictionary = await replied(client.infer(policy, ids, grid(3, width, 1)))
	print("> ", "true" if dump(after["outputs"]) == dump(again["outputs"]) else "false")
	await told(client.end(policy, [1], {"terminated": true, "inputs": grid(1, width, steps)}))
	await told(client.infer(policy, ids, grid(3, width, steps)))
	await told(client.infer(policy, [2, 1], grid(2, width, steps), {"begin": true, "deterministic": bin("0000"), "outputs": []}))
	client.notify_server("end", {"policy": policy, "agents": [2, 3], "terminated": bin("0100"), "truncated": bin("0001")})
	var stats: Dictionary = await replied(client.stats())
	print("> ", stats["agents"])


func grid(count: int, width: int, step: int) -> Dictionary:
	var values := []
	for row in range(count):
		for column in range(width):
			values.append(((7 * row + 3 * step + column) % 11 - 5) / 4.0)
	return {"obs": codec.floats(values)}
