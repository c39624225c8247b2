// Client of the Cervello bridge, protocol version 1: TCP in Node 20, WebSocket in browsers. No dependency.
// A game's frame is never blocked: every call returns a promise; `answer` settles in a later turn of the event loop.

const DEEPEST = 8;
const DEFAULT_FRAME_BYTES = 16 << 20;
const MOST_VALUES = 1 << 20; // in one frame: arrays and maps hold no more together, so that decoding costs a bounded memory
const utf8 = new TextEncoder();
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** What went wrong with the server: `kind` is "draining", "agents_lost", "dead_server", "timeout", "refused" or "bad_call". */
export class BridgeError extends Error {
  /**
   * @param {string} kind one of the six
   * @param {string} address the server's
   * @param {string} step "connect", "hello", or the method's name
   * @param {string} cause what happened
   * @param {{code?: number, data?: object}} refusal the server's, where it sent one
   */
  constructor(kind, address, step, cause, { code = null, data = {} } = {}) {
    super(`${address}, ${step}: ${cause}`);
    Object.assign(this, { name: "BridgeError", kind, address, step, reason: cause, code, data });
  }
}

/** One msgpack value in its shortest form: Uint8Array is bin, a Map or an object is a map, undefined members are left out. */
export function encode(value) {
  const out = [];
  let n_bytes = 0;
  const put = (bytes) => { out.push(bytes); n_bytes += bytes.length; };
  const number = (size, method, value, code) => {
    const bytes = new Uint8Array(size + 1);
    bytes[0] = code;
    new DataView(bytes.buffer)[method](1, value);
    put(bytes);
  };
  const head = (count, code_8, code_16, code_32) => {
    if (code_8 && count < 0x100) put([code_8, count]);
    else if (count < 0x10000) number(2, "setUint16", count, code_16);
    else number(4, "setUint32", count, code_32);
  };
  const integer = (value) => {
    if (value >= 0) {
      if (value < 0x80) put([value]);
      else if (value < 0x100) put([0xcc, value]);
      else if (value < 0x10000) number(2, "setUint16", value, 0xcd);
      else if (value < 0x100000000) number(4, "setUint32", value, 0xce);
      else number(8, "setBigUint64", BigInt(value), 0xcf);
    } else if (value >= -0x20) put([value & 0xff]);
    else if (value >= -0x80) number(1, "setInt8", value, 0xd0);
    else if (value >= -0x8000) number(2, "setInt16", value, 0xd1);
    else if (value >= -0x80000000) number(4, "setInt32", value, 0xd2);
    else number(8, "setBigInt64", BigInt(value), 0xd3);
  };
  const visit = (value) => {
    if (value === null || value === undefined) put([0xc0]);
    else if (typeof value === "boolean") put([value ? 0xc3 : 0xc2]);
    else if (typeof value === "number") {
      if (Number.isSafeInteger(value)) integer(value);
      else number(8, "setFloat64", value, 0xcb);
    } else if (typeof value === "string") {
      const bytes = utf8.encode(value);
      if (bytes.length < 32) put([0xa0 + bytes.length]);
      else head(bytes.length, 0xd9, 0xda, 0xdb);
      put(bytes);
    } else if (value instanceof Uint8Array) {
      head(value.length, 0xc4, 0xc5, 0xc6);
      put(value);
    } else if (Array.isArray(value)) {
      if (value.length < 16) put([0x90 + value.length]);
      else head(value.length, 0, 0xdc, 0xdd);
      value.forEach(visit);
    } else if (typeof value === "object" && !ArrayBuffer.isView(value)) {
      const entries = Object.entries(value).filter(([, item]) => item !== undefined);
      if (entries.length < 16) put([0x80 + entries.length]);
      else head(entries.length, 0, 0xde, 0xdf);
      for (const [key, item] of entries) { visit(key); visit(item); }
    } else if (ArrayBuffer.isView(value)) throw new TypeError(`expected rows as a Uint8Array, got a ${value.constructor.name}; give bytesOf(rows)`);
    else throw new TypeError(`expected a number, string, Uint8Array, array or object, got a ${typeof value}`);
  };
  visit(value);
  const bytes = new Uint8Array(n_bytes);
  let at = 0;
  for (const piece of out) { bytes.set(piece, at); at += piece.length; }
  return bytes;
}

