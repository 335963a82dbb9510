/**
 * TLS handshakes compared with nginx: number per second, cost of each, cost of clients that do not finish a handshake, and
 * results of requests while certificates are replaced.
 *
 * `deno run -A --unsafely-ignore-certificate-errors bench/tls_handshakes.ts [--seconds 5] [--half-open 5000] [--replacements 100]`; needs openssl, wrk and nginx.
 */

import { parseArgs } from "@std/cli/parse-args";
import { freePort } from "./proxy/free_port.ts";
import type { PeerCommand } from "./proxy/peer.ts";
import { usageOf } from "./proxy/process_tree.ts";
import { type RunningProgram, startProgram } from "./proxy/running_program.ts";

const CLIENTS = 2;
const REQUEST = new TextEncoder().encode("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
const MIB = 1024 * 1024;

function say(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(line + "\n"));
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Makes a certificate for localhost and its key, and replaces the existing ones. */
async function makeCertificate(folder: string): Promise<void> {
  const { success } = await new Deno.Command("openssl", {
    args: ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "90"]
      .concat(
        [
          "-keyout",
          `${folder}/next.key`,
          "-out",
          `${folder}/next.pem`,
          "-subj",
          `/CN=${crypto.randomUUID()}`,
        ],
        ["-addext", "subjectAltName=DNS:localhost"],
      ),
    stderr: "null",
  }).output();
  if (!success) throw new Error("openssl has made no certificate");
  putBoth(folder);
}

/** Replaces both files synchronously: an `await` in between could take seconds while clients keep the thread busy. */
function putBoth(folder: string): void {
  Deno.renameSync(`${folder}/next.pem`, `${folder}/cert.pem`);
  Deno.renameSync(`${folder}/next.key`, `${folder}/key.pem`);
}

async function commandOf(name: string, folder: string, port: number): Promise<PeerCommand> {
  if (name === "nginx") {
    await Deno.writeTextFile(
      `${folder}/nginx.conf`,
      `daemon off; worker_processes 1; pid ${folder}/nginx.pid; error_log /dev/null;
       events { worker_connections 16384; }
       http { access_log off; server {
         listen 127.0.0.1:${port} ssl backlog=511; ssl_certificate ${folder}/cert.pem; ssl_certificate_key ${folder}/key.pem;
         ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets on; location / { return 200 "hello"; } } }`,
    );
    return { command: "nginx", args: ["-p", folder, "-c", `${folder}/nginx.conf`] };
  }
  const tls = { cert: `${folder}/cert.pem`, key: `${folder}/key.pem` };
  await Deno.writeTextFile(
    `${folder}/proxy.config.js`,
    `export const listen = ${JSON.stringify({ hostname: "127.0.0.1", port, engine: "http1", tls })};
     export const upstreams = ["127.0.0.1:1"];
     export const accessLog = false;
     export const requestFilter = () => new Response("hello");`,
  );
  const main = new URL("../mod.ts", import.meta.url).pathname;
  return {
    command: Deno.execPath(),
    args: ["run", "-A", main, `${folder}/proxy.config.js`],
  };
}

/** Full handshakes, each with one request. */
async function handshakes(program: RunningProgram, seconds: number): Promise<void> {
  const before = usageOf(program.pid).cpuSeconds;
  const { stdout } = await new Deno.Command("wrk", {
    args: ["-t1", "-c16", `-d${seconds}`, "-H", "Connection: close", `https://127.0.0.1:${program.port}/`],
    stderr: "null",
  }).output();
  const [, count, took] = /(\d+) requests in ([\d.]+)s/.exec(new TextDecoder().decode(stdout))!.map(Number);
  const micros = (usageOf(program.pid).cpuSeconds - before) / count! * 1e6;
  say(
    `  full: ${Math.round(count! / took!)} a second with a request each, ${
      Math.round(micros)
    } us of CPU each`,
  );
}

/** Resumed sessions, one after the other in each client. */
async function resumptions(program: RunningProgram, seconds: number): Promise<void> {
  const before = usageOf(program.pid).cpuSeconds;
  const counts = await Promise.all(Array.from({ length: CLIENTS }, async () => {
    const place = ["-connect", `127.0.0.1:${program.port}`];
    const { stdout } = await new Deno.Command("openssl", {
      // In TLS 1.3, this client disconnects before it receives its session ticket.
      args: ["s_time", ...place, "-reuse", "-tls1_2", "-time", String(seconds)],
      stderr: "null",
    }).output();
    return Number(/(\d+) connections in \d+ real seconds/.exec(new TextDecoder().decode(stdout))![1]);
  }));
  const count = counts.reduce((sum, each) => sum + each, 0);
  const micros = (usageOf(program.pid).cpuSeconds - before) / count * 1e6;
  say(`  resumed (TLS 1.2, without a request): ${Math.round(micros)} us of CPU each`);
}

async function handshakeMs(port: number): Promise<number> {
  const startAt = performance.now();
  using connection = await ask(port);
  void connection;
  return performance.now() - startAt;
}

