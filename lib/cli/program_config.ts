/** The configuration of the program: its file, and what the command line says in place of it. */

import { dirname } from "node:path";
import {
  type AdminPlace,
  isPrivatePlace,
  resolveAdmin,
  type ResolvedAdmin,
} from "../config/admin_options.ts";
import { type EngineName, formatListen, type ResolvedListen, withEngine } from "../config/listen_options.ts";
import type { ConfigProblem } from "../config/config_error.ts";
import { findDeadEnds } from "../config/describe_config.ts";
import { loadConfig } from "../config/load_config.ts";
import { ModuleGraph, type ModuleSources, type ModuleTexts } from "../config/module_graph.ts";
import type { ResolvedPool } from "../config/pool_options.ts";
import type { ResolvedConfig } from "../config/proxy_config.ts";
import { isPath } from "../engine/certificate.ts";
import type { ResolvedAccessFile } from "../observe/access_log_options.ts";
import { findTokenProblems } from "../admin/guard.ts";
import { findCertificateProblems } from "../server/certificates.ts";
import type { RunOptions } from "./parse_arguments.ts";
import { UsageError } from "./io.ts";

/** What was read. */
interface ProgramConfigLoad {
  readonly config: ResolvedConfig;
  /** Exports that nothing reads. */
  readonly unread: readonly string[];
  /** What is allowed and probably not meant. */
  readonly doubts: readonly ConfigProblem[];
  readonly sources: ModuleSources;
}

/** Reads the configuration as often as it is asked to. */
export class ProgramConfig implements Disposable {
  readonly #options: RunOptions;
  readonly #graph = new ModuleGraph();
  /** The files that it is made of, for all that is known. */
  readonly files: Set<string> = new Set();
  /** What stood in them when it was read last. */
  texts: ModuleTexts = {};

  /** Path or URL of it. */
  get source(): string {
    return this.#options.source;
  }

  constructor(options: RunOptions) {
    this.#options = options;
  }

  /**
   * Reads it.
   *
   * @param texts its modules, in place of what stands in their files
   * @throws {ConfigError} when it cannot be used
   * @throws {UsageError} when the command line does not fit it
   */
  async load(texts?: ModuleTexts): Promise<ProgramConfigLoad> {
    const { source, listen, engine, admin, workers, check } = this.#options;
    const found = new Set<string>();
    try {
      const { config: loaded, unread, doubts, sources } = await loadConfig(
        source,
        this.#graph,
        found,
        // Where the command line says where to listen, those of the file are of no interest.
        check ? (good) => findFileProblems(listen.length === 0 ? good : { ...good, listen: [] }) : null,
        texts,
      );
      const places = listen.length === 0 ? loaded.listen : listenInstead(listen, loaded.listen);
      const config = {
        ...loaded,
        listen: engine === null ? places : places.map((place) => by(engine, place)),
        admin: admin === null ? loaded.admin : adminAt(admin, loaded.admin),
        workers: workers ?? loaded.workers,
      };
      this.files.clear();
      this.texts = sources!.texts;
      return { config, unread, doubts: [...doubts, ...findDeadEnds(config)], sources: sources! };
    } finally {
      // Of one that cannot be loaded not all files are known: those of the one before may be what has to be mended.
      for (const file of found) this.files.add(file);
    }
  }

  [Symbol.dispose](): void {
    this.#graph[Symbol.dispose]();
  }
}

/** What is wrong with the files that a configuration names: certificates, keys, tokens, the access log. */
export function findFileProblems(config: ResolvedConfig): ConfigProblem[] {
  return [
    ...findCertificateProblems(config),
    ...findTokenProblems(config.admin),
    ...findLogProblems(config.accessLog),
  ];
}

