# What test_clients.py asks of every language, run by `godot3-server --script`; lines begin with `> `, since the engine prints too.
extends SceneTree

var Client = load("res://cervello_client_3.gd")
var Codec = load("res://cervello_codec.gd")
var client = Client.new()
var codec = Codec.new()


func hex(bytes):
	return bytes.hex_encode() if bytes.size() > 0 else ""


func bin(text):
	var bytes = PoolByteArray()
	for at in range(0, text.length(), 2):
		bytes.append(("0x" + text.substr(at, 2)).hex_to_int())
	return bytes


func dump(value):
	var parts = PoolStringArray()
	match typeof(value):
		TYPE_NIL:
			return "n"
		TYPE_BOOL:
			return "t" if value else "u"
		TYPE_INT:
			return str(value)
		TYPE_REAL:
			return str(int(value)) if value == int(value) else "f" + str(value)
		TYPE_STRING:
			return "s" + hex(value.to_utf8())
		TYPE_RAW_ARRAY:
			return "b" + hex(value)
		TYPE_ARRAY:
			for item in value:
				parts.append(dump(item))
			return "[" + parts.join(",") + "]"
	var by_hex = {}
	for key in value:
		by_hex[hex(key.to_utf8())] = dump(value[key])
	var keys = by_hex.keys()
	keys.sort()
	for key in keys:
		parts.append(key + ":" + by_hex[key])
	return "{" + parts.join(",") + "}"


func told(pending):
	while not pending.done:
		client.poll()
		OS.delay_msec(1)
	if pending.error == null:
		print("> ", dump(pending.result))
	else:
		var failure = pending.error
		print("> %s|%s|%s|%s" % [failure.kind, failure.step, failure.code if failure.code else "", failure.message()])


func read_codec(path):
	var file = File.new()
	file.open(path, File.READ)
	while not file.eof_reached():
		var line = file.get_line()
		if line == "" and file.eof_reached():
			break
		var value = codec.decode(bin(line))
		if codec.error != "":
			print("> ", codec.error)
		else:
			print("> ", dump(value), " ", hex(codec.encode(value)))
	file.close()


func _init():
	var given = Array(OS.get_environment("DRIVER").split(" "))
	while given.size() < 5:
		given.append("")
	play(given[0], given[1], given[2], given[3], given[4])
	client.close()
	quit()


# How long `poll()` takes, in microseconds, median and longest, from the first handshake on; and whether the reply has come.
func time_frames(hello, policy, row):
	var took = []
	var last = hello
	for _frame in range(100):
		var start = OS.get_ticks_usec()
		client.poll()
		took.append(OS.get_ticks_usec() - start)
		if last == hello and client.is_ready():
			last = client.infer(policy, [1], {"obs": row})
		OS.delay_msec(2)
	took.sort()
	print("> %d %d %s" % [took[50], took[99], "replied" if last.done else "waits"])