/** Connects, sends a request, and waits for the response. */
async function ask(port: number): Promise<Deno.TlsConn> {
  const tcp = await Deno.connect({ hostname: "127.0.0.1", port });
  tcp.setNoDelay(true);
  const secured = await Deno.startTls(tcp, {
    hostname: "localhost",
    caCerts: [],
    alpnProtocols: ["http/1.1"],
  });
  await askOn(secured);
  return secured;
}

async function askOn(connection: Deno.TlsConn): Promise<void> {
  await connection.write(REQUEST);
  const buffer = new Uint8Array(4096);
  const count = await connection.read(buffer);
  const head = new TextDecoder().decode(buffer.subarray(0, count ?? 0));
  if (!head.startsWith("HTTP/1.1 200")) {
    throw new Error(`No response, but ${JSON.stringify(head.slice(0, 40))}`);
  }
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

/** Clients that connect and send nothing. */
async function halfOpen(program: RunningProgram, count: number): Promise<void> {
  const alone = await measureWaits(program.port);
  const before = usageOf(program.pid);
  const clients: Deno.Conn[] = [];
  for (let i = 0; i < count; i++) {
    clients.push(await Deno.connect({ hostname: "127.0.0.1", port: program.port }));
  }
  await pause(1000);
  const after = usageOf(program.pid);
  const beside = await measureWaits(program.port);
  const open = await countOpen(clients);
  for (const client of clients) client.close();
  say(
    `  ${count} half-open: ${((after.rssBytes - before.rssBytes) / MIB).toFixed(1)} MiB, ` +
      `${((after.cpuSeconds - before.cpuSeconds) * 1000).toFixed(0)} ms of CPU, ${open} of them were kept; ` +
      `a handshake with a request takes ${alone.toFixed(1)} ms before, ${beside.toFixed(1)} ms beside them`,
  );
}

async function measureWaits(port: number): Promise<number> {
  const waits: number[] = [];
  for (let i = 0; i < 30; i++) waits.push(await handshakeMs(port));
  return median(waits);
}

/** Number of open connections, counted when none was closed for a second. */
async function countOpen(clients: readonly Deno.Conn[]): Promise<number> {
  let closed = 0;
  for (const client of clients) client.read(new Uint8Array(1)).then(() => closed++, () => closed++);
  for (let before = -1; before !== closed;) {
    before = closed;
    await pause(1000);
  }
  return clients.length - closed;
}

/** Requests on kept and new connections while the files are replaced, each time until the new certificate is used. */
async function replace(program: RunningProgram, folder: string, count: number): Promise<void> {
  let running = true;
  const done = { kept: 0, fresh: 0, failed: 0 };
  const failures = new Set<string>();
  const failed = (error: unknown): void => {
    done.failed++;
    failures.add(String(error));
  };
  const kept = async (): Promise<void> => {
    using connection = await ask(program.port);
    while (running) await askOn(connection).then(() => done.kept++);
  };
  const fresh = async (): Promise<void> => {
    while (running) await ask(program.port).then((each) => [each.close(), done.fresh++], failed);
  };
  const load = [kept().catch(failed), kept().catch(failed), fresh(), fresh()];
  for (let i = 0; i < count; i++) {
    await makeCertificate(folder);
    const wanted = await serialOf(folder);
    while (await shownSerial(program.port) !== wanted) await pause(100);
  }
  running = false;
  await Promise.all(load);
  say(
    `  ${count} certificates replaced: ${done.kept} requests on 2 kept connections, ${done.fresh} on new ones, ` +
      `${done.failed} failed ${[...failures].join(", ")}`,
  );
}

async function openssl(args: string[]): Promise<Uint8Array> {
  return (await new Deno.Command("openssl", { args, stdin: "null", stderr: "null" }).output()).stdout;
}

async function serialOf(folder: string): Promise<string> {
  return new TextDecoder().decode(await openssl(["x509", "-noout", "-serial", "-in", `${folder}/cert.pem`]));
}

async function shownSerial(port: number): Promise<string> {
  const shown = await openssl(["s_client", "-connect", `127.0.0.1:${port}`, "-servername", "localhost"]);
  const child = new Deno.Command("openssl", {
    args: ["x509", "-noout", "-serial"],
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(shown as Uint8Array<ArrayBuffer>);
  await writer.close();
  return new TextDecoder().decode((await child.output()).stdout);
}

const { seconds, "half-open": half, replacements } = parseArgs(Deno.args, {
  default: { seconds: 5, "half-open": 5000, replacements: 100 },
});
for (const name of ["nginx", "lbproxy"]) {
  const folder = await Deno.makeTempDir();
  try {
    await makeCertificate(folder);
    const port = freePort();
    await using program = await startProgram(await commandOf(name, folder, port), port);
    say(name);
    // Warms up the JIT compiler.
    await handshakes(program, Number(seconds));
    await handshakes(program, Number(seconds));
    await resumptions(program, Number(seconds));
    if (Number(half) > 0) await halfOpen(program, Number(half));
    if (name === "lbproxy" && Number(replacements) > 0) await replace(program, folder, Number(replacements));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
