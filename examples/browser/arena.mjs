// The rules of the game: grazers eat grass, hunters catch grazers. What they perceive is what the demo's policies were trained on
// (cervello/demo/species.py lists it, number by number). Nothing here knows of a server.

export const WIDTH = 96, HEIGHT = 64; // units; times are ticks, energy runs from 0 (dead) to 1
const SIGHT = 10, ALARM = 6, FLASH_PERIOD = 8, REST = 8, INERTIA = 0.4, SHORE = 0.3, GRASS = 260, BIRTH_CHANCE = 0.25;
export const SPECIES = {
  grazer: { capacity: 160, maxSpeed: 0.45, burn: 0.008, meal: 0.10, reach: 0.7, width: 16 },
  hunter: { capacity: 100, maxSpeed: 0.55, burn: 0.007, meal: 0.50, reach: 0.8, width: 9 },
};

const clip = (value, low, high) => Math.min(Math.max(value, low), high);
const squared = (a, b) => (a.x - b.x) ** 2 + (a.y - b.y) ** 2;
const push = (at, size) => clip(1 - at / (SIGHT / 2), 0, 1) - clip(1 - (size - at) / (SIGHT / 2), 0, 1);

function nearest(from, others, except) {
  let found = null, least = Infinity;
  for (const other of others) {
    const distance = squared(from, other);
    if (other !== except && distance < least) [found, least] = [other, distance];
  }
  return found && { other: found, distance: Math.sqrt(least) };
}

