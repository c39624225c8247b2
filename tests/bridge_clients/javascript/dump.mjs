// A decoded value as text, as golden.py has it.
const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));
const utf8 = new TextEncoder();
export const hex = (bytes) => Array.from(bytes, (byte) => HEX[byte]).join("");
export const bin = (text) => Uint8Array.from({ length: text.length / 2 }, (_, at) => parseInt(text.slice(2 * at, 2 * at + 2), 16));

export function dump(value) {
  if (value === null) return "n";
  if (value === true) return "t";
  if (value === false) return "u";
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : `f${value}`;
  if (typeof value === "string") return "s" + hex(utf8.encode(value));
  if (value instanceof Uint8Array) return "b" + hex(value);
  if (Array.isArray(value)) return `[${value.map(dump)}]`;
  return `{${Object.keys(value).map((key) => [hex(utf8.encode(key)), value[key]]).sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, item]) => `${key}:${dump(item)}`)}}`;
}
