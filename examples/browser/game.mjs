// The game's loop: the page owns the rules, a Cervello server decides what everybody does. One request for each species and tick;
// the picture never waits for it.
import { BridgeError, Client, bytesOf, numbersOf } from "../../clients/javascript/cervello.mjs";
import { Arena, SPECIES } from "./arena.mjs";
import { paint } from "./painter.mjs";

const TICK_MS = 40;
const canvas = document.querySelector("canvas");
const address = new URLSearchParams(location.search).get("server") ?? "ws://127.0.0.1:5577";
const client = new Client(address, { client: "arena-page" });
const status = { text: "connecting", since: 0 };
const say = (text) => { canvas.ariaLabel = status.text = text; };
let arena = null;

const sleep = (ms) => new Promise((settle) => setTimeout(settle, ms));

/** Asks for one species; agents that the server skipped keep their wish. */
async function decide(name) {
  const bodies = arena.herds[name];
  const ids = bodies.map(({ id }) => id);
  const answer = await client.infer(name, ids, { obs: bytesOf(arena.observe(name, bodies)) }, { begin: true, tick: arena.tick });
  const actions = numbersOf(answer.outputs.action);
  const rows = new Map(answer.agents.map((id, row) => [id, row]));
  for (const body of bodies) if (rows.has(body.id)) body.wish = [actions[2 * rows.get(body.id)], actions[2 * rows.get(body.id) + 1]];
}

/** Rewards of the tick, and the ends of lives with what was perceived last. No reply is waited for. */
function tell(name) {
  const bodies = arena.herds[name];
  client.notify("reward", { policy: name, agents: bodies.map(({ id }) => id), reward: bytesOf(bodies.map(({ reward }) => reward)) });
  const ended = bodies.filter(({ cause }) => cause);
  if (!ended.length) return;
  client.notify("end", { policy: name, agents: ended.map(({ id }) => id),
    terminated: Uint8Array.from(ended, ({ cause }) => Number(cause !== "aged")),
    truncated: Uint8Array.from(ended, ({ cause }) => Number(cause === "aged")), inputs: { obs: bytesOf(arena.observe(name, ended)) } });
}

async function play() {
  await client.connect();
  arena = new Arena();
  for (;;) {
    const next = sleep(TICK_MS);
    await Promise.all(Object.keys(SPECIES).map(decide));
    arena.step();
    Object.keys(SPECIES).forEach(tell);
    arena.bury();
    const { born, eaten, caught, starved, aged } = arena.counts;
    say([address, `tick ${arena.tick}`, `born ${born}`, `eaten ${eaten}`, `caught ${caught}`, `starved ${starved}`,
      `died of age ${aged}`].join("  ·  "));
    status.since = performance.now();
    Object.assign(canvas.dataset, { tick: arena.tick, eaten });
    await next;
  }
}

function frame() {
  const { grazer, hunter } = arena?.herds ?? { grazer: [], hunter: [] };
  paint(canvas, arena, Math.min((performance.now() - status.since) / TICK_MS, 1),
    [`${grazer.length} grazers and ${hunter.length} hunters, played by Cervello`, status.text]);
  requestAnimationFrame(frame);
}

frame();
for (;;) {
  try {
    await play();
  } catch (error) {
    if (!(error instanceof BridgeError)) throw error;
    client.close();
    say(`${error.kind}: ${error.message}`);
    if (error.kind === "refused") break; // the same again would be refused again
    await sleep(2000); // a new connection, and a new crowd: agents end with their connection
  }
}
