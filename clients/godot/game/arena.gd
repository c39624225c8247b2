# The rules of the game: grazers eat grass, hunters catch grazers. What they perceive is what the demo's policies were trained on
# (cervello/demo/species.py lists it, number by number). Nothing here knows of a server.
extends Reference

const SIZE = Vector2(96, 64) # units; times are ticks, energy runs from 0 (dead) to 1
const SIGHT = 10.0
const ALARM = 6.0
const FLASH_PERIOD = 8
const REST = 8
const INERTIA = 0.4
const SHORE = Vector2(0.3, 0.3)
const GRASS = 180
const BIRTH_CHANCE = 0.25
const SPECIES = {
	"grazer": {"capacity": 90, "max_speed": 0.45, "burn": 0.008, "meal": 0.10, "reach": 0.7},
	"hunter": {"capacity": 45, "max_speed": 0.55, "burn": 0.007, "meal": 0.50, "reach": 0.8},
}


class Body extends Reference:
	var id = 0
	var at = Vector2()
	var velocity = Vector2()
	var wish = Vector2()
	var trail = []
	var energy = 0.7
	var age = 0
	var lifespan = 0
	var rest = 0
	var reward = 0.0
	var cause = "" # why it is to end: caught, starved, aged


var tick = 0
var herds = {"grazer": [], "hunter": []}
var grass = []
var catches = [] # where grazers were caught in the latest step
var counts = {"born": 0, "eaten": 0, "caught": 0, "starved": 0, "aged": 0}
var _random = RandomNumberGenerator.new()
var _next_id = 0


func _init(from_seed = 1):
	_random.seed = from_seed
	for _i in range(GRASS):
		grass.append(_place())
	for i in range(GRASS):
		grass[i] = _regrown()
	for species in SPECIES:
		for _i in range(SPECIES[species]["capacity"]):
			_bear(species)


func _place():
	return Vector2(_random.randf_range(SHORE.x, SIZE.x - SHORE.x), _random.randf_range(SHORE.y, SIZE.y - SHORE.y))


# Mostly beside grass that still stands, so that it comes in clumps.
func _regrown():
	var beside = grass[_random.randi() % GRASS] + Vector2(_random.randfn(0.0, 2.5), _random.randfn(0.0, 2.5))
	if Rect2(SHORE, SIZE - 2 * SHORE).has_point(beside) and _random.randf() < 0.6:
		return beside
	return _place()


func _bear(species):
	var body = Body.new()
	body.id = _next_id
	body.at = _place()
	body.lifespan = _random.randi_range(160, 240)
	herds[species].append(body)
	_next_id += 1
	counts["born"] += 1


# [index, distance] of the nearest place, [-1, inf] without any.
func _nearest(from, places, except = -1):
	var found = -1
	var least = INF
	for i in range(places.size()):
		var squared = from.distance_squared_to(places[i])
		if squared < least and i != except:
			found = i
			least = squared
	return [found, sqrt(least)]


func _places(species):
	var places = []
	for body in herds[species]:
		places.append(body.at)
	return places


func _push(at):
	var near = Vector2.ONE - at / (SIGHT / 2)
	var far = Vector2.ONE - (SIZE - at) / (SIGHT / 2)
	return Vector2(clamp(near.x, 0, 1) - clamp(far.x, 0, 1), clamp(near.y, 0, 1) - clamp(far.y, 0, 1))


# Observations of some bodies of a species: numbers, row after row.
func observe(species, bodies):
	var others = _places("hunter" if species == "grazer" else "grazer")
	var rows = PoolRealArray()
	for body in bodies:
		rows.append_array(PoolRealArray(_grazer_row(body, others) if species == "grazer" else _hunter_row(body, others)))
	return rows