func play(scenario, address, policy, rest, steps):
	if scenario == "codec":
		read_codec(address)
		return
	var obs = codec.floats([0.5, -0.25, 0.125, 1.0, -1.0, 0.75, 0.0, 2.0])
	var row = obs.subarray(0, 15)
	var most = 9007199254740991
	client.timeout_ms = 2000
	var hello = client.connect_to(address, "golden", null, 300 if scenario == "connect" else 2000)
	if scenario == "connect":
		told(hello)
		return
	if scenario == "frames":
		time_frames(hello, policy, row)
		return
	while not hello.done:
		client.poll()
	match scenario:
		"golden":
			told(client.ping())
			told(client.spec(policy))
			told(client.begin(policy, [1, 2], {"streams": bin("07000000000000000000000000000040")}))
			told(client.infer(policy, [1, 2], {"obs": obs}))
			told(client.infer(policy, [3], {"obs": row}, {"begin": true, "deterministic": bin("01"), "deadline_us": 5000000,
				"outputs": ["action"], "tick": most}))
			told(client.infer(policy, [], {"obs": PoolByteArray()}))
			told(client.infer(policy, [1], {"obs": row}, {"outputs": []}))
			told(client.reward(policy, [1, 2], codec.floats([1.0, -0.5])))
			told(client.reward(policy, [3], codec.floats([0.5]), {"actions": {"action": bin("0100000000000000")}, "tick": most}))
			told(client.snapshot(policy, {"agents": [1, 2]}))
			told(client.end(policy, [1, 2], {"terminated": bin("0100"), "truncated": bin("0001"), "inputs": {"obs": obs}}))
			told(client.end(policy, [3], {"terminated": true}))
			told(client.stats())
			client.notify_server("reward", {"policy": policy, "agents": [1, 2], "reward": codec.floats([1.0, -0.5])})
			client.notify_server("end", {"policy": policy, "agents": [1, 2]})
			told(client.ping())
		"fail":
			told(client.infer(policy, [1], {"obs": row}, {}, int(rest)))
		"overtaken":
			var late = client.infer("overtaken", [1, 2], {"obs": obs})
			told(client.ping())
			told(late)
		"restart":
			told(client.begin(policy, [1, 2]))
			told(client.infer(rest, [1], {"obs": row}))
			told(client.ping())
			hello = client.connect_to(address, "golden")
			while not hello.done:
				client.poll()
			told(client.infer(policy, [1, 2], {"obs": obs}))
			told(client.begin(policy, [1, 2]))
			told(client.infer(policy, [1, 2], {"obs": obs}))
		"play":
			play_served(policy, int(rest), int(steps))
		"unpolled": # calls on after the server has gone, without a poll in between
			told(client.begin(policy, [1, 2, 3]))
			OS.delay_msec(int(steps))
			var last = null
			for _call in range(3):
				last = client.infer(policy, [1, 2, 3], grid(3, int(rest), 0))
				OS.delay_msec(50)
			told(last)
		"outlive": # plays until the server has gone
			told(client.begin(policy, [1, 2, 3]))
			var last = null
			while last == null or last.error == null:
				last = client.infer(policy, [1, 2, 3], grid(3, int(rest), 0))
				replied(last)
			told(last)


# Against a real server: see played() of test_served.py.
func play_served(policy, width, steps):
	client.timeout_ms = 20000
	var ids = [1, 2, 3]
	told(client.begin(policy, ids, {"streams": bin("070000000000000008000000000000000000000000000040")}))
	for step in range(steps):
		told(client.infer(policy, ids, grid(3, width, step), {"tick": step}))
		told(client.reward(policy, ids, codec.floats([1.0, 0.5, -1.0]), {"tick": step}))
	var saved = replied(client.snapshot(policy))
	var after = replied(client.infer(policy, ids, grid(3, width, 1)))
	told(client.restore(policy, saved["state"]))
	var again = replied(client.infer(policy, ids, grid(3, width, 1)))
	print("> ", "true" if dump(after["outputs"]) == dump(again["outputs"]) else "false")
	told(client.end(policy, [1], {"terminated": true, "inputs": grid(1, width, steps)}))
	told(client.infer(policy, ids, grid(3, width, steps)))
	told(client.infer(policy, [2, 1], grid(2, width, steps), {"begin": true, "deterministic": bin("0000"), "outputs": []}))
	client.notify_server("end", {"policy": policy, "agents": [2, 3], "terminated": bin("0100"), "truncated": bin("0001")})
	print("> ", replied(client.stats())["agents"])


func grid(count, width, step):
	var values = []
	for row in range(count):
		for column in range(width):
			values.append(((7 * row + 3 * step + column) % 11 - 5) / 4.0)
	return {"obs": codec.floats(values)}


func replied(pending):
	while not pending.done:
		client.poll()
		OS.delay_msec(1)
	return pending.result
