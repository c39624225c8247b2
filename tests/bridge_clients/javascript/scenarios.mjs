// What test_clients.py asks of every language, for Node and for a page: `codec` reads bodies as lines of hex; the other scenarios talk to
// ADDRESS.
import { BridgeError, Client, bytesOf, decode, encode } from "../../../clients/javascript/cervello.mjs";
import { bin, dump, hex } from "./dump.mjs";

/**
 * Reads and writes a body.
 * @param {string} line its hex
 * @returns {string} its value and the hex of the value that is written again, or why it is refused
 */
export function coded(line) {
  try {
    const value = decode(bin(line));
    return `${dump(value)} ${hex(encode(value))}`;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return error.message;
  }
}

/**
 * Plays a scenario against a server.
 * @param {string[]} given its name, the server's address, a policy, and what else it takes
 * @param {(line: string) => void} print takes its lines
 */
export async function play([scenario, address, policy, ...more], print) {
  const [rest] = more;
  async function told(promise) {
    try { print(dump(await promise)); } catch (error) {
      if (!(error instanceof BridgeError)) throw error;
      print(`${error.kind}|${error.step}|${error.code ?? ""}|${error.message}`);
    }
  }
  const OBS = bytesOf([0.5, -0.25, 0.125, 1.0, -1.0, 0.75, 0.0, 2.0]);
  const ROW = OBS.slice(0, 16);
  const client = new Client(address, { client: "golden", timeoutMs: scenario === "play" ? 20000 : 2000 });
  const connected = scenario === "connect" ? told(client.connect({ timeoutMs: 300 })) : client.connect();
  await connected;
  if (scenario === "golden") {
    const STREAMS = bin("07000000000000000000000000000040");
    const ACTION = bin("0100000000000000");
    await told(client.ping());
    await told(client.spec(policy));
    await told(client.begin(policy, [1, 2], { streams: STREAMS }));
    await told(client.infer(policy, [1, 2], { obs: OBS }));
    await told(client.infer(policy, [3], { obs: ROW },
      { begin: true, deterministic: bin("01"), deadline_us: 5000000, outputs: ["action"], tick: Number.MAX_SAFE_INTEGER }));
    await told(client.infer(policy, [], { obs: new Uint8Array(0) }));
    await told(client.infer(policy, [1], { obs: ROW }, { outputs: [] }));
    await told(client.reward(policy, [1, 2], bytesOf([1, -0.5])));
    await told(client.reward(policy, [3], bytesOf([0.5]), { actions: { action: ACTION }, tick: Number.MAX_SAFE_INTEGER }));
    await told(client.snapshot(policy, [1, 2]));
    await told(client.end(policy, [1, 2], { terminated: bin("0100"), truncated: bin("0001"), inputs: { obs: OBS } }));
    await told(client.end(policy, [3], { terminated: true }));
    await told(client.stats());
    client.notify("reward", { policy, agents: [1, 2], reward: bytesOf([1, -0.5]) });
    client.notify("end", { policy, agents: [1, 2] });
    await told(client.ping());
  } else if (scenario === "fail") {
    await told(client.infer(policy, [1], { obs: ROW }, {}, { timeoutMs: Number(rest) }));
  } else if (scenario === "overtaken") {
    await Promise.all([told(client.infer("overtaken", [1, 2], { obs: OBS })), told(client.ping())]);
  } else if (scenario === "restart") {
    await told(client.begin(policy, [1, 2]));
    await told(client.infer(rest, [1], { obs: ROW }));
    await told(client.ping());
    await client.connect();
    await told(client.infer(policy, [1, 2], { obs: OBS }));
    await told(client.begin(policy, [1, 2]));
    await told(client.infer(policy, [1, 2], { obs: OBS }));
  } else if (scenario === "play") { // against a real server: see played() of test_served.py
    const [width, steps] = more.map(Number);
    const grid = (count, step) => ({ obs: bytesOf(Array.from({ length: count * width },
      (_, at) => ((7 * Math.floor(at / width) + 3 * step + at % width) % 11 - 5) / 4)) });
    const ids = [1, 2, 3];
    await told(client.begin(policy, ids, { streams: bytesOf(BigUint64Array.from([7n, 8n, 1n << 62n])) }));
    for (let step = 0; step < steps; step++) {
      await told(client.infer(policy, ids, grid(3, step), { tick: step }));
      await told(client.reward(policy, ids, bytesOf([1, 0.5, -1]), { tick: step }));
    }
    const { state } = await client.snapshot(policy);
    const after = await client.infer(policy, ids, grid(3, 1));
    await told(client.restore(policy, state));
    const again = await client.infer(policy, ids, grid(3, 1));
    print(dump(after.outputs) === dump(again.outputs));
    await told(client.end(policy, [1], { terminated: true, inputs: grid(1, steps) }));
    await told(client.infer(policy, ids, grid(3, steps)));
    await told(client.infer(policy, [2, 1], grid(2, steps), { begin: true, deterministic: bin("0000"), outputs: [] }));
    client.notify("end", { policy, agents: [2, 3], terminated: bin("0100"), truncated: bin("0001") });
    print((await client.stats()).agents);
  } else if (scenario === "outlive") { // plays until the server has gone
    await told(client.begin(policy, [1, 2, 3]));
    const inputs = { obs: bytesOf(new Float32Array(3 * Number(rest))) };
    let last;
    do {
      last = client.infer(policy, [1, 2, 3], inputs);
    } while (await last.then(() => true, () => false));
    await told(last);
  }
  client.close();
}