/** Why the file could not be opened; nothing is written, and nothing is said of what may not be read. */
function findLogProblems(log: ResolvedConfig["accessLog"]): ConfigProblem[] {
  const file = fileOf(log);
  if (file === null) return [];
  const folder = dirname(file.path);
  const problem = isFolder(file.path) === true
    ? "is a folder"
    : isFolder(folder) === null
    ? `is in the folder ${JSON.stringify(folder)}, which does not exist`
    : isFolder(folder) === false
    ? `is in ${JSON.stringify(folder)}, which is no folder`
    : null;
  return problem === null
    ? []
    : [{ path: "accessLog.to.file", message: `${JSON.stringify(file.path)} ${problem}` }];
}

/** `null` where nothing is there; nothing where it cannot be known. */
function isFolder(path: string): boolean | null | undefined {
  if (!isGranted({ name: "read", path })) return undefined;
  try {
    return Deno.statSync(path).isDirectory;
  } catch (error) {
    return error instanceof Deno.errors.NotFound ? null : undefined;
  }
}

function fileOf(log: ResolvedConfig["accessLog"]): ResolvedAccessFile | null {
  return log === null || log === false || typeof log.to === "string" ? null : log.to;
}

// Permissions.

/** A permission that the configuration needs. */
interface Need {
  readonly permission: Deno.PermissionDescriptor;
  /** What for. */
  readonly use: string;
}

/**
 * Says which permissions a configuration needs, and which of them this program does not have, a line each.
 *
 * What functions of the configuration need is not known, nor which servers will be found by `discovery`.
 */
export function describePermissions(config: ResolvedConfig): readonly string[] {
  const needs = [{ permission: { name: "read" }, use: "" } as const, ...findNeeds(config)];
  const flags = [...new Set(needs.map(({ permission }) => `--allow-${permission.name}`))].sort();
  const missing = new Map<string, Set<string>>();
  for (const { permission, use } of needs.slice(1)) {
    if (isGranted(permission)) continue;
    if (!missing.has(use)) missing.set(use, new Set());
    missing.get(use)!.add(formatPermission(permission));
  }
  return [
    `needs     ${flags.join(" ")}`,
    ...Array.from(
      missing,
      ([use, flags], i) => `${i === 0 ? "lacks     " : "          "}${[...flags].join(" ")} for ${use}`,
    ),
  ];
}

function findNeeds({ listen, pools, limiter, accessLog, admin, workers }: ResolvedConfig): readonly Need[] {
  const file = fileOf(accessLog);
  const files = file === null ? [] : file.maxBytes === Infinity ? [file.path] : [file.path, `${file.path}.1`];
  const [store] = limiter.flatMap((policy) => policy.store ?? []);
  return [
    ...listen.flatMap((place) => [...reach(place, "listen"), ...readFiles(place.tls, "listen.tls")]),
    ...Array.from(pools.values()).flatMap(needsOfPool),
    ...(store?.urls ?? []).flatMap((url) => {
      const { hostname, port } = new URL(url);
      return reach(
        { hostname: hostname.replace(/^\[|\]$/g, ""), port: Number(port || 6379) },
        "limiter.store",
      );
    }),
    ...files.flatMap((path) => [
      ...(files.length === 1 ? [] : [{ permission: { name: "read", path }, use: "accessLog" } as const]),
      { permission: { name: "write", path }, use: "accessLog" } as const,
    ]),
    ...(admin === null ? [] : needsOfAdmin(admin)),
    ...(workers === 1
      ? []
      : (["net", "read", "run", "ffi"] as const).map((name) => ({ permission: { name }, use: "workers" }))),
  ];
}

function needsOfPool({ name, servers, transport, balancing }: ResolvedPool): readonly Need[] {
  const use = `pool ${name}`;
  const checkPort = balancing.healthCheck?.port ?? null;
  const proxy = transport.kind === "fetch" ? transport.proxy : null;
  const checked = servers.flatMap(({ peer: { address } }) =>
    checkPort === null || address.kind === "unix" ? [] : reach({ ...address, port: checkPort }, use)
  );
  if (proxy !== null) return [...reach(proxy, use), ...checked];
  const asked = servers.flatMap(({ peer: { address } }) =>
    reach(address.kind === "unix" ? { unix: address.path } : address, use)
  );
  return [...asked, ...checked];
}

