// What test_clients.py asks of every language: `codec` reads bodies as hex lines; the other scenarios talk to ADDRESS.
import { createInterface } from "node:readline";
import { BridgeError, Client, decode, encode, bytesOf } from "../../../clients/javascript/cervello.mjs";

const hex = (bytes) => Buffer.from(bytes).toString("hex");
const bin = (text) => new Uint8Array(Buffer.from(text, "hex"));
function dump(value) {
  if (value === null) return "n";
  if (value === true) return "t";
  if (value === false) return "u";
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : `f${value}`;
  if (typeof value === "string") return "s" + hex(Buffer.from(value));
  if (value instanceof Uint8Array) return "b" + hex(value);
  if (Array.isArray(value)) return `[${value.map(dump)}]`;
  return `{${Object.keys(value).map((key) => [hex(Buffer.from(key)), value[key]]).sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, item]) => `${key}:${dump(item)}`)}}`;
}
const [scenario, address, policy, rest] = process.argv.slice(2);
async function told(promise) {
  try { console.log(dump(await promise)); } catch (error) {
    if (!(error instanceof BridgeError)) throw error;
    console.log(`${error.kind}|${error.step}|${error.code ?? ""}|${error.message}`);
  }
}

if (scenario === "codec") {
  for await (const line of createInterface({ input: process.stdin })) {
    try {
      const value = decode(bin(line));
      console.log(`${dump(value)} ${hex(encode(value))}`);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      console.log(error.message);
    }
  }
} else {
  const OBS = bytesOf([0.5, -0.25, 0.125, 1.0, -1.0, 0.75, 0.0, 2.0]);
  const ROW = OBS.slice(0, 16);
  const client = new Client(address, { client: "golden", timeoutMs: 2000 });
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
  } else if (scenario === "crowd") { // `rest`: 16 rows as hex
    const ids = Array.from({ length: 16 }, (_, i) => 3 * i);
    const streams = bytesOf(BigUint64Array.from(ids, (id) => BigInt(id + 1)));
    await told(client.begin(policy, ids, { streams }));
    for (let step = 0; step < 3; step++) await told(client.infer(policy, ids, { obs: bin(rest) }));
    await told(client.end(policy, ids, { inputs: { obs: bin(rest) } }));
  }
  client.close();
}
