/** Runs the program as a worker: follows the messages of the supervisor, and ends with it. */

import type { ResolvedListen } from "../config/listen_options.ts";
import type { ModuleSources, ModuleTexts } from "../config/module_graph.ts";
import type { ResolvedConfig } from "../config/proxy_config.ts";
import { messageOf, stackOf } from "../core/callback.ts";
import { type Clock, systemClock } from "../core/clock.ts";
import { type Random, systemRandom } from "../core/random.ts";
import { createLog, type Log } from "../observe/create_log.ts";
import type { ByteSink } from "../observe/line_writer.ts";
import { type ProxyServer, startProxy } from "../server/serve.ts";
import type { PrepareMessage } from "../server/workers/channel.ts";
import { InheritedParts, WorkerChannel } from "../server/workers/worker_channel.ts";
import type { Io } from "./io.ts";
import type { RunOptions } from "./parse_arguments.ts";
import { ProgramConfig } from "./program_config.ts";

/** Signals that a terminal or service manager sends to all processes; a worker ignores them, the supervisor handles them. */
const IGNORED_SIGNALS: readonly Deno.Signal[] = ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR2"];

/**
 * Serves until the supervisor sends "stop", or ends.
 *
 * @returns the exit code
 */
export async function runWorker(stdin: ReadableStream<Uint8Array>, io: Io): Promise<number> {
  for (const signal of IGNORED_SIGNALS) Deno.addSignalListener(signal, () => {});
  const open = (options: RunOptions) => new ProgramConfig(options);
  return await serveAsWorker(stdin, io, { clock: systemClock, random: systemRandom, open });
}

/** Time, randomness and configuration of a worker. */
interface WorkerSetting {
  readonly clock: Clock;
  readonly random: Random;
  readonly open: (options: RunOptions) => WorkerConfig;
}

/** The part of {@linkcode ProgramConfig} that a worker uses. */
interface WorkerConfig extends Pick<ProgramConfig, "source">, Disposable {
  load(texts?: ModuleTexts): Promise<{
    readonly config: ResolvedConfig;
    readonly sources: Pick<ModuleSources, "hash" | "remote">;
  }>;
}

/** Serves as {@linkcode runWorker} does, and changes nothing of the process. */
export async function serveAsWorker(
  stdin: ReadableStream<Uint8Array>,
  io: Pick<Io, "stdout" | "stderr" | "onStrayError" | "exit">,
  { clock, random, open }: WorkerSetting,
): Promise<number> {
  const channel = new WorkerChannel(stdin, io.stderr);
  const start = await channel.start();
  const options = start.options as RunOptions;
  using log = createWorkerLog(options, clock, io.stdout);
  const accessLog = start.accessLines ? log.accessLog : null;
  const observer = channel.observer(start.accessEntries);
  using _strayErrors = io.onStrayError((error) =>
    observer.event({
      kind: "callback_error",
      name: "A promise or timer of the configuration",
      message: messageOf(error),
      stack: stackOf(error),
    })
  );
  try {
    using shared = new InheritedParts(start, channel);
    using program = open(options);
    let { texts, ports } = start;
    const { config, sources } = await program.load(texts);
    const load = async () => {
      const { config, sources: { hash, remote } } = await program.load(texts);
      return {
        config: adaptForWorker(config, ports, start.servesSockets),
        hash,
        texts: {},
        notReloaded: remote,
      };
    };
    const source = { name: program.source, hash: sources.hash, texts: {}, load };
    const parts = { observer, accessLog, stdout: io.stdout, clock, random, shared, source };
    const server = await startProxy(adaptForWorker(config, ports, start.servesSockets), parts);
    shared.beat(clock, server);
    channel.send({ kind: "listening", ports: start.ports });
    const reloads = new Reloads(server, channel, shared);
    for (;;) {
      const { value: message, done } = await channel.messages.next();
      if (done) break;
      if (message.kind === "stop") {
        void endWith(channel, io);
        channel.send({ kind: "stopped", abandonedRequests: await server.shutdown(message.reason) });
        return 0;
      }
      if (message.kind === "keys") channel.send({ kind: "keys", keys: server.namedKeys(message.most) });
      else if (message.kind === "servers") server.pools.get(message.pool)?.replaceServers(message.servers);
      else if (message.kind === "prepare") {
        ({ texts, ports } = message);
        reloads.begin(message);
      } else await reloads.end(message.kind === "commit");
    }
    await server.shutdown("the supervisor has ended");
    return 0;
  } catch (error) {
    const name = error instanceof Error ? error.name : "Error";
    channel.send({ kind: "failed", name, message: messageOf(error) });
    return 1;
  } finally {
    await log.flush();
    await channel.flush();
  }
}