function needsOfAdmin({ listen, tls, tokens }: ResolvedAdmin): readonly Need[] {
  return [
    ...reach(listen, "admin"),
    ...(tls === null ? [] : readFiles({ certificates: [tls] }, "admin.tls")),
    ...Array.from(tokens.values()).flatMap((token): Need[] => {
      if (typeof token === "string") return [];
      const permission = "file" in token
        ? { name: "read", path: token.file } as const
        : { name: "env", variable: token.env } as const;
      return [{ permission, use: "admin.tokens" }];
    }),
  ];
}

/** To listen at a place, or to connect to it. */
function reach(
  { hostname = "", port = 0, unix }: { hostname?: string; port?: number; unix?: string | undefined },
  use: string,
): readonly Need[] {
  if (unix === undefined) {
    const host = `${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
    return [{ permission: { name: "net", host }, use }];
  }
  return [
    { permission: { name: "net", host: `unix:${unix}` }, use },
    { permission: { name: "read", path: unix }, use },
    { permission: { name: "write", path: unix }, use },
  ];
}

function readFiles(
  tls: {
    certificates: readonly { cert: string; key: string }[];
    clientCertificates?: { ca: readonly string[] } | null;
  } | undefined,
  use: string,
): readonly Need[] {
  const texts = [
    ...(tls?.certificates ?? []).flatMap(({ cert, key }) => [cert, key]),
    ...(tls?.clientCertificates?.ca ?? []),
  ];
  return texts.filter(isPath).map((path) => ({ permission: { name: "read", path }, use }));
}

function isGranted(permission: Deno.PermissionDescriptor): boolean {
  try {
    return Deno.permissions.querySync(permission).state === "granted";
  } catch {
    // The runtime reads the name of a host more strictly than what connects to it.
    return true;
  }
}

function formatPermission(permission: Deno.PermissionDescriptor): string {
  const { path, host, variable } = permission as { path?: string; host?: string; variable?: string };
  const part = path ?? host ?? variable;
  return `--allow-${permission.name}${part === undefined ? "" : `=${part}`}`;
}

/**
 * The places of the command line, which treat fields and clients as those of the configuration do where these agree: a key by
 * a field that is dropped would otherwise find none.
 */
function listenInstead(
  places: readonly ResolvedListen[],
  configured: readonly ResolvedListen[],
): readonly ResolvedListen[] {
  const [first, ...others] = configured.filter(({ redirectPort }) => redirectPort === undefined);
  if (first === undefined) return places;
  const { underscores, limits, proxyProtocol, engine, tls } = first;
  const fields = others.some((each) => each.underscores !== underscores) || underscores === undefined
    ? {}
    : { underscores };
  const clients = others.length > 0 || tls !== undefined
    ? {}
    : { limits, engine, ...(proxyProtocol === undefined ? {} : { proxyProtocol }) };
  return places.map((place) => ({ ...place, ...fields, ...clients }));
}

/** @throws {UsageError} when others than this machine reach the place, and nobody has a token */
function adminAt(listen: AdminPlace, configured: ResolvedAdmin | null): ResolvedAdmin {
  const admin = configured ?? resolveAdmin(true)!;
  if (isPrivatePlace(listen)) return { ...admin, listen };
  if (admin.tokens.size > 0) return { ...admin, listen, read: "token" };
  throw new UsageError(
    `--admin must not be ${formatListen(listen)} without admin.tokens: others than this machine can reach it`,
  );
}

/** @throws {UsageError} when the engine cannot do what the place is configured to */
function by(engine: EngineName, place: ResolvedListen): ResolvedListen {
  const made = withEngine(place, engine);
  if (typeof made !== "string") return made;
  throw new UsageError(`--engine must not be "${engine}" at ${formatListen(place)}: ${made}`);
}
