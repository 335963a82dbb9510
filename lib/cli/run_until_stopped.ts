/** A proxy from its start to its end, as a program. */

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

/** By convention of shells: 128 and the number of the signal. */
const SIGNAL_EXIT_CODES: Readonly<Record<StopSignal, number>> = { SIGINT: 130, SIGTERM: 143, SIGBREAK: 149 };

/** How long the last lines of the log may take when nobody reads them. */
const LAST_LINES_MS = 1000;

/**
 * Starts the proxy and resolves when it has stopped.
 *
 * The first signal to stop stops it once the running requests have finished, the second one at once. SIGHUP reads the
 * configuration again, SIGUSR2 opens log files again.
 *
 * @returns the exit code: 0, or 1 when requests were cut
 * @throws {ListenError} when an address cannot be listened at
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
    // The proxy writes it, where the configuration has no other.
    access: false,
    clock,
    stdout: io.stdout,
    stderr: io.stderr,
  });
  const { observer, accessLog } = log;
  using _strayErrors = io.onStrayError((error) => reportStrayError(log, error));
  const tell = (unread: readonly string[], doubts: readonly ConfigProblem[]): void => {
    for (const name of unread) observer.event({ kind: "unread_export", name });
    for (const doubt of doubts) observer.event({ kind: "config_warning", message: formatProblem(doubt) });
  };
  tell(unread, doubts);
  const alone = config.workers === 1;
  const load = async () => {
    const { config, unread, doubts, sources: { hash, texts, remote } } = await program.load();
    checkWorkers(config, alone, options.source);
    tell(unread, doubts);
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
    // Also when it comes before the first round of checks is over; why a start failed is told below.
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
  const server = await starting;
  supervisor?.ready();
  using _load = !demoLoad ? null : new DemoLoad(server.addresses[0]!, clock, random);
  using _watch = !watch ? null : new FileWatch({
    files: program.files,
    texts: () => program.texts,
    clock,
    onChange: () => reload("its files have changed"),
    onError: (error) => reportStrayError(log, error, "--watch"),
  });
  await server.finished;
  const cut = await server.shutdown();
  await flushWithin(log, LAST_LINES_MS);
  return cut === 0 ? 0 : 1;
}

/** @throws {ConfigError} when a configuration that is loaded again cannot be served as the one before was */
function checkWorkers(config: ResolvedConfig, alone: boolean, source: string): void {
  if (!alone || config.workers === 1) return;
  const message = "cannot become more than 1 while the proxy runs: restart the proxy";
  throw new ConfigError(source, [{ path: "workers", message }]);
}

/** Goes on without one: whoever waits for a word will say so. */
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

// Requests of the program's own, so that there is something to see.

const TICK_MS = 50;
/** Requests a second on average; they swell and ebb within half a minute. */
const AVERAGE = 40;
const PERIOD_MS = 30_000;
/** Clients by their `appid`, those that ask most first; a part asks without one. */
const CLIENTS = ["checkout", "mobile", "search", "partner", "reports", "crawler"];
const NAMELESS = 0.4;
const PATHS = ["/", "/orders", "/orders/17", "/search?q=shoes", "/login"];
const TIMEOUT_MS = 10_000;

/** Asks a listener of the proxy again and again until it is disposed. */
class DemoLoad implements Disposable {
  readonly #url: string;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #ended = new AbortController();
  #timer: Disposable | null = null;

  /** @param address of a listener without TLS, as `host:port` */
  constructor(address: string, clock: Clock, random: Random) {
    // A wildcard is every address of this machine.
    this.#url = `http://${address.replace(/^(?:0\.0\.0\.0|\[::\]):/, "127.0.0.1:")}`;
    this.#clock = clock;
    this.#random = random;
    this.#schedule();
  }

  #schedule(): void {
    this.#timer = this.#clock.setTimer(() => {
      const wave = 1 + 0.6 * Math.sin(this.#clock.now() / PERIOD_MS * 2 * Math.PI);
      const expected = AVERAGE * TICK_MS / 1000 * wave;
      const count = Math.floor(expected + this.#random());
      for (let n = 0; n < count; n++) this.#ask();
      this.#schedule();
    }, TICK_MS);
  }

  #ask(): void {
    const random = this.#random;
    const path = PATHS[Math.floor(random() * PATHS.length)]!;
    // Squared, so that the first ones ask far more often than the last.
    const client = CLIENTS[Math.floor(random() ** 2 * CLIENTS.length)]!;
    const headers: Record<string, string> = random() < NAMELESS ? {} : { appid: client };
    const signal = AbortSignal.any([this.#ended.signal, AbortSignal.timeout(TIMEOUT_MS)]);
    fetch(this.#url + path, { headers, redirect: "manual", signal })
      .then((response) => response.body?.cancel())
      // Whatever becomes of it is to be seen at the proxy.
      .catch(() => {});
  }

  [Symbol.dispose](): void {
    this.#timer?.[Symbol.dispose]();
    this.#ended.abort();
  }
}

// Tells systemd how the program fares (sd_notify), for units of `Type=notify`.

/** What the program needs of a socket for datagrams. */
interface DatagramSocket {
  send(bytes: Uint8Array, address: { transport: "unixpacket"; path: string }): Promise<number>;
  close(): void;
}

type ListenDatagram = (options: { transport: "unixpacket"; path: string }) => DatagramSocket;

/** Whoever has started the program and wants to know when it is ready. */
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
   * @throws {Error} when there is one, and nothing can be said to it
   */
  static find(): Supervisor | null {
    const path = readVariable("NOTIFY_SOCKET");
    if (path === null) return null;
    const { listenDatagram } = Deno as unknown as { listenDatagram?: ListenDatagram };
    if (listenDatagram === undefined) {
      throw new Error("NOTIFY_SOCKET is set (Type=notify): run with --unstable-net, or make it Type=exec");
    }
    // The socket needs a name of its own, in a folder where the program may write.
    const own = `${readVariable("RUNTIME_DIRECTORY") ?? "/tmp"}/notify-${Deno.pid}`;
    const socket = listenDatagram({ transport: "unixpacket", path: own });
    return new Supervisor(path.replace(/^@/, "\0"), own, socket);
  }

  /** The program takes requests. */
  ready(): void {
    this.#tell(`READY=1\nMAINPID=${Deno.pid}`);
  }

  /** It has begun to stop. */
  stopping(): void {
    this.#tell("STOPPING=1");
  }

  /** Sets what `systemctl status` shows. */
  status(text: string): void {
    this.#tell(`STATUS=${text.replaceAll("\n", " ")}`);
  }

  #tell(state: string): void {
    const address = { transport: "unixpacket", path: this.#path } as const;
    const bytes = new TextEncoder().encode(state);
    this.#sending = this.#sending.then(() => this.#socket.send(bytes, address)).catch(() => {});
  }

  /** Says nothing more. */
  [Symbol.dispose](): void {
    this.#sending.then(() => {
      this.#socket.close();
      Deno.removeSync(this.#own);
    }).catch(() => {});
  }
}
