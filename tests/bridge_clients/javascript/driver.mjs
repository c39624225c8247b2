// The scenarios of test_clients.py in Node.
import { createInterface } from "node:readline";
import { coded, play } from "./scenarios.mjs";

const given = process.argv.slice(2);
if (given[0] === "codec") {
  for await (const line of createInterface({ input: process.stdin })) console.log(coded(line));
} else await play(given, (line) => console.log(line));
