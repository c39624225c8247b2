// Sixteen agents of a policy, played for a hundred frames: node example.mjs tcp://127.0.0.1:5577 cartpole
import { BridgeError, Client, bytesOf, numbersOf } from "./cervello.mjs";

const [address = "tcp://127.0.0.1:5577", policy = "cartpole"] = process.argv.slice(2);
const ids = Array.from({ length: 16 }, (_, i) => i);
const observations = new Float32Array(16 * 4).fill(0.01);
const client = new Client(address, { client: "example" });

try {
  await client.connect({ timeoutMs: 2000 });
  await client.begin(policy, ids);
  for (let frame = 0; frame < 100; frame++) {
    const pending = client.infer(policy, ids, { obs: bytesOf(observations) }, { deadline_us: 8000, tick: frame });
    // the frame's physics run here, while the server decides
    const answer = await pending;
    const actions = numbersOf(answer.outputs.action, "int64");
    answer.agents.forEach((id, row) => { observations[4 * id + 2] += actions[row] ? 0.01 : -0.01; });
    client.notify("reward", { policy, agents: answer.agents, reward: bytesOf(answer.agents.map(() => 1)) });
  }
  await client.end(policy, ids, { inputs: { obs: bytesOf(observations) } });
  console.log("100 frames");
} catch (error) {
  if (!(error instanceof BridgeError)) throw error;
  console.error(`${error.kind}: ${error.message}`);
  process.exitCode = 1;
} finally {
  client.close();
}