/** The game; `tick` counts steps, `herds` holds the living by species, `counts` what has happened. */
export class Arena {
  constructor(seed = 1) {
    this.tick = 0;
    this.counts = { born: 0, caught: 0, starved: 0, aged: 0, eaten: 0 };
    this.herds = { grazer: [], hunter: [] };
    this.catches = []; // where grazers were caught in the latest step
    this.#state = seed >>> 0;
    this.grass = Array.from({ length: GRASS }, () => this.#place());
    for (const blade of this.grass) this.#regrow(blade);
    for (const [name, { capacity }] of Object.entries(SPECIES)) while (this.herds[name].length < capacity) this.#bear(name);
  }

  #state;
  #nextId = 0;

  #random() { // mulberry32
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  #normal() { return Math.sqrt(-2 * Math.log(1 - this.#random())) * Math.cos(2 * Math.PI * this.#random()); }

  #place() { return { x: SHORE + this.#random() * (WIDTH - 2 * SHORE), y: SHORE + this.#random() * (HEIGHT - 2 * SHORE) }; }

  #regrow(blade) { // mostly beside grass that still stands, so that it comes in clumps
    const parent = this.grass[Math.floor(this.#random() * GRASS)];
    const beside = { x: parent.x + 2.5 * this.#normal(), y: parent.y + 2.5 * this.#normal() };
    const inside = beside.x > SHORE && beside.x < WIDTH - SHORE && beside.y > SHORE && beside.y < HEIGHT - SHORE;
    Object.assign(blade, inside && this.#random() < 0.6 ? beside : this.#place());
  }

  #bear(name) {
    const place = this.#place();
    this.herds[name].push({ id: this.#nextId++, ...place, trail: [], vx: 0, vy: 0, wish: [0, 0], energy: 0.7, age: 0, rest: 0, reward: 0,
      lifespan: 160 + Math.floor(81 * this.#random()) });
    this.counts.born++;
  }

  #observeGrazer(body, row) {
    const grass = nearest(body, this.grass);
    row[0] = (grass.other.x - body.x) / Math.max(grass.distance, 1e-6);
    row[1] = (grass.other.y - body.y) / Math.max(grass.distance, 1e-6);
    row[2] = Math.min(grass.distance / SIGHT, 1);
    const first = nearest(body, this.herds.hunter);
    const second = first && nearest(body, this.herds.hunter, first.other);
    [first, second].forEach((found, place) => {
      if (!found) return;
      const closeness = clip(1 - found.distance / ALARM, 0, 1), at = 3 + 3 * place;
      row[at] = (found.other.x - body.x) * closeness / Math.max(found.distance, 1e-6);
      row[at + 1] = (found.other.y - body.y) * closeness / Math.max(found.distance, 1e-6);
      row[at + 2] = closeness;
      if (place === 0 && closeness > 0) {
        row[9] = found.other.vx / SPECIES.hunter.maxSpeed;
        row[10] = found.other.vy / SPECIES.hunter.maxSpeed;
      }
    });
    const { maxSpeed } = SPECIES.grazer;
    row.set([body.vx / maxSpeed, body.vy / maxSpeed, body.energy, push(body.x, WIDTH), push(body.y, HEIGHT)], 11);
  }

  #observeHunter(body, row) {
    if (this.perceives(body)) {
      row[0] = 1;
      const prey = nearest(body, this.herds.grazer);
      if (prey) {
        const scale = Math.max(prey.distance, SIGHT);
        row.set([(prey.other.x - body.x) / scale, (prey.other.y - body.y) / scale,
          prey.other.vx / SPECIES.grazer.maxSpeed, prey.other.vy / SPECIES.grazer.maxSpeed], 1);
      }
    }
    row.set([body.rest / REST, body.energy, push(body.x, WIDTH), push(body.y, HEIGHT)], 5);
  }

  /** Whether a hunter sees its prey in this tick; between these it must remember. */
  perceives(body) { return (body.id + this.tick) % FLASH_PERIOD === 0; }

  /** Observations of some bodies of a species, float32, row after row. */
  observe(name, bodies) {
    const { width } = SPECIES[name];
    const rows = new Float32Array(bodies.length * width);
    bodies.forEach((body, at) => {
      const row = rows.subarray(at * width, (at + 1) * width);
      if (name === "grazer") this.#observeGrazer(body, row);
      else this.#observeHunter(body, row);
    });
    return rows;
  }

  /** Everybody's wish is carried out: all move, eat, age. Those that are to end have `cause`; `bury` takes them away. */
  step() {
    for (const [name, { maxSpeed, burn }] of Object.entries(SPECIES)) {
      for (const body of this.herds[name]) {
        const long = Math.max(1, Math.hypot(...body.wish));
        body.trail = [...body.trail.slice(-7), { x: body.x, y: body.y }];
        const x = clip(body.x + INERTIA * body.vx + (1 - INERTIA) * maxSpeed * body.wish[0] / long, SHORE, WIDTH - SHORE);
        const y = clip(body.y + INERTIA * body.vy + (1 - INERTIA) * maxSpeed * body.wish[1] / long, SHORE, HEIGHT - SHORE);
        Object.assign(body, { vx: x - body.x, vy: y - body.y, x, y, reward: 0, energy: body.energy - burn, age: body.age + 1,
          rest: Math.max(body.rest - 1, 0) });
      }
    }
    this.#eat("grazer", this.herds.grazer, this.grass, (blade) => {
      this.counts.eaten++;
      this.#regrow(blade);
    });
    this.catches = [];
    this.#eat("hunter", this.herds.hunter.filter((body) => body.rest === 0), this.herds.grazer, (prey, hunter) => {
      hunter.rest = REST;
      prey.reward -= 3;
      prey.cause = "caught";
      this.catches.push({ x: prey.x, y: prey.y });
    });
    this.tick++;
    for (const body of Object.values(this.herds).flat()) {
      body.cause ??= body.energy <= 0 ? "starved" : body.age >= body.lifespan ? "aged" : undefined;
    }
  }

  #eat(name, eaters, food, take) { // each claims what is nearest; of several the closest has it
    const claims = eaters.map((eater) => ({ eater, ...nearest(eater, food) })).filter(({ distance }) => distance < SPECIES[name].reach);
    claims.sort((a, b) => a.distance - b.distance);
    const taken = new Set();
    for (const { eater, other } of claims) {
      if (taken.has(other)) continue;
      taken.add(other);
      eater.reward += 1;
      eater.energy = Math.min(eater.energy + SPECIES[name].meal, 1);
      take(other, eater);
    }
  }

  /** Takes away those that have a cause, and lets others be born in empty places. */
  bury() {
    for (const [name, { capacity }] of Object.entries(SPECIES)) {
      for (const { cause } of this.herds[name]) if (cause) this.counts[cause]++;
      this.herds[name] = this.herds[name].filter(({ cause }) => !cause);
      for (let empty = capacity - this.herds[name].length; empty > 0; empty--) if (this.#random() < BIRTH_CHANCE) this.#bear(name);
    }
  }
}
