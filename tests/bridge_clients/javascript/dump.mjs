// A decoded value as text, as golden.py has it.
export const hex = (bytes) => Buffer.from(bytes).toString("hex");
export const bin = (text) => new Uint8Array(Buffer.from(text, "hex"));

export function dump(value) {
  if (value === null) return "n";
  if (value === true) return "t";
  if (value === false) return "u";
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : `f${value}`;
  if (typeof value === "string") return "s" + hex(Buffer.from(value));
  if (value instanceof Uint8Array) return "b" + hex(value);
  if (Array.isArray(value)) return `[${value.map(dump)}]`;
  return `{${Object.keys(value).map((key) => [hex(Buffer.from(key)), value[key]]).sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, item]) => `${key}:${dump(item)}`)}}`;
}
