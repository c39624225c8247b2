// Bodies as hex lines, through a library from npm and this client's codec: what the library reads, what it writes for what this client read,
// and what it reads of what this client writes.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { decode, encode } from "../../../clients/javascript/cervello.mjs";
import { bin, dump, hex } from "./dump.mjs";

const [name, folder] = process.argv.slice(2);
const library = createRequire(`${folder}/none.js`)(name);
const codec = name === "msgpackr" ? new library.Packr({ useRecords: false, int64AsType: "number" })
  : { unpack: library.decode, pack: library.encode };

for await (const line of createInterface({ input: process.stdin })) {
  const value = decode(bin(line));
  console.log(`${dump(codec.unpack(bin(line)))} ${hex(codec.pack(value))} ${dump(codec.unpack(encode(value)))}`);
}