func _grazer_row(body, hunters):
	var found = _nearest(body.at, grass)
	var to = (grass[found[0]] - body.at) / max(found[1], 1e-6)
	var row = [to.x, to.y, min(found[1] / SIGHT, 1.0)]
	var seen = Vector2()
	var first = -1
	for place in range(2):
		found = _nearest(body.at, hunters, first)
		if found[0] < 0:
			row += [0.0, 0.0, 0.0]
			continue
		var closeness = clamp(1.0 - found[1] / ALARM, 0.0, 1.0)
		to = (hunters[found[0]] - body.at) * (closeness / max(found[1], 1e-6))
		row += [to.x, to.y, closeness]
		if place == 0:
			first = found[0]
			if closeness > 0:
				seen = herds["hunter"][first].velocity / SPECIES["hunter"]["max_speed"]
	var own = body.velocity / SPECIES["grazer"]["max_speed"]
	var push = _push(body.at)
	return row + [seen.x, seen.y, own.x, own.y, body.energy, push.x, push.y]


func _hunter_row(body, grazers):
	var row = [0.0, 0.0, 0.0, 0.0, 0.0]
	if perceives(body):
		row[0] = 1.0
		var found = _nearest(body.at, grazers)
		if found[0] >= 0:
			var to = (grazers[found[0]] - body.at) / max(found[1], SIGHT)
			var prey = herds["grazer"][found[0]].velocity / SPECIES["grazer"]["max_speed"]
			row = [1.0, to.x, to.y, prey.x, prey.y]
	var push = _push(body.at)
	return row + [body.rest / float(REST), body.energy, push.x, push.y]


# Whether a hunter sees its prey in this tick; between these it must remember.
func perceives(body):
	return (body.id + tick) % FLASH_PERIOD == 0


# Everybody's wish is carried out: all move, eat, age. Those that are to end have a cause; `bury` takes them away.
func step():
	for species in SPECIES:
		var rules = SPECIES[species]
		for body in herds[species]:
			body.trail.append(body.at)
			if body.trail.size() > 8:
				body.trail.pop_front()
			var to = body.at + INERTIA * body.velocity + (1 - INERTIA) * rules["max_speed"] * body.wish.clamped(1.0)
			to = Vector2(clamp(to.x, SHORE.x, SIZE.x - SHORE.x), clamp(to.y, SHORE.y, SIZE.y - SHORE.y))
			body.velocity = to - body.at
			body.at = to
			body.reward = 0.0
			body.energy -= rules["burn"]
			body.age += 1
			body.rest = max(body.rest - 1, 0)
	var grazers = herds["grazer"]
	for meal in _meals("grazer", grazers, grass):
		grass[meal[1]] = _regrown()
		counts["eaten"] += 1
	var hungry = []
	for hunter in herds["hunter"]:
		if hunter.rest == 0:
			hungry.append(hunter)
	catches = []
	for meal in _meals("hunter", hungry, _places("grazer")):
		meal[0].rest = REST
		grazers[meal[1]].reward -= 3.0
		grazers[meal[1]].cause = "caught"
		catches.append(grazers[meal[1]].at)
	tick += 1
	for species in SPECIES:
		for body in herds[species]:
			if body.cause == "" and (body.energy <= 0 or body.age >= body.lifespan):
				body.cause = "starved" if body.energy <= 0 else "aged"


# Feeds the eaters: each claims what is nearest, of several the closest has it. [[eater, index of the food]].
func _meals(species, eaters, food):
	var claims = {}
	for eater in eaters:
		var found = _nearest(eater.at, food)
		if found[1] < SPECIES[species]["reach"] and (not claims.has(found[0]) or found[1] < claims[found[0]][1]):
			claims[found[0]] = [eater, found[1]]
	var meals = []
	for place in claims:
		var eater = claims[place][0]
		eater.reward += 1.0
		eater.energy = min(eater.energy + SPECIES[species]["meal"], 1.0)
		meals.append([eater, place])
	return meals


# Takes away those that have a cause, and lets others be born in empty places.
func bury():
	for species in SPECIES:
		var living = []
		for body in herds[species]:
			if body.cause == "":
				living.append(body)
			else:
				counts[body.cause] += 1
		herds[species] = living
		for _i in range(SPECIES[species]["capacity"] - living.size()):
			if _random.randf() < BIRTH_CHANCE:
				_bear(species)
