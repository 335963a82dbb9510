/**
 * Latency on one kept TLS connection compared with nginx, by HTTP/1.1 and HTTP/2, and the delay of events in a stream.
 *
 * `deno run -A --unsafely-ignore-certificate-errors bench/tls_latency.ts [--rounds 4] [--events 500] [--client-core 1]`; needs
 * openssl, wrk, h2load and nginx. All run in turn in each round, so that a disturbance affects all of them. With `chrt -r 10`
 * in front, other work of the machine does not disturb them. With `taskset -c 0` in front and `--client-core 1`, clients have
 * a core of their own, as clients of a real proxy have; otherwise the result depends on where the system places the processes.
 */

import { parseArgs } from "@std/cli/parse-args";
import { freePort } from "./proxy/free_port.ts";
import { startProgram } from "./proxy/running_program.ts";

const SIZES = [12, 480, 10_240, 102_400, 1_048_576];
const PROTOCOLS = ["HTTP/1.1", "HTTP/2"] as const;

function say(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(line + "\n"));
}

function at(sorted: readonly number[], part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))]!;
}

function median(values: readonly number[]): number {
  return at(values.toSorted((a, b) => a - b), 0.5);
}

async function outputOf(command: string, args: readonly string[]): Promise<string> {
  const { stdout } = await new Deno.Command(command, { args: [...args], stderr: "null" }).output();
  return new TextDecoder().decode(stdout);
}

const { rounds = "4", events = "500", "client-core": clientCore } = parseArgs(Deno.args, {
  string: ["rounds", "events", "client-core"],
});

/** Runs a client, on its own core if there is one. */
function runClient(command: string, args: readonly string[]): Promise<string> {
  if (clientCore === undefined) return outputOf(command, args);
  return outputOf("taskset", ["-c", clientCore, command, ...args]);
}

/** Median latency of requests during one second, in microseconds. */
async function latency(protocol: typeof PROTOCOLS[number], url: string, folder: string): Promise<number> {
  if (protocol === "HTTP/1.1") {
    const output = await runClient("wrk", ["-t1", "-c1", "-d1", "--latency", url]);
    const [, value, unit] = /50%\s+([\d.]+)(us|ms|s)/.exec(output)!;
    return Number(value) * { us: 1, ms: 1000, s: 1e6 }[unit as "us"];
  }
  const log = `${folder}/h2load.log`;
  await Deno.remove(log).catch(() => {});
  const count = url.endsWith("1048576") ? "300" : "2500";
  await runClient("h2load", ["-c1", "-m1", "-n", count, `--log-file=${log}`, url]);
  return median((await Deno.readTextFile(log)).trim().split("\n").map((line) => Number(line.split("\t")[2])));
}

/** A server that sends events; each contains its sending time, in milliseconds. */
function eventServer(events: number): Deno.HttpServer<Deno.NetAddr> {
  return Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, () => {
    let left = events;
    const body = new ReadableStream<Uint8Array>({
      async pull(controller) {
        // Random pauses, so that events are neither in step with acknowledgements nor slower than these.
        await new Promise((resolve) => setTimeout(resolve, 1 + Math.random() * 20));
        if (left-- === 0) return controller.close();
        controller.enqueue(new TextEncoder().encode(`data: ${performance.now()}\n\n`));
      },
    }, { highWaterMark: 0 });
    return new Response(body, { headers: { "content-type": "text/event-stream" } });
  });
}

/** Delays of the events, sorted. */
async function delays(url: string, http2: boolean): Promise<number[]> {
  using client = Deno.createHttpClient({ http1: !http2, http2 });
  const { body } = await fetch(url, { client });
  const found: number[] = [];
  for await (const text of body!.pipeThrough(new TextDecoderStream())) {
    const now = performance.now();
    for (const [, sent] of text.matchAll(/data: ([\d.]+)/g)) found.push(now - Number(sent));
  }
  return found.sort((a, b) => a - b);
}

