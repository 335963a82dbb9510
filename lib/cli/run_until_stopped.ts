/** Runs a proxy as a program, from its start to its end. */

import { ConfigError, type ConfigProblem, formatProblem } from "../config/config_error.ts";
import type { ResolvedConfig } from "../config/proxy_config.ts";
import { messageOf, stackOf } from "../core/callback.ts";
import { type Clock, systemClock as clock } from "../core/clock.ts";
import { type Random, systemRandom as random } from "../core/random.ts";
import { createLog, type Log } from "../observe/create_log.ts";
import { startProxy } from "../server/serve.ts";
import { workerCommand } from "../server/workers/worker_command.ts";
import { FileWatch } from "./file_watch.ts";
import { type Io, print, readVariable, type StopSignal } from "./io.ts";
import type { RunOptions } from "./parse_arguments.ts";
import type { ProgramConfig } from "./program_config.ts";

/** Exit codes by the convention of shells: 128 plus the number of the signal. */
const SIGNAL_EXIT_CODES: Readonly<Record<StopSignal, number>> = { SIGINT: 130, SIGTERM: 143, SIGBREAK: 149 };

/** How long writing the last log lines may take, in milliseconds. */
const FLUSH_MS = 1000;

/**
 * Starts the proxy and resolves when it has stopped.
 *
 * The first stop signal ends the proxy after the running requests, the second one at once. SIGHUP reloads the
 * configuration. SIGUSR2 reopens log files.
 *
 * @returns the exit code: 0, or 1 if requests were cut off
 * @throws {ListenError} when it cannot listen at an address
 */
export async function runUntilStopped(
  program: ProgramConfig,
  { config, unread, doubts, sources: { hash, texts } }: Awaited<ReturnType<ProgramConfig["load"]>>,
  options: RunOptions,
  io: Io,
): Promise<number> {
  const { logLevel: level, logFormat: format, watch, demoLoad } = options;
  using log = createLog({
    level,
    format,
    // The proxy itself decides whether this access log is used: only if the configuration has none.
    access: false,
    clock,
    stdout: io.stdout,
    stderr: io.stderr,
  });
  const { observer, accessLog } = log;
  using _strayErrors = io.onStrayError((error) => reportStrayError(log, error));
  const report = (unread: readonly string[], doubts: readonly ConfigProblem[]): void => {
    for (const name of unread) observer.event({ kind: "unread_export", name });
    for (const doubt of doubts) observer.event({ kind: "config_warning", message: formatProblem(doubt) });
  };
  report(unread, doubts);
  const alone = config.workers === 1;
  const load = async () => {
    const { config, unread, doubts, sources: { hash, texts, remote } } = await program.load();
    checkWorkers(config, alone, options.source);
    report(unread, doubts);
    return { config, hash, texts, notReloaded: remote };
  };
  using supervisor = findSupervisor(log);
  const workers = config.workers === 1 ? null : {
    command: workerCommand(import.meta.resolve("../../mod.ts")),
    options,
    accessLines: accessLog === null ? undefined : (text: string) => log.accessLines(text),
    strayLine: (line: string) => print(io.stderr, `${line}\n`),
  };
  const starting = startProxy(config, {
    observer,
    accessLog,
    clock,
    random,
    source: { name: program.source, hash, texts, load },
    logControl: log,
    workers,
  });
  let stopping = false;
  using _signals = io.onStopSignal((signal) => {
    if (stopping) {
      log[Symbol.dispose]();
      return io.exit(SIGNAL_EXIT_CODES[signal]);
    }
    stopping = true;
    supervisor?.stopping();
    // Also before the first round of checks is over. The error of a failed start is thrown below, by `await starting`.
    starting.then((server) => server.shutdown(signal)).catch(() => {});
  });
  const reload = async (trigger: string): Promise<void> => {
    const server = await starting;
    const { applied, generation } = await server.reload(undefined, trigger);
    supervisor?.status(`configuration ${generation}${applied ? "" : ", the last one could not be loaded"}`);
  };
  using _hangUp = io.onSignal("SIGHUP", () => void reload("SIGHUP").catch(() => {}));
  using _reopen = io.onSignal(
    "SIGUSR2",
    () => void starting.then((server) => server.reopenLog()).catch(() => {}),
  );
  const server = await starting.catch((error) => {
    // A terminal or service manager sends its signal also to starting workers, which cannot ignore it yet.
    if (stopping) return null;
    throw error;
  });
  if (server === null) {
    await flushWithin(log, FLUSH_MS);
    return 0;
  }
  supervisor?.ready();
  using _load = !demoLoad
    ? null
    : await DemoLoad.begin(server.addresses, config, clock, random).catch((error) => {
      reportStrayError(log, error, "--demo-load");
      return null;
    });
  using _watch = !watch ? null : new FileWatch({
    files: program.files,
    texts: () => program.texts,
    clock,
    onChange: () => reload("its files have changed"),
    onError: (error) => reportStrayError(log, error, "--watch"),
  });
  await server.finished;
  const cut = await server.shutdown();
  await flushWithin(log, FLUSH_MS);
  return cut === 0 ? 0 : 1;
}