/** The one value of a body: bin is a Uint8Array of its own, a map an object without prototype. Throws RangeError at a bad frame. */
export function decode(body) {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  let at = 0;
  let n_values = 0;
  const need = (count) => { if (count > body.length - at) throw new RangeError("bad frame: the value is cut off"); };
  const read = (size, method) => { need(size); at += size; return Number(view[method](at - size)); };
  const bytes = (count) => { need(count); at += count; return body.slice(at - count, at); };
  const text = (count) => {
    need(count);
    at += count;
    try { return strict.decode(body.subarray(at - count, at)); } catch { throw new RangeError("bad frame: a str is not UTF-8"); }
  };
  const enter = (count, level) => {
    if (level > DEEPEST) throw new RangeError(`bad frame: nested deeper than ${DEEPEST}`);
    need(count);
    n_values += count;
    if (n_values > MOST_VALUES) throw new RangeError(`bad frame: more than ${MOST_VALUES} values`);
  };
  const array = (count, level) => {
    enter(count, level);
    const items = [];
    for (let i = 0; i < count; i++) items.push(value(level + 1));
    return items;
  };
  const map = (count, level) => {
    enter(2 * count, level);
    const items = Object.create(null);
    for (let i = 0; i < count; i++) {
      const key = value(level + 1);
      if (typeof key !== "string" || key in items) throw new RangeError("bad frame: a map key is not a str or comes twice");
      items[key] = value(level + 1);
    }
    return items;
  };
  const value = (level) => {
    const code = read(1, "getUint8");
    if (code < 0x80) return code;
    if (code < 0x90) return map(code & 15, level);
    if (code < 0xa0) return array(code & 15, level);
    if (code < 0xc0) return text(code & 31);
    if (code >= 0xe0) return code - 0x100;
    switch (code) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: return bytes(read(1, "getUint8"));
      case 0xc5: return bytes(read(2, "getUint16"));
      case 0xc6: return bytes(read(4, "getUint32"));
      case 0xca: return read(4, "getFloat32");
      case 0xcb: return read(8, "getFloat64");
      case 0xcc: return read(1, "getUint8");
      case 0xcd: return read(2, "getUint16");
      case 0xce: return read(4, "getUint32");
      case 0xcf: return read(8, "getBigUint64");
      case 0xd0: return read(1, "getInt8");
      case 0xd1: return read(2, "getInt16");
      case 0xd2: return read(4, "getInt32");
      case 0xd3: return read(8, "getBigInt64");
      case 0xd9: return text(read(1, "getUint8"));
      case 0xda: return text(read(2, "getUint16"));
      case 0xdb: return text(read(4, "getUint32"));
      case 0xdc: return array(read(2, "getUint16"), level);
      case 0xdd: return array(read(4, "getUint32"), level);
      case 0xde: return map(read(2, "getUint16"), level);
      case 0xdf: return map(read(4, "getUint32"), level);
      default: throw new RangeError(`bad frame: byte 0x${code.toString(16)} begins no value`);
    }
  };
  const whole = value(1);
  if (at !== body.length) throw new RangeError("bad frame: bytes after the value");
  return whole;
}

/** The bytes of a typed array or of numbers as float32, for `inputs` and `reward`. Little-endian machines only, as all are that run JavaScript. */
export function bytesOf(values) {
  const typed = ArrayBuffer.isView(values) ? values : Float32Array.from(values);
  return new Uint8Array(typed.buffer, typed.byteOffset, typed.byteLength).slice();
}