/** If the supervisor ends before its workers, it was requested to end at once, so the worker ends too. */
async function endWith({ messages }: WorkerChannel, { exit }: Pick<Io, "exit">): Promise<void> {
  // Messages may still arrive, such as requests for the names of keys.
  try {
    while ((await messages.next()).done !== true);
  } finally {
    exit(1);
  }
}

function createWorkerLog(
  { logLevel: level, logFormat: format }: RunOptions,
  clock: Clock,
  stdout: ByteSink,
): Log {
  return createLog({ level, format, clock, stdout });
}

/** Loads the configuration again at the request of the supervisor, and uses it when all workers have loaded it. */
class Reloads {
  readonly #server: ProxyServer;
  readonly #channel: WorkerChannel;
  readonly #shared: InheritedParts;
  #decision: PromiseWithResolvers<void> | null = null;
  #reloading: Promise<void> = Promise.resolve();

  constructor(server: ProxyServer, channel: WorkerChannel, shared: InheritedParts) {
    this.#server = server;
    this.#channel = channel;
    this.#shared = shared;
  }

  begin(message: PrepareMessage): void {
    const { id } = message;
    const decision = this.#decision = Promise.withResolvers<void>();
    // The supervisor may cancel before the promise is awaited; without this, the rejection would be unhandled.
    decision.promise.catch(() => {});
    this.#channel.send({ kind: "loading", id });
    // An earlier reload that was cancelled may still load: it must not take this one's places, or its commit.
    this.#reloading = this.#reloading.then(() => this.#reload(message, decision.promise));
  }

  async #reload(message: PrepareMessage, decision: Promise<void>): Promise<void> {
    const { id } = message;
    this.#shared.prepare(message, () => {
      this.#channel.send({ kind: "prepared", id });
      return decision;
    });
    const { applied, problems } = await this.#server.reload();
    if (!applied) this.#channel.send({ kind: "rejected", id, problems });
  }

  /**
   * Commits or cancels; resolves when the configuration runs, so that later messages apply to it.
   *
   * @param used whether all workers can use the configuration
   */
  async end(used: boolean): Promise<void> {
    if (!used) return this.#decision?.reject(new Error("it is not used"));
    this.#decision?.resolve();
    await this.#reloading;
    this.#shared.count(this.#server);
    this.#channel.send({ kind: "committed" });
  }
}

/** Adapts the configuration for a worker: its ports, and the access log to `stdout`. The supervisor calls `onListen`. */
function adaptForWorker(
  config: ResolvedConfig,
  ports: readonly number[],
  servesSockets: boolean,
): ResolvedConfig {
  return {
    ...config,
    listen: config.listen.map((place, index): ResolvedListen => ({
      ...place,
      port: ports[index] ?? place.port,
      reusePort: true,
    })).filter(({ unix }) => servesSockets || unix === undefined),
    accessLog: config.accessLog === null || config.accessLog === false
      ? config.accessLog
      : { ...config.accessLog, to: "stdout" },
    onListen: null,
    workers: 1,
  };
}
