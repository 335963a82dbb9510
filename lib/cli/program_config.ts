/** The configuration of the program: its file, with the options of the command line applied. */

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

/** A loaded configuration. */
interface ProgramConfigLoad {
  readonly config: ResolvedConfig;
  /** Names of exports that are no options. */
  readonly unread: readonly string[];
  /** Warnings: settings that are allowed but probably mistakes. */
  readonly doubts: readonly ConfigProblem[];
  readonly sources: ModuleSources;
}

/** Loads the configuration, and loads it again at a reload. */
export class ProgramConfig implements Disposable {
  readonly #options: RunOptions;
  readonly #graph = new ModuleGraph();
  /** The known files of the configuration. */
  readonly files: Set<string> = new Set();
  /** The contents of its files when it was last loaded. */
  texts: ModuleTexts = {};

  /** Path or URL of the configuration. */
  get source(): string {
    return this.#options.source;
  }

  constructor(options: RunOptions) {
    this.#options = options;
  }

  /**
   * Loads the configuration.
   *
   * @param texts the texts of its modules, in place of the contents of the files
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
        // With `--listen`, the listeners of the file are not used, so their certificates need not be valid.
        check ? (good) => findFileProblems(listen.length === 0 ? good : { ...good, listen: [] }) : null,
        texts,
      );
      const places = listen.length === 0 ? loaded.listen : replaceListen(listen, loaded.listen);
      const config = {
        ...loaded,
        listen: engine === null ? places : places.map((place) => applyEngine(engine, place)),
        admin: admin === null ? loaded.admin : adminAt(admin, loaded.admin),
        workers: workers ?? loaded.workers,
      };
      this.files.clear();
      this.texts = sources!.texts;
      return { config, unread, doubts: [...doubts, ...findDeadEnds(config)], sources: sources! };
    } finally {
      // If loading fails, not all files are known. So the former files stay watched: a correction may be in one of them.
      for (const file of found) this.files.add(file);
    }
  }

  [Symbol.dispose](): void {
    this.#graph[Symbol.dispose]();
  }
}

/** Finds problems in the files that a configuration names: certificates, keys, tokens, the access log. */
export function findFileProblems(config: ResolvedConfig): ConfigProblem[] {
  return [
    ...findCertificateProblems(config),
    ...findTokenProblems(config.admin),
    ...findLogProblems(config.accessLog),
  ];
}

/** Finds reasons why the log file cannot be opened, without writing. Skips paths that may not be read. */
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

/** `null` if the path does not exist; `undefined` if it cannot be checked. */
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
  /** Its purpose. */
  readonly use: string;
}

/**
 * Lists the permissions that a configuration needs, and those that this program lacks, one line each.
 *
 * The permissions of the configuration's functions, and for servers that `discovery` finds, are not known.
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
    ...listen.flatMap((place) => [...needsOfAddress(place, "listen"), ...readFiles(place.tls, "listen.tls")]),
    ...Array.from(pools.values()).flatMap(needsOfPool),
    ...(store?.urls ?? []).flatMap((url) => {
      const { hostname, port } = new URL(url);
      return needsOfAddress(
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
    checkPort === null || address.kind === "unix" ? [] : needsOfAddress({ ...address, port: checkPort }, use)
  );
  if (proxy !== null) return [...needsOfAddress(proxy, use), ...checked];
  const asked = servers.flatMap(({ peer: { address } }) =>
    needsOfAddress(address.kind === "unix" ? { unix: address.path } : address, use)
  );
  return [...asked, ...checked];
}

function needsOfAdmin({ listen, tls, tokens }: ResolvedAdmin): readonly Need[] {
  return [
    ...needsOfAddress(listen, "admin"),
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

/** The permissions to listen at an address, or to connect to it. */
function needsOfAddress(
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
    // The runtime parses host names more strictly here than when it connects.
    return true;
  }
}

function formatPermission(permission: Deno.PermissionDescriptor): string {
  const { path, host, variable } = permission as { path?: string; host?: string; variable?: string };
  const part = path ?? host ?? variable;
  return `--allow-${permission.name}${part === undefined ? "" : `=${part}`}`;
}

/**
 * The addresses of the command line, with the settings for fields and clients of the configured listeners if these agree.
 * Otherwise a limiter key applyEngine a field with an underscore would be missing, for example.
 */
function replaceListen(
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

/** @throws {UsageError} when other machines can reach the address, and no token is configured */
function adminAt(listen: AdminPlace, configured: ResolvedAdmin | null): ResolvedAdmin {
  const admin = configured ?? resolveAdmin(true)!;
  if (isPrivatePlace(listen)) return { ...admin, listen };
  if (admin.tokens.size > 0) return { ...admin, listen, read: "token" };
  throw new UsageError(
    `--admin must not be ${formatListen(listen)} without admin.tokens: others than this machine can reach it`,
  );
}

/** @throws {UsageError} when the engine does not support an option of the listener */
function applyEngine(engine: EngineName, place: ResolvedListen): ResolvedListen {
  const made = withEngine(place, engine);
  if (typeof made !== "string") return made;
  throw new UsageError(`--engine must not be "${engine}" at ${formatListen(place)}: ${made}`);
}