/** Bin as numbers of a dtype; int64 and uint64 are given as BigInt. */
export function numbersOf(bin, dtype = "float32") {
  const types = { float32: Float32Array, float64: Float64Array, int8: Int8Array, int16: Int16Array, int32: Int32Array, uint8: Uint8Array,
    uint16: Uint16Array, uint32: Uint32Array, int64: BigInt64Array, uint64: BigUint64Array, bool: Uint8Array };
  if (!types[dtype]) throw new TypeError(`dtype: expected one of ${Object.keys(types)}, got ${dtype}`);
  return new types[dtype](bin.slice().buffer); // a copy, since row bytes carry no alignment
}

async function openTcp(url, on) {
  const { connect } = await import("node:net");
  const socket = connect({ host: url.hostname.replace(/^\[|\]$/g, ""), port: Number(url.port), noDelay: true, keepAlive: true, keepAliveInitialDelay: 60000 });
  let chunks = [];
  let n_bytes = 0;
  let wanted = 4; // bytes until the next decision: the length, then the length and the body
  const take = (count) => {
    const all = chunks.length === 1 ? chunks[0] : Buffer.concat(chunks, n_bytes);
    chunks = all.length > count ? [all.subarray(count)] : [];
    n_bytes -= count;
    return all.subarray(0, count);
  };
  let length = 0;
  socket.on("connect", on.open);
  socket.on("error", (error) => on.close(error.message));
  socket.on("close", () => on.close("the connection was closed"));
  socket.on("data", (chunk) => {
    chunks.push(chunk);
    n_bytes += chunk.length;
    while (n_bytes >= wanted && !socket.destroyed) {
      const part = take(wanted);
      if (length === 0) {
        length = part.readUInt32LE();
        if (length === 0 || length > on.frameBytes) { on.bad(`a frame of ${length} bytes; the limit is ${on.frameBytes}`); return; }
        wanted = length;
      } else {
        length = 0;
        wanted = 4;
        on.body(new Uint8Array(part.buffer, part.byteOffset, part.byteLength));
      }
    }
  });
  return {
    send(body) {
      const head = Buffer.alloc(4);
      head.writeUInt32LE(body.length);
      socket.write(Buffer.concat([head, body]));
    },
    close() { socket.destroy(); },
  };
}

/** What the browser says of the permission that pages of the public web need to reach this machine; "" where it knows none. */
async function loopbackPermission() {
  for (const name of ["loopback-network", "local-network-access"]) {
    try {
      return ` (its permission "${name}": ${(await navigator.permissions.query({ name })).state})`;
    } catch { /* unknown to this browser, or none at all */ }
  }
  return "";
}

async function openWebSocket(address, on) {
  const socket = new WebSocket(address, "cervello.1");
  let permission = null; // asked for where no connection comes about: a browser gives no reason
  socket.binaryType = "arraybuffer";
  socket.onopen = () => { permission = ""; on.open(); };
  socket.onerror = () => {}; // the close event that follows has all that a browser tells
  socket.onclose = async (event) => {
    permission ??= await loopbackPermission();
    on.close(`the WebSocket was closed, code ${event.code}${event.reason ? `, ${event.reason}` : ""}; is this page's origin allowed `
      + `(--allow-origin), and may it reach the local network${permission}?`, event.code === 1001);
  };
  socket.onmessage = ({ data }) => {
    if (!(data instanceof ArrayBuffer) || data.byteLength === 0 || data.byteLength > on.frameBytes) on.bad("a message that is no frame");
    else on.body(new Uint8Array(data));
  };
  return { send: (body) => socket.send(body), close: () => socket.close() };
}

/** A connection to a server. Every method returns a promise, and rejects with a BridgeError. */
export class Client {
  #transport = null; // null while there is no connection
  #pending = new Map(); // id → {step, settle, fail, timer}
  #nextId = 0;
  #mayHaveAgents = new Set(); // policies of this connection in which agents may have begun
  #lost = new Set(); // policies whose agents went with an earlier connection
  #end = null; // why the connection ended: [kind, cause]

