# The game's loop and its picture: the engine owns the rules, a Cervello server decides what everybody does. One request for each species
# and tick; `poll()` never waits, so no frame does. Arguments: --server=tcp://host:port; --ticks=N ends after N ticks; --picture=FILE.png
# keeps the last frame.
extends Node2D

const Client = preload("res://cervello_client_3.gd")
const Arena = preload("res://game/arena.gd")
const TICK_MS = 50
const RETRY_MS = 2000
const SCALE = 10.0
const HEAD = 112.0
const COLOURS = {"grazer": Color("ecd68a"), "hunter": Color("ff6248"), "grass": Color("56b062"), "catch": Color("ffffff"),
	"text": Color("d8dee6"), "dim": Color("9aa6b4")}

var address = "tcp://127.0.0.1:5577"
var last_tick = -1
var picture = ""
var client = Client.new()
var arena = Arena.new()
var status = ""
var hello = null
var asked = {} # species → Pending of this tick
var next_ms = 0
var moved_ms = 0
var font = null


func _ready():
	var label = Label.new() # has the engine's own font
	font = label.get_font("font")
	label.free()
	for argument in OS.get_cmdline_args():
		var parts = argument.split("=", true, 1)
		if parts.size() == 2:
			match parts[0]:
				"--server":
					address = parts[1]
				"--ticks":
					last_tick = int(parts[1])
				"--picture":
					picture = parts[1]
	begin()


func begin():
	status = "connecting to %s" % address
	arena = Arena.new() # a new crowd: agents end with their connection
	asked = {}
	hello = client.connect_to(address, "arena-godot")


func _process(_delta):
	client.poll()
	var now = OS.get_ticks_msec()
	if not client.is_ready():
		if hello != null and hello.done and hello.error != null:
			fail(hello.error)
		elif hello == null and now >= next_ms:
			begin()
	elif asked.empty():
		if now >= next_ms:
			next_ms = now + TICK_MS
			for species in arena.herds:
				ask(species, arena.herds[species])
	elif all_done():
		take()
	update()


func ask(species, bodies):
	asked[species] = client.infer(species, ids(bodies), {"obs": client.codec.floats(arena.observe(species, bodies))},
		{"begin": true, "tick": arena.tick})


func ids(bodies):
	var found = []
	for body in bodies:
		found.append(body.id)
	return found


func all_done():
	for species in asked:
		if not asked[species].done:
			return false
	return true


func take():
	for species in asked:
		if asked[species].error != null:
			fail(asked[species].error)
			return
		var result = asked[species].result
		var actions = client.codec.to_floats(result["outputs"]["action"])
		var rows = {}
		for row in range(result["agents"].size()):
			rows[result["agents"][row]] = Vector2(actions[2 * row], actions[2 * row + 1])
		for body in arena.herds[species]:
			body.wish = rows.get(body.id, body.wish) # agents that the server skipped keep theirs
	asked = {}
	arena.step()
	for species in arena.herds:
		tell(species, arena.herds[species])
	arena.bury()
	moved_ms = OS.get_ticks_msec()
	var counts = arena.counts
	status = "%s  -  tick %d  -  born %d  -  eaten %d  -  caught %d  -  starved %d  -  died of age %d" % [address,
		arena.tick, counts["born"], counts["eaten"], counts["caught"], counts["starved"], counts["aged"]]
	if arena.tick == last_tick:
		finish()


# Rewards of the tick, and the ends of lives with what was perceived last. No reply is waited for.
func tell(species, bodies):
	var rewards = []
	var ended = []
	var terminated = PoolByteArray()
	var truncated = PoolByteArray()
	for body in bodies:
		rewards.append(body.reward)
		if body.cause != "":
			ended.append(body)
			terminated.append(int(body.cause != "aged"))
			truncated.append(int(body.cause == "aged"))
	client.notify_server("reward", {"policy": species, "agents": ids(bodies), "reward": client.codec.floats(rewards)})
	if not ended.empty():
		client.notify_server("end", {"policy": species, "agents": ids(ended), "terminated": terminated, "truncated": truncated,
			"inputs": {"obs": client.codec.floats(arena.observe(species, ended))}})


