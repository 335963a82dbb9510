/** The configurations of one proxy: the running one, and former ones that finish their requests. */

import { createHash } from "node:crypto";
import type { ConfigurationInfo } from "../admin/admin_target.ts";
import { ConfigError } from "../config/config_error.ts";
import { describeConfig } from "../config/describe_config.ts";
import type { ModuleTexts } from "../config/module_graph.ts";
import type { ResolvedRollback } from "../config/process_options.ts";
import type { ProxyConfig, ResolvedConfig } from "../config/proxy_config.ts";
import { resolveConfig } from "../config/resolve_config.ts";
import { messageOf } from "../core/callback.ts";
import type { Clock } from "../core/clock.ts";
import type { LimitControl } from "../limiter/limit_control.ts";
import type { ProxyEvent } from "../observe/events.ts";
import type { MetricsFormat } from "../observe/metrics/registry.ts";
import type { Observer } from "../observe/observer.ts";
import type { ExchangeRuntime } from "../proxy/exchange.ts";
import { RequestHandler, type RunningConfiguration } from "../proxy/handle_request.ts";
import type { Pool } from "../upstream/pool.ts";
import { findCertificateProblems } from "./certificates.ts";
import { DataPlane } from "./data_plane.ts";
import type { ProxyMetrics } from "./proxy_metrics.ts";
import { ProxyResources } from "./proxy_resources.ts";
import type { ConfigSource, ProxyParts } from "./serve_options.ts";

/**
 * How long aborted requests, and connections without requests, may take to end, in milliseconds. Without this limit, a filter
 * that never returns or a client that never closes would block the shutdown.
 */
const ABORT_GRACE_MS = 1000;

/** How often tunnels that were opened after the deadline of tunnels are ended, in milliseconds. */
const TUNNEL_CHECK_MS = 100;

/** The result of a reload. */
export interface ReloadOutcome extends ConfigurationInfo {
  /** Whether the new configuration runs; if not, the former one runs unchanged. */
  readonly applied: boolean;
  /** The problems of the new configuration, one sentence each; empty if it runs. */
  readonly problems: readonly string[];
  /** URLs of modules that were not loaded again because they are not files of this machine. */
  readonly notReloaded: readonly string[];
}

/** Listeners or workers that were prepared for a configuration, before anything is changed. */
export interface Opened {
  /** Uses the configuration from now on. */
  commit(): Promise<void>;
  /** Discards what was prepared. */
  cancel(): void;
}

/** Called when a configuration replaces another. */
interface GenerationOwner {
  /** Prepares the listeners or workers; throws if that fails. */
  open(config: ResolvedConfig, plane: DataPlane, texts: ModuleTexts): Promise<Opened>;
  /** Number of requests that run in other processes. */
  running?(): number;
  /** Number of former configurations that other processes still serve. */
  draining?(): number;
}

/** A configuration to be run, and its source. */
interface Candidate {
  readonly config: ResolvedConfig;
  readonly hash: string;
  /** The texts of its modules; empty if a program has passed the configuration. */
  readonly texts: ModuleTexts;
  readonly notReloaded: readonly string[];
}

/** The configuration that takes new requests, and former ones that finish their running requests. */
export class Generations implements AsyncDisposable {
  readonly resources: ProxyResources;
  readonly #parts: ProxyParts;
  readonly #owner: GenerationOwner;
  readonly #former = new Set<DataPlane>();
  #current: DataPlane;
  /** The configuration that a reload prepares. */
  #next: DataPlane | null = null;
  readonly #running: RunningConfiguration;
  #info: ConfigurationInfo;
  #texts: ModuleTexts;
  /** Ends the watch on a new configuration, which could still be rolled back. */
  #unwatch: (() => void) | null = null;
  /** The last reload that was requested; reloads run one at a time. */
  #reloading: Promise<unknown> = Promise.resolve();
  #stopping = false;

  constructor(config: ResolvedConfig, parts: ProxyParts, owner: GenerationOwner) {
    this.#parts = parts;
    this.#owner = owner;
    this.resources = new ProxyResources(parts);
    const { rollback } = config;
    const { shared = null } = parts;
    // A worker that replaces another one during a rollback watch must report its failures too.
    const watch = rollback === null || shared?.role !== "worker" || shared.reload === 0
      ? null
      : watchFailures(parts, rollback, () => {});
    this.#unwatch = watch?.end ?? null;
    const observed = watch === null ? parts : { ...parts, observer: watch.observer };
    this.#current = DataPlane.create(config, observed, { resources: this.resources, before: null });
    this.#running = { runtime: this.#current.runtime };
    this.#texts = parts.source?.texts ?? {};
    this.#info = this.#describe(1, parts.source?.hash ?? hashOf(config));
  }