  /**
   * @param {string} address `tcp://host:port` (Node) or `ws://host:port` (browsers)
   * @param {{client?: string, token?: string, frameBytes?: number, timeoutMs?: number}} options
   *   `timeoutMs`: of every call that names none; `frameBytes`: the longest body taken; without it the
   *   server's limit, 16 MiB until hello has told it
   */
  constructor(address, { client = "javascript", token, frameBytes, timeoutMs = 5000 } = {}) {
    Object.assign(this, { address, name: client, token, frameBytes, timeoutMs, server: null });
  }

  get connected() { return this.#transport !== null && this.server !== null; }

  #error(kind, step, cause, refusal) { return new BridgeError(kind, this.address, step, cause, refusal); }

  #finish(kind, cause) {
    if (this.#end) return;
    this.#end = [kind, cause];
    this.#transport?.close();
    this.#transport = null;
    for (const { step, fail, timer } of this.#pending.values()) {
      clearTimeout(timer);
      fail(this.#error(kind, step, cause));
    }
    this.#pending.clear();
  }

  #receive(body) {
    let message;
    try { message = decode(body); } catch (error) { this.#finish("dead_server", error.message); return; }
    const [type, id, error, result] = Array.isArray(message) && message.length === 4 ? message : [];
    if (type !== 1 || (error !== null && (!Array.isArray(error) || error.length !== 3))) {
      this.#finish("dead_server", "a message that is no reply");
      return;
    }
    if (id === null) {
      const [code, text] = error ?? [0, "a reply without id"];
      this.#finish(code === 11 ? "draining" : "dead_server", code === 11 ? text : `code ${code}: ${text}`);
      return;
    }
    const waiting = this.#pending.get(id);
    if (!waiting) return; // its time was over
    this.#pending.delete(id);
    clearTimeout(waiting.timer);
    if (error === null) { waiting.settle(result); return; }
    const [code, text, data] = error;
    waiting.fail(this.#error(code === 11 ? "draining" : "refused", waiting.step, `code ${code}: ${text}`, { code, data }));
  }

  /** Connects and says hello; after an end it connects anew, and agents begun before are lost. Resolves to hello's result. */
  async connect({ timeoutMs = this.timeoutMs } = {}) {
    if (this.#transport) throw this.#error("bad_call", "connect", "already connected");
    const tcp = this.address.startsWith("tcp://"), web = this.address.replace(/^tcp:/, "http:");
    if (!(tcp || /^wss?:\/\//.test(this.address)) || !URL.canParse(web)) {
      throw this.#error("bad_call", "connect", "expected tcp://host:port or ws://host:port");
    }
    const url = new URL(web);
    this.#end = null;
    this.server = null;
    for (const policy of this.#mayHaveAgents) this.#lost.add(policy);
    this.#mayHaveAgents.clear();
    const from = performance.now();
    const opened = new Promise((settle, fail) => {
      const timer = setTimeout(() => this.#finish("timeout", `no connection within ${timeoutMs} ms`), timeoutMs);
      this.#pending.set("connect", { step: "connect", settle, fail, timer });
    });
    opened.catch(() => {}); // it is awaited below, but may fail before
    let ended = false; // events of this connection after its end do not touch the next one
    const current = (act) => (...given) => { if (!ended) act(...given); };
    const on = {
      frameBytes: this.frameBytes ?? DEFAULT_FRAME_BYTES,
      open: current(() => { const { settle, timer } = this.#pending.get("connect"); clearTimeout(timer); this.#pending.delete("connect"); settle(); }),
      body: current((body) => { this.#receive(body); ended = this.#end !== null; }),
      bad: current((cause) => { ended = true; this.#finish("dead_server", cause); }),
      close: current((cause, going) => { ended = true; this.#finish(going ? "draining" : "dead_server", cause); }),
    };
    try {
      const transport = await (tcp ? openTcp(url, on) : openWebSocket(this.address, on));
      if (this.#end) transport.close();
      else this.#transport = transport;
    } catch (error) { on.close(error.message); }
    await opened;
    try {
      const left = Math.max(timeoutMs - (performance.now() - from), 1);
      const params = { version: 1, client: this.name, token: this.token, frame_bytes: this.frameBytes };
      this.server = await this.request("hello", params, { timeoutMs: left });
      on.frameBytes = this.frameBytes ?? this.server.limits.frame_bytes;
    } catch (error) {
      ended = true;
      this.#finish(error.kind, error.reason);
      throw error;
    }
    return this.server;
  }

  /** Ends the connection, and with it its agents. */
  close() { this.#finish("bad_call", "the client was closed"); }

  #send(step, message) {
    if (!this.#transport) throw this.#error(...(this.#end ? [this.#end[0], step, this.#end[1]] : ["bad_call", step, "connect() comes first"]));
    let body;
    try { body = encode(message); } catch (error) { throw this.#error("bad_call", step, error.message); }
    const limit = this.server?.limits?.frame_bytes ?? DEFAULT_FRAME_BYTES;
    if (body.length > limit) throw this.#error("bad_call", step, `a frame of ${body.length} bytes; the server takes ${limit}`);
    this.#transport.send(body);
  }

  /** Any method of the protocol. A late reply of a call whose time is over is dropped. */
  async request(method, params = {}, { timeoutMs = this.timeoutMs } = {}) {
    const { policy } = params;
    const begins = method === "begin" || method === "restore" || (method === "infer" && params.begin === true);
    if (this.#lost.has(policy) && !begins && ["infer", "reward", "end", "snapshot"].includes(method)) {
      throw this.#error("agents_lost", method, `agents of policy '${policy}' ended with the earlier connection; begin them anew`);
    }
    while (this.#pending.has(this.#nextId)) this.#nextId = (this.#nextId + 1) >>> 0;
    const id = this.#nextId;
    this.#send(method, [0, id, method, [params]]);
    this.#nextId = (id + 1) >>> 0;
    if (begins) { // what follows in the same frame may name the agents; a refused begin is told by the server's code 5
      this.#mayHaveAgents.add(policy);
      this.#lost.delete(policy);
    }
    return new Promise((settle, fail) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        fail(this.#error("timeout", method, `no reply within ${timeoutMs} ms`));
      }, timeoutMs);
      this.#pending.set(id, { step: method, settle, fail, timer });
    });
  }

  spec(policy, call) { return this.request("spec", { policy }, call); }
  /** @param {{streams?: Uint8Array}} options 8 bytes an agent */
  begin(policy, agents, { streams } = {}, call) { return this.request("begin", { policy, agents, streams }, call); }
  /** @param {object} inputs bin by name, row i is agents[i]; options are the protocol's: begin, deterministic, deadline_us, outputs, tick */
  infer(policy, agents, inputs, { begin, deterministic, deadline_us, outputs, tick } = {}, call) {
    return this.request("infer", { policy, agents, inputs, begin, deterministic, deadline_us, outputs, tick }, call);
  }
  /** @param {Uint8Array} reward float32 each; options: actions, tick */
  reward(policy, agents, reward, { actions, tick } = {}, call) { return this.request("reward", { policy, agents, reward, actions, tick }, call); }
  /** Options: terminated, truncated (bool or bin), inputs (final observations). */
  end(policy, agents, { terminated, truncated, inputs } = {}, call) {
    return this.request("end", { policy, agents, terminated, truncated, inputs }, call);
  }
  /** Without agents: all of this connection. */
  snapshot(policy, agents, call) { return this.request("snapshot", { policy, agents }, call); }
  restore(policy, state, { keep } = {}, call) { return this.request("restore", { policy, state, keep }, call); }
  stats(call) { return this.request("stats", {}, call); }
  ping(call) { return this.request("ping", {}, call); }
  /** `reward` or `end` without a reply; a refused one is counted in `stats`. */
  notify(method, params) {
    if (this.#lost.has(params.policy)) throw this.#error("agents_lost", method, `agents of policy '${params.policy}' ended with the earlier connection`);
    this.#send(method, [2, method, [params]]);
  }
}