/** @throws {ConfigError} when a reloaded configuration needs workers and the proxy runs without */
function checkWorkers(config: ResolvedConfig, alone: boolean, source: string): void {
  if (!alone || config.workers === 1) return;
  const message = "cannot become more than 1 while the proxy runs: restart the proxy";
  throw new ConfigError(source, [{ path: "workers", message }]);
}

/** Continues without a supervisor if it cannot be notified; the supervisor then reports a timeout. */
function findSupervisor(log: Log): Supervisor | null {
  try {
    return Supervisor.find();
  } catch (error) {
    reportStrayError(log, error, "sd_notify");
    return null;
  }
}

function reportStrayError(
  log: Log,
  error: unknown,
  name = "A promise or timer of the configuration",
): void {
  log.observer.event({
    kind: "callback_error",
    name,
    message: messageOf(error),
    stack: stackOf(error),
  });
}

async function flushWithin(log: Log, limitMs: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const id = setTimeout(resolve, limitMs);
  await Promise.race([log.flush(), promise]);
  clearTimeout(id);
}

// Requests of the proxy to itself (`--demo-load`).

const TICK_MS = 50;
/** Average requests per second; the rate rises and falls in a period of half a minute. */
const AVERAGE = 40;
const PERIOD_MS = 30_000;
/** Values of `appid`, the most frequent first; some requests have none. */
const CLIENTS = ["checkout", "mobile", "search", "partner", "reports", "crawler"];
const WITHOUT_APPID = 0.4;
const PATHS = ["/", "/orders", "/orders/17", "/search?q=shoes", "/login"];
const TIMEOUT_MS = 10_000;

/** The client that sends the requests: of the runtime's `fetch`, none could ignore the names in a certificate. */
type Client = Pick<typeof import("node:http"), "request" | "Agent">;

/** How {@linkcode DemoLoad} connects to a listener. */
type DemoTarget = { readonly socketPath: string } | {
  readonly host: string;
  readonly port: number;
  readonly servername?: string;
  readonly rejectUnauthorized?: boolean;
};

/** Sends requests to a listener of the proxy until it is disposed. */
class DemoLoad implements Disposable {
  readonly #client: Client;
  readonly #target: DemoTarget;
  readonly #agent: InstanceType<Client["Agent"]>;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #ended = new AbortController();
  #timer: Disposable | null = null;

  private constructor(client: Client, target: DemoTarget, clock: Clock, random: Random) {
    this.#client = client;
    this.#agent = new client.Agent({ keepAlive: true });
    this.#target = target;
    this.#clock = clock;
    this.#random = random;
    this.#schedule();
  }

  /**
   * Begins with the first listener that accepts such requests.
   *
   * @throws {Error} when there is none
   */
  static async begin(
    addresses: readonly string[],
    { listen }: ResolvedConfig,
    clock: Clock,
    random: Random,
  ): Promise<DemoLoad> {
    const index = listen.findIndex(({ redirectPort, proxyProtocol, tls }) =>
      redirectPort === undefined && proxyProtocol === undefined && tls?.clientCertificates?.mode !== "require"
    );
    if (index < 0) {
      throw new Error("every listener redirects, or needs a PROXY header or a certificate of the client");
    }
    const { unix, hostname, tls } = listen[index]!;
    const client = await import(tls === undefined ? "node:http" : "node:https");
    if (unix !== undefined) return new DemoLoad(client, { socketPath: unix }, clock, random);
    // A wildcard means every address of this machine; requests need a specific one.
    const host = hostname === "0.0.0.0" || hostname === "::" ? "127.0.0.1" : hostname;
    const port = Number(addresses[index]!.split(":").at(-1));
    if (tls === undefined) return new DemoLoad(client, { host, port }, clock, random);
    const name = tls.certificates[0]?.names?.[0]?.replace(/^\*/, "www");
    // The certificate is the proxy's own, and need not be trusted by this machine.
    const trust = { rejectUnauthorized: false, ...(name === undefined ? {} : { servername: name }) };
    return new DemoLoad(client, { host, port, ...trust }, clock, random);
  }