func fail(failure):
	status = "%s: %s" % [failure.kind, failure.message()]
	printerr(status)
	client.close()
	asked = {}
	hello = null
	next_ms = OS.get_ticks_msec() + RETRY_MS
	if failure.kind == "refused": # the same again would be refused again
		set_process(false)
	if last_tick >= 0:
		get_tree().quit(1)


func finish():
	set_process(false)
	print("> %d ticks, %d eaten, %d living" % [arena.tick, arena.counts["eaten"], arena.herds["grazer"].size() + arena.herds["hunter"].size()])
	if picture != "":
		update()
		yield(VisualServer, "frame_post_draw")
		var image = get_viewport().get_texture().get_data()
		image.flip_y()
		image.save_png(picture)
	client.close()
	get_tree().quit()


func _draw():
	draw_rect(Rect2(0, 0, 960, HEAD), Color("0b0f13"))
	var sizes = [arena.herds["grazer"].size(), arena.herds["hunter"].size()]
	# Large enough for a page that shows the picture at half its width.
	write(Vector2(12, 36), "%d grazers and %d hunters, played by Cervello" % sizes, 2.0, "text")
	write(Vector2(12, 68), status, 1.4, "dim")
	var left = 12.0
	for entry in [["grass", "grass"], ["grazer", "grazer"], ["hunter", "hunter, ring: sees prey"], ["catch", "catch"]]:
		draw_rect(Rect2(left, 84, 15, 15), COLOURS[entry[0]])
		write(Vector2(left + 24, 98), entry[1], 1.4, "dim")
		left += 1.4 * font.get_string_size(entry[1]).x + 56
	draw_set_transform(Vector2(0, HEAD), 0, Vector2.ONE)
	for x in range(8, int(arena.SIZE.x), 8):
		draw_line(Vector2(x * SCALE, 0), Vector2(x * SCALE, arena.SIZE.y * SCALE), Color("19212a"))
	for y in range(8, int(arena.SIZE.y), 8):
		draw_line(Vector2(0, y * SCALE), Vector2(arena.SIZE.x * SCALE, y * SCALE), Color("19212a"))
	for blade in arena.grass:
		var at = blade * SCALE
		draw_polyline(PoolVector2Array([at + Vector2(-3, -4), at + Vector2(0, 3), at + Vector2(3, -4)]), COLOURS["grass"], 2.0)
	var part = clamp((OS.get_ticks_msec() - moved_ms) / float(TICK_MS), 0.0, 1.0)
	for species in ["grazer", "hunter"]:
		for body in arena.herds[species]:
			draw_body(species, body, part)
	for caught in arena.catches:
		draw_arc(caught * SCALE, 6 + 8 * part, 0, TAU, 24, Color.white, 2.0)


func write(at, text, scale, colour):
	draw_set_transform(at, 0, Vector2(scale, scale))
	draw_string(font, Vector2.ZERO, text, COLOURS[colour])
	draw_set_transform(Vector2.ZERO, 0, Vector2.ONE)


# Between two ticks bodies are drawn on their way.
func draw_body(species, body, part):
	var before = body.trail[body.trail.size() - 1] if body.trail.size() > 0 else body.at
	var at = before.linear_interpolate(body.at, part) * SCALE
	var colour = COLOURS[species]
	var path = PoolVector2Array()
	for past in body.trail:
		path.append(past * SCALE)
	path.append(at)
	if path.size() > 1:
		draw_polyline(path, Color(colour.r, colour.g, colour.b, 0.33), 2.0)
	var ahead = (body.velocity.normalized() if body.velocity.length() > 0 else Vector2.RIGHT) * (10 if species == "hunter" else 8)
	var side = ahead.tangent() * 0.6
	draw_colored_polygon(PoolVector2Array([at + ahead, at - 0.7 * ahead + side, at - 0.35 * ahead, at - 0.7 * ahead - side]), colour)
	if species == "hunter" and arena.perceives(body):
		draw_arc(at, 13, 0, TAU, 24, Color(colour.r, colour.g, colour.b, 0.6), 2.0)