const folder = await Deno.makeTempDir({ prefix: "lbproxy-tls-latency-" });
try {
  await outputOf("openssl", [
    ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "90"],
    ...["-keyout", `${folder}/key.pem`, "-out", `${folder}/cert.pem`, "-subj", "/CN=localhost"],
    ...["-addext", "subjectAltName=DNS:localhost"],
  ]);
  for (const size of SIZES) await Deno.writeTextFile(`${folder}/${size}`, "x".repeat(size));
  await using source = eventServer(Number(events));
  const [server, nginx, own] = [freePort(), freePort(), freePort()];
  const begin = `${Deno.uid() === 0 ? "user root; " : ""}daemon off; worker_processes 1; error_log /dev/null;
    events { worker_connections 1024; }`;
  const http = "access_log off; keepalive_requests 10000000;";
  // In a separate process: in the process of the proxy, no wake-up would be needed.
  await Deno.writeTextFile(
    `${folder}/server.conf`,
    `${begin} pid ${folder}/server.pid; http { ${http} server { listen 127.0.0.1:${server}; root ${folder}; } }`,
  );
  await Deno.writeTextFile(
    `${folder}/nginx.conf`,
    `${begin} pid ${folder}/nginx.pid; http { ${http} upstream u { server 127.0.0.1:${server}; keepalive 64; }
      server { listen 127.0.0.1:${nginx} ssl http2; ssl_certificate ${folder}/cert.pem; ssl_certificate_key ${folder}/key.pem;
        location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; }
        location /events { proxy_pass http://127.0.0.1:${source.addr.port}; proxy_http_version 1.1; proxy_buffering off; } } }`,
  );
  const listen = {
    hostname: "127.0.0.1",
    port: own,
    tls: { cert: `${folder}/cert.pem`, key: `${folder}/key.pem` },
  };
  const upstreams = { default: [`127.0.0.1:${server}`], events: [`127.0.0.1:${source.addr.port}`] };
  const routes = [{ match: { path: "/events" }, upstream: "events" }, { upstream: "default" }];
  await Deno.writeTextFile(
    `${folder}/proxy.config.ts`,
    `export default ${JSON.stringify({ listen, upstreams, routes, accessLog: false })};`,
  );
  const program = new URL("../mod.ts", import.meta.url).pathname;
  const withNginx = (file: string, port: number) =>
    startProgram({ command: "nginx", args: ["-p", folder, "-c", `${folder}/${file}`] }, port);
  await using _server = await withNginx("server.conf", server);
  await using _nginx = await withNginx("nginx.conf", nginx);
  await using _own = await startProgram({
    command: Deno.execPath(),
    args: ["run", "-A", "--no-check", program, `${folder}/proxy.config.ts`],
  }, own);
  const proxies = [["nginx", nginx], ["lbproxy", own]] as const;
  // Warms up, so that compilation does not count as latency.
  for (const [, port] of proxies) {
    await runClient("wrk", ["-t1", "-c8", "-d3", `https://127.0.0.1:${port}/12`]);
  }

  say(
    "| | bytes | nginx: median | lbproxy: median | of each round: median |\n| --- | --- | --- | --- | --- |",
  );
  for (const protocol of PROTOCOLS) {
    for (const size of SIZES) {
      const found: number[][] = [[], []];
      for (let round = 0; round < Number(rounds); round++) {
        for (const [i, [, port]] of proxies.entries()) {
          found[i]!.push(await latency(protocol, `https://127.0.0.1:${port}/${size}`, folder));
        }
      }
      const ratios = found[1]!.map((us, i) => us / found[0]![i]!);
      const [theirs, ours] = found.map((each) => `${Math.round(median(each))} us`);
      say(`| ${protocol} | ${size} | ${theirs} | ${ours} | ${median(ratios).toFixed(2)} |`);
    }
  }
  say("\n| events | | median | 99 % | most | within 5 ms |\n| --- | --- | --- | --- | --- | --- |");
  const direct = ["no proxy", `http://127.0.0.1:${source.addr.port}`] as const;
  const through = proxies.map(([name, port]) => [name, `https://localhost:${port}`] as const);
  for (const [name, origin] of [direct, ...through]) {
    for (const http2 of name === "no proxy" ? [false] : [false, true]) {
      const found = await delays(`${origin}/events`, http2);
      const [half, most] = [at(found, 0.5), found.at(-1)!].map((ms) => `${ms.toFixed(2)} ms`);
      const soon = found.filter((ms) => ms <= 5).length;
      say(
        `| ${name} | ${http2 ? "HTTP/2" : "HTTP/1.1"} | ${half} | ${
          at(found, 0.99).toFixed(2)
        } ms | ${most} | ${soon} of ${found.length} |`,
      );
    }
  }
} finally {
  await Deno.remove(folder, { recursive: true });
}