  #schedule(): void {
    this.#timer = this.#clock.setTimer(() => {
      const wave = 1 + 0.6 * Math.sin(this.#clock.now() / PERIOD_MS * 2 * Math.PI);
      const expected = AVERAGE * TICK_MS / 1000 * wave;
      const count = Math.floor(expected + this.#random());
      for (let n = 0; n < count; n++) this.#send();
      this.#schedule();
    }, TICK_MS);
  }

  #send(): void {
    const random = this.#random;
    const path = PATHS[Math.floor(random() * PATHS.length)]!;
    // Squared, so that the first clients send far more requests than the last.
    const client = CLIENTS[Math.floor(random() ** 2 * CLIENTS.length)]!;
    const headers: Record<string, string> = random() < WITHOUT_APPID ? {} : { appid: client };
    const signal = AbortSignal.any([this.#ended.signal, AbortSignal.timeout(TIMEOUT_MS)]);
    this.#client.request({ ...this.#target, agent: this.#agent, path, headers, signal })
      .on("response", (response) => response.on("error", ignore).resume())
      // The proxy itself shows failures.
      .on("error", ignore)
      .end();
  }

  [Symbol.dispose](): void {
    this.#timer?.[Symbol.dispose]();
    this.#ended.abort();
    this.#agent.destroy();
  }
}

function ignore(): void {}

// Notifies systemd of the program's state (sd_notify), for units of `Type=notify`.

/** The part of a datagram socket that is used here. */
interface DatagramSocket {
  send(bytes: Uint8Array, address: { transport: "unixpacket"; path: string }): Promise<number>;
  close(): void;
}

type ListenDatagram = (options: { transport: "unixpacket"; path: string }) => DatagramSocket;

/** The service manager that started the program, and is notified when it is ready. */
class Supervisor implements Disposable {
  readonly #path: string;
  readonly #own: string;
  readonly #socket: DatagramSocket;
  #sending: Promise<unknown> = Promise.resolve();

  private constructor(path: string, own: string, socket: DatagramSocket) {
    this.#path = path;
    this.#own = own;
    this.#socket = socket;
  }

  /**
   * Finds the supervisor; `null` when there is none, or the environment may not be read.
   *
   * @throws {Error} when there is one that cannot be notified
   */
  static find(): Supervisor | null {
    const path = readVariable("NOTIFY_SOCKET");
    if (path === null) return null;
    const { listenDatagram } = Deno as unknown as { listenDatagram?: ListenDatagram };
    if (listenDatagram === undefined) {
      throw new Error("NOTIFY_SOCKET is set (Type=notify): run with --unstable-net, or make it Type=exec");
    }
    // The socket needs its own path, in a folder where the program may write.
    const own = `${readVariable("RUNTIME_DIRECTORY") ?? "/tmp"}/notify-${Deno.pid}`;
    const socket = listenDatagram({ transport: "unixpacket", path: own });
    return new Supervisor(path.replace(/^@/, "\0"), own, socket);
  }

  /** Notifies that the proxy accepts requests. */
  ready(): void {
    this.#notify(`READY=1\nMAINPID=${Deno.pid}`);
  }

  /** Notifies that the proxy has begun to stop. */
  stopping(): void {
    this.#notify("STOPPING=1");
  }

  /** Sets the text that `systemctl status` shows. */
  status(text: string): void {
    this.#notify(`STATUS=${text.replaceAll("\n", " ")}`);
  }

  #notify(state: string): void {
    const address = { transport: "unixpacket", path: this.#path } as const;
    const bytes = new TextEncoder().encode(state);
    this.#sending = this.#sending.then(() => this.#socket.send(bytes, address)).catch(() => {});
  }

  /** Closes the socket. */
  [Symbol.dispose](): void {
    this.#sending.then(() => {
      this.#socket.close();
      Deno.removeSync(this.#own);
    }).catch(() => {});
  }
}