  #describe(generation: number, hash: string): ConfigurationInfo {
    return Object.freeze({ generation, loadedAt: this.#parts.clock.wallTime(), hash });
  }

  /** Number, load time and hash of the running configuration. */
  get info(): ConfigurationInfo {
    return this.#info;
  }

  get config(): ResolvedConfig {
    return this.#current.config;
  }

  /** The data plane that takes new requests. */
  get plane(): DataPlane {
    return this.#current;
  }

  get runtime(): ExchangeRuntime {
    return this.#running.runtime;
  }

  get pools(): ReadonlyMap<string, Pool> {
    return this.#current.pools;
  }

  /** `null` when nothing is limited. */
  get limiter(): LimitControl | null {
    return this.#running.runtime.admission?.limiter ?? null;
  }

  /** Number of running requests, including those of former configurations. */
  get running(): number {
    let count = this.#running.runtime.running.size + (this.#owner.running?.() ?? 0);
    for (const { runtime: { running } } of this.#former) count += running.size;
    return count;
  }

  /** Number of former configurations with running requests. */
  get draining(): number {
    return Math.max(this.#former.size, this.#owner.draining?.() ?? 0);
  }

  metrics(format?: MetricsFormat): string {
    return this.#current.metrics(this.running, format);
  }

  /** Reopens the file of the access log, also for former configurations. */
  reopenLog(): void {
    for (const plane of [this.#current, ...this.#former]) plane.reopenLog();
  }

  /** The limiters, and how full their table is. */
  get limits(): DataPlane["limits"] {
    return this.#current.limits;
  }

  /** The metrics; `null` if they are off. */
  get counted(): ProxyMetrics | null {
    return this.#current.counted;
  }

  /** Makes the handler of a listener; each request uses the configuration that runs when it arrives. */
  makeHandler(): RequestHandler {
    return new RequestHandler(this.#running);
  }

  /** Discovers and checks the servers of the first configuration. */
  async start(): Promise<void> {
    await this.#current.start();
  }

  /**
   * Replaces the running configuration; never throws.
   *
   * @param config from a program; if it is left out, the source is read again
   * @param trigger the cause, for the log
   */
  reload(config: ProxyConfig | undefined, trigger: string): Promise<ReloadOutcome> {
    const { source = null } = this.#parts;
    const load = config === undefined ? () => loadAgain(source) : () => Promise.resolve(fromProgram(config));
    return this.#enqueue(load, trigger, "applied");
  }

  #enqueue(
    load: () => Promise<Candidate>,
    trigger: string,
    done: ProxyEvent<"reload">["outcome"],
  ): Promise<ReloadOutcome> {
    const reloading = this.#reloading.then(() => this.#reload(load, trigger, done));
    this.#reloading = reloading;
    return reloading;
  }

  async #reload(
    load: () => Promise<Candidate>,
    trigger: string,
    done: ProxyEvent<"reload">["outcome"],
  ): Promise<ReloadOutcome> {
    let candidate: Candidate | null = null;
    try {
      candidate = await load();
      await this.#replaceBy(candidate);
      return this.#report(done, trigger, candidate.hash, [], candidate.notReloaded);
    } catch (error) {
      return this.#report(
        "rejected",
        trigger,
        candidate?.hash ?? null,
        problemsOf(error),
        candidate?.notReloaded ?? [],
      );
    }
  }

  async #replaceBy({ config, hash, texts }: Candidate): Promise<void> {
    const certificates = findCertificateProblems(config);
    if (certificates.length > 0) throw new ConfigError("configuration", certificates);
    const before = this.#current;
    const previous: Candidate = {
      config: before.config,
      hash: this.#info.hash,
      texts: this.#texts,
      notReloaded: [],
    };
    const watch = config.rollback === null
      ? null
      : watchFailures(this.#parts, config.rollback, (reason) => this.#rollBack(previous, reason));
    const parts = watch === null ? this.#parts : { ...this.#parts, observer: watch.observer };
    let plane: DataPlane | null = null;
    let opened: Opened | null = null;
    try {
      this.#refuseWhenStopping();
      plane = this.#next = DataPlane.create(config, parts, { resources: this.resources, before });
      await plane.start();
      this.#refuseWhenStopping();
      opened = await this.#owner.open(config, plane, texts);
      this.#refuseWhenStopping();
    } catch (error) {
      opened?.cancel();
      watch?.end();
      await plane?.[Symbol.asyncDispose]();
      throw error;
    } finally {
      this.#next = null;
    }
    this.#unwatch?.();
    this.#unwatch = watch?.end ?? null;
    const { generation } = this.#info;
    plane.takeOver(before);
    this.#current = plane;
    this.#running.runtime = plane.runtime;
    this.#info = this.#describe(generation + 1, hash);
    this.#texts = texts;
    this.#former.add(before);
    this.#count();
    this.#retire(before);
    await opened.commit();
  }

  #refuseWhenStopping(): void {
    if (this.#stopping) throw new Error("the proxy stops");
  }

  #rollBack(previous: Candidate, reason: string): void {
    // Without `rollback`: there is no earlier configuration to go back to.
    const candidate = { ...previous, config: Object.freeze({ ...previous.config, rollback: null }) };
    this.#enqueue(() => Promise.resolve(candidate), reason, "rolled_back");
  }

  #count(): void {
    const { counted } = this.#current;
    if (counted === null) return;
    counted.generation = this.#info.generation;
    counted.draining = this.#former.size;
  }

  /** Disposes a former configuration when its requests have ended. WebSockets are closed after their grace period. */
  async #retire(plane: DataPlane): Promise<void> {
    const { config: { webSocketGraceMs }, runtime: { running } } = plane;
    {
      using _tunnels = this.#endTunnels([plane], webSocketGraceMs, false);
      await running.untilEmpty();
    }
    // If the proxy is stopping, it disposes all configurations itself.
    if (!this.#former.has(plane) || this.#stopping) return;
    this.#former.delete(plane);
    this.#count();
    await plane[Symbol.asyncDispose]();
  }

  #report(
    outcome: ProxyEvent<"reload">["outcome"],
    trigger: string,
    hash: string | null,
    problems: readonly string[],
    notReloaded: readonly string[],
  ): ReloadOutcome {
    const { generation } = this.#info;
    this.#parts.observer.event({ kind: "reload", outcome, generation, hash, trigger, problems, notReloaded });
    return Object.freeze({ ...this.#info, applied: outcome !== "rejected", problems, notReloaded });
  }

  /**
   * Serves for the shutdown delay of the configuration, then finishes running requests. Aborts those that have not ended
   * within the grace period.
   *
   * @param reason for the log
   * @param close stops accepting requests, and resolves when the last connection has ended
   * @returns the number of aborted requests
   */
  async drain(reason: string, close: () => Promise<void>): Promise<number> {
    this.#stopping = true;
    this.#unwatch?.();
    const { clock, observer } = this.#parts;
    const { shutdownDelayMs, gracePeriodMs, webSocketGraceMs } = this.config;
    const event = { kind: "shutdown", reason, runningRequests: this.running, gracePeriodMs } as const;
    observer.event({ ...event, delayMs: shutdownDelayMs });
    if (shutdownDelayMs > 0) await after(clock, shutdownDelayMs);
    const endAt = clock.now() + gracePeriodMs;
    using _tunnels = this.#endTunnels(this.#planes, Math.min(webSocketGraceMs, gracePeriodMs));
    const closed = close();
    do {
      await atMost(clock, this.#untilEmpty(), endAt - clock.now());
      // A connection may outlive its requests: its client may never finish the TLS handshake, or never send the rest
      // of a refused request.
      await atMost(clock, closed, Math.min(endAt - clock.now(), ABORT_GRACE_MS));
    } while (this.running > 0 && clock.now() < endAt);
    const abandoned = this.running;
    for (const { runtime: { running } } of this.#planes) running.abandon();
    if (abandoned > 0) await atMost(clock, closed, ABORT_GRACE_MS);
    return abandoned;
  }

  get #planes(): readonly DataPlane[] {
    return [this.#current, ...this.#former];
  }

  /** Ends tunnels after a time, and then repeatedly those opened later, until the result is disposed. */
  #endTunnels(planes: readonly DataPlane[], afterMs: number, stopping = true): Disposable {
    const { clock } = this.#parts;
    let timer: Disposable;
    const end = (): void => {
      for (const { runtime: { running } } of planes) running.endTunnels(stopping);
      timer = clock.setTimer(end, TUNNEL_CHECK_MS);
    };
    if (afterMs === 0) end();
    else timer = clock.setTimer(end, afterMs);
    return { [Symbol.dispose]: () => timer[Symbol.dispose]() };
  }

  async #untilEmpty(): Promise<void> {
    await Promise.all(this.#planes.map(({ runtime: { running } }) => running.untilEmpty()));
  }

  /** Disposes all configurations. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping = true;
    const planes = this.#next === null ? this.#planes : [...this.#planes, this.#next];
    await Promise.all(planes.map((plane) => plane[Symbol.asyncDispose]()));
    this.#former.clear();
    await this.resources[Symbol.asyncDispose]();
  }
}

function fromProgram(config: ProxyConfig): Candidate {
  const resolved = resolveConfig(config);
  return { config: resolved, hash: hashOf(resolved), texts: {}, notReloaded: [] };
}

async function loadAgain(source: ConfigSource | null): Promise<Candidate> {
  if (source === null) throw new Error("there is no file to read: call reload() with a configuration");
  return await source.load();
}

function hashOf(config: ResolvedConfig): string {
  return createHash("sha256").update(describeConfig(config)).digest("hex");
}

function problemsOf(error: unknown): readonly string[] {
  if (!(error instanceof ConfigError)) return [messageOf(error)];
  return error.problems.map(({ path, message }) => path === "" ? message : `${path} ${message}`);
}

function after(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => clock.setTimer(resolve, delayMs));
}

/** Waits until the promise settles, at most for `delayMs`. */
async function atMost(clock: Clock, promise: Promise<unknown>, delayMs: number): Promise<void> {
  if (delayMs === Infinity) return void await promise;
  const { promise: over, resolve } = Promise.withResolvers<void>();
  using _timer = clock.setTimer(resolve, Math.max(0, delayMs));
  await Promise.race([promise, over]);
}

// Watches the first responses of a new configuration.

/** Counts failed requests for the time of `rollback`. */
interface FailureWatch {
  /** The observer for the configuration. */
  readonly observer: Observer;
  /** Stops counting. */
  readonly end: () => void;
}

/** How often the supervisor reads the counts of workers, in milliseconds. */
const TALLY_CHECK_MS = 50;

/**
 * Calls `onFailure` once if too many requests fail within the time. All reports still reach the observer of the proxy.
 *
 * Workers only count; the supervisor adds up and calls `onFailure`.
 *
 * @param onFailure receives the reason, for the log
 */
function watchFailures(
  { observer, clock, shared = null }: Pick<ProxyParts, "observer" | "clock" | "shared">,
  { errorRate, withinMs, minRequests }: ResolvedRollback,
  onFailure: (reason: string) => void,
): FailureWatch {
  let requests = 0;
  let failures = 0;
  let watching = true;
  let checkTimer: Disposable | null = null;
  const end = (): void => {
    watching = false;
    timer[Symbol.dispose]();
    checkTimer?.[Symbol.dispose]();
  };
  const timer = clock.setTimer(end, withinMs);
  const judge = (): void => {
    if (requests < minRequests || failures <= errorRate * requests) return;
    end();
    onFailure(`${failures} of ${requests} requests failed`);
  };
  if (shared?.role === "supervisor") {
    // The number of the reload that is about to begin; its workers have counted nothing yet.
    const reload = shared.reloads + 1;
    const add = (): void => {
      checkTimer = clock.setTimer(add, TALLY_CHECK_MS);
      ({ requests, failures } = shared.servers.tallyOf(reload));
      judge();
    };
    checkTimer = clock.setTimer(add, TALLY_CHECK_MS);
    return { observer, end };
  }
  const worker = shared?.servers ?? null;
  if (shared !== null) shared.servers.beginTally(shared.reload);
  const count = (failed: boolean): void => {
    if (worker !== null) return worker.tally(failed);
    requests++;
    if (!failed) return;
    failures++;
    judge();
  };
  return {
    observer: {
      get wantsAccess(): boolean {
        return watching || observer.wantsAccess;
      },
      event: (event) => observer.event(event),
      access: (entry) => {
        if (watching) count(entry.status >= 500);
        if (observer.wantsAccess) observer.access(entry);
      },
    },
    end,
  };
}
